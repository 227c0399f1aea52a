"""How many cases a test runs: a property its examples, a table all its rows."""

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

CI: Final = 100
DEV: Final = 20  # finds what is badly wrong; the rest is for HYPOTHESIS_PROFILE=ci


def examples(num_in_ci: int) -> int:
    """`max_examples` of a property: all in the profile ci, a few in the profile dev."""
    is_ci = os.environ.get("HYPOTHESIS_PROFILE") == "ci"
    return num_in_ci if is_ci else min(num_in_ci, DEV)


def table(names: str | tuple[str, ...], rows: Iterable[Any]) -> Callable[[Any], Any]:
    """Like `parametrize`, but one test that runs all rows and reports every row that fails.

    All rows share the fixtures, so that no row may depend on what another one left behind.
    """
    columns = tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else names
    cases = [dict(zip(columns, row if len(columns) > 1 else (row,), strict=True)) for row in rows]
    assert cases

    def decorate(test: Any) -> Any:
        signature = inspect.signature(test)
        fixtures = [one for name, one in signature.parameters.items() if name not in columns]

        if inspect.iscoroutinefunction(test):

            @functools.wraps(test)
            async def run(*instance: Any, **arguments: Any) -> None:
                failures: list[Exception] = []
                for case in cases:
                    with _noting(failures, case):
                        await test(*instance, **arguments, **case)
                _report(failures, len(cases))

        else:

            @functools.wraps(test)
            def run(*instance: Any, **arguments: Any) -> None:
                failures: list[Exception] = []
                for case in cases:
                    with _noting(failures, case):
                        test(*instance, **arguments, **case)
                _report(failures, len(cases))

        run.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
        del run.__wrapped__
        return run

    return decorate


@contextmanager
def _noting(failures: list[Exception], case: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - every row is to be run
        error.add_note(f"row: {case!a}")
        failures.append(error)


def _report(failures: list[Exception], num_cases: int) -> None:
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {num_cases} rows", failures)
