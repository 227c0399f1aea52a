"""Errors as they arrive."""

import inspect
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.speech.worker.protocol import KINDS, Failure, describe, restore
from app.domain import errors
from app.domain.errors import (
    InputTooLongError,
    InstanceDeadError,
    InvalidRequestError,
    ModelLoadError,
    RunawaySpeechError,
    SpeechError,
    SpeechTimeoutError,
)

EXAMPLES: dict[str, Any] = {
    "str": "x",
    "int": 4_096,
    "float": 1.5,
    "Sequence[str]": ["x", "y"],
    "Sequence[int]": [8_000, 16_000],
}
"""Of each kind of argument that a constructor needs."""


def made(kind: type[SpeechError]) -> SpeechError:
    if kind.__init__ in (SpeechError.__init__, InvalidRequestError.__init__):
        return kind("something")
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    needed = [str(one.annotation) for one in parameters if one.default is one.empty]
    return kind(*(EXAMPLES[re.sub(r"<class '(.*)'>|.*abc\.", r"\1", name)] for name in needed))


def carried(error: SpeechError) -> SpeechError:
    """The error on the other side."""
    encoded = msgspec.msgpack.encode(describe(error))
    return restore(msgspec.msgpack.decode(encoded, type=Failure))


def same(one: SpeechError, other: SpeechError) -> bool:
    return (type(one), str(one), vars(one), one.code, one.is_retryable) == (
        type(other),
        str(other),
        vars(other),
        other.code,
        other.is_retryable,
    )


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_each_error_of_the_domain_arrives_as_itself(kind: type[SpeechError]) -> None:
    error = made(kind)
    assert same(carried(error), error)


def test_none_is_forgotten() -> None:
    names = {name for name in vars(errors) if name.endswith("Error")}
    assert set(KINDS) == names


@given(st.text())
def test_any_message_arrives(message: str) -> None:
    for error in (ModelLoadError(message), InstanceDeadError(message, reason="silent")):
        assert same(carried(error), error)


@given(st.integers(0, 2**53), st.integers(0, 2**53), st.floats(allow_nan=False))
def test_any_values_arrive(length: int, limit: int, limit_s: float) -> None:
    assert same(carried(InputTooLongError(length, limit)), InputTooLongError(length, limit))
    assert same(carried(SpeechTimeoutError(limit_s)), SpeechTimeoutError(limit_s))


def test_a_code_and_a_parameter_of_its_own_arrive() -> None:
    error = InvalidRequestError("something", code="invalid_json", param="input")
    assert same(carried(error), error)
    assert carried(error).param == "input"


def test_an_error_that_only_an_adapter_knows_arrives_as_what_it_is_derived_from() -> None:
    class OddError(RunawaySpeechError):
        """Known nowhere else."""

    assert type(carried(OddError())) is RunawaySpeechError


def test_an_error_can_be_raised_again() -> None:
    with pytest.raises(RunawaySpeechError, match="ran away"):
        raise carried(RunawaySpeechError())
