from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.adapters.speech.cache import MemoryCache, chunk_bytes, entry_bytes
from app.domain.audio import AudioChunk

MAX_BYTES = 20_000


def chunks(*sizes: int) -> tuple[AudioChunk, ...]:
    return tuple(AudioChunk(np.zeros(size, np.float32), 16_000) for size in sizes)


def insert(kept: MemoryCache, key: str, entry: tuple[AudioChunk, ...]) -> bool:
    if not kept.reserve(entry_bytes(entry)):
        return False
    kept.put(key, entry)
    return True


class AnySequence(RuleBasedStateMachine):
    """Beside the real thing, a model of it: entries by last use, and what is reserved."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = MemoryCache(MAX_BYTES)
        self.used: OrderedDict[str, int] = OrderedDict()
        self.reserved: list[int] = []

    @rule(key=st.sampled_from("abcdefgh"), sizes=st.lists(st.integers(1, 2_000), max_size=3))
    def inserts(self, key: str, sizes: list[int]) -> None:
        entry = chunks(*sizes)
        if insert(self.kept, key, entry):
            self.make_room(entry_bytes(entry))
            self.used.pop(key, None)
            self.used[key] = entry_bytes(entry)
        else:
            assert sum(self.reserved) + entry_bytes(entry) > MAX_BYTES

    @rule(key=st.sampled_from("abcdefgh"))
    def gets(self, key: str) -> None:
        assert (self.kept.get(key) is not None) == (key in self.used)
        if key in self.used:
            self.used.move_to_end(key)

    @rule(num_bytes=st.integers(1, MAX_BYTES + 1))
    def reserves(self, num_bytes: int) -> None:
        if self.kept.reserve(num_bytes):
            self.make_room(num_bytes)
            self.reserved.append(num_bytes)
        else:
            assert sum(self.reserved) + num_bytes > MAX_BYTES

    @rule()
    def releases(self) -> None:
        if self.reserved:
            self.kept.release(self.reserved.pop())

    def make_room(self, num_bytes: int) -> None:
        while sum(self.used.values()) + sum(self.reserved) + num_bytes > MAX_BYTES:
            self.used.popitem(last=False)

    @invariant()
    def the_limit_holds_and_what_was_used_last_is_there(self) -> None:
        assert self.kept.num_bytes <= MAX_BYTES
        assert self.kept.num_bytes == sum(self.used.values()) + sum(self.reserved)
        assert {key for key in "abcdefgh" if key in self.kept} == set(self.used)


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(deadline=None)


@settings(deadline=None)
@given(st.lists(st.integers(0, 4_000), max_size=5))
def test_an_entry_costs_its_samples_and_a_little(sizes: list[int]) -> None:
    entry = chunks(*sizes)
    assert entry_bytes(entry) > sum(chunk.samples.nbytes for chunk in entry)
    assert entry_bytes(entry) - sum(map(chunk_bytes, entry)) > 0


def test_silent_segments_are_bounded_as_well() -> None:
    kept = MemoryCache(MAX_BYTES)
    for number in range(1_000):
        insert(kept, str(number), ())
    assert sum(str(number) in kept for number in range(1_000)) <= MAX_BYTES // 1_000


@pytest.mark.parametrize("num_bytes", [1, MAX_BYTES])
def test_of_size_0_it_keeps_nothing(num_bytes: int) -> None:
    assert not MemoryCache(0).reserve(num_bytes)
