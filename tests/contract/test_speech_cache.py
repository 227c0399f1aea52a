"""What every SpeechCache keeps."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from app.adapters.speech.cache import CachedModel, MemoryCache
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.ports.speech_model import SpeechCache
from tests.fakes.speech_cache import FakeSpeechCache
from tests.fakes.speech_model import FAKE_INFO, FakeSpeechModel

SEGMENT = TextSegment(0, "One sentence.")
PARAMS = SynthesisParams(FAKE_INFO.voices[0])


class Case(msgspec.Struct):
    """A cache, and how it comes to hold SEGMENT."""

    cache: SpeechCache
    fill: Callable[[], Awaitable[None]]


async def fake(*, is_on: bool) -> Case:
    cache = FakeSpeechCache()
    cache.is_on = is_on

    async def fill() -> None:
        cache.held.add(SEGMENT.text)

    return Case(cache, fill)


async def cached(*, is_on: bool) -> Case:
    model = CachedModel(
        FakeSpeechModel(), MemoryCache(100_000 if is_on else 0), None, lambda: "one", 0.0
    )
    await model.load()

    async def fill() -> None:
        async for _ in model.synthesize(SEGMENT, PARAMS):
            pass

    return Case(model, fill)


CASES = {"fake": fake, "cached": cached}
both = pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())


@both
async def test_it_holds_what_was_put_in_and_nothing_else(
    make: Callable[..., Awaitable[Case]],
) -> None:
    case = await make(is_on=True)
    assert case.cache.can_keep(PARAMS)
    assert not case.cache.holds(SEGMENT, PARAMS)
    await case.fill()
    assert case.cache.holds(SEGMENT, PARAMS)
    assert case.cache.holds(TextSegment(5, SEGMENT.text), PARAMS)
    assert not case.cache.holds(TextSegment(0, "Another one."), PARAMS)


@both
async def test_turned_off_it_holds_nothing(make: Callable[..., Awaitable[Case]]) -> None:
    case = await make(is_on=False)
    await case.fill()
    assert not case.cache.can_keep(PARAMS)
    assert not case.cache.holds(SEGMENT, PARAMS)
