"""Errors on their way from one process to another: each arrives as what it was.

An error is rebuilt from its class, its message and its values, without its constructor, which may
want other things.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from app.domain import errors
from app.domain.errors import SpeechError


class Failure(msgspec.Struct, frozen=True):
    """An error as data: the name of its class, its message, and its attributes."""

    kind: str
    message: str
    values: dict[str, Any]


KINDS: Final[Mapping[str, type[SpeechError]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, SpeechError)
}


def describe(error: SpeechError) -> Failure:
    """The error as data; of a class that only an adapter knows, as the one it is derived from."""
    kind = next(kind for kind in type(error).__mro__ if KINDS.get(kind.__name__) is kind)
    return Failure(kind.__name__, str(error), vars(error))


def restore(failure: Failure) -> SpeechError:
    """An error with the same class, message and attributes; lists come back as tuples."""
    kind = KINDS[failure.kind]
    error = kind.__new__(kind, failure.message)
    vars(error).update({name: _restored(value) for name, value in failure.values.items()})
    return error


def _restored(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
