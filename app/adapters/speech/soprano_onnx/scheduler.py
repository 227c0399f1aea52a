"""Who is read, who steps and who sounds next. Pure: plain data in, decisions out.

A row of the cache belongs to one sentence from its first read to its last token; no sentence is
paused, since it ends within 512 tokens. Rows 0 to n - 1 step; while a sentence is being read it has
row n. What is due first is read first. Sentences that are due later leave rows free for those that
come, and are read only while everybody has enough to play.
"""

import math
from collections.abc import Iterator
from itertools import groupby
from typing import Final

import msgspec

from app.adapters.speech.soprano_onnx.sequence import (
    FIRST_SOUND_S,
    MAX_CHUNK_TOKENS,
    MIN_FIRST_STATES,
    SECONDS_PER_TOKEN,
    Sequence,
)

READ_CHUNK: Final = 64
"""Ids of a prompt that are read at once. Always the same, so that a prompt is read in the same
pieces whoever else is there, and gives the same states to the last bit."""

MAX_READ_TOKENS: Final = 2 * READ_CHUNK
"""Ids read before a step: bounds how long a new sentence holds up those that sound. Of sentences
that are not due soon it is one piece."""

COMFORT_S: Final = 0.25
"""With so much to play, a listener does not notice that a prompt is read; above what reading takes
in fp32 on a small machine."""

STEPS_OF_FIRST_SOUND: Final = 3
"""How many steps the first sound outlasts, so that the second one comes in time."""

MAX_FIRST_STATES: Final = 8

SOON_S: Final = 1.0
"""A sentence due within this is not ahead of its listener."""

MAX_GROUP_ROWS: Final = 8
"""Sentences decoded in one call."""


class Read(msgspec.Struct, frozen=True, eq=False):
    """Read ids [start, end) of a prompt into a row."""

    sequence: Sequence
    row: int
    start: int
    end: int


class Move(msgspec.Struct, frozen=True):
    """Copy what row `source` holds, `length` ids, to row `target`."""

    source: int
    target: int
    length: int


class Sound(msgspec.Struct, frozen=True, eq=False):
    """Decode the next `num_states` states of sentences that are alike."""

    sequences: list[Sequence]
    num_states: int
    is_first: bool
    is_last: bool


class Scheduler:
    """The sentences of one engine.

    Args:
        num_rows: that there are.

    Attributes:
        running: that step, in the order of their rows.
        reading: whose prompt is being read.
        sounding: that have sound to come, the running ones included.
    """

    def __init__(self, num_rows: int) -> None:
        self._num_rows = num_rows
        self._num_kept_free = num_rows // 4
        self._waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.reading: Sequence | None = None
        self.sounding: list[Sequence] = []

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._waiting or self.running or self.reading or self.sounding)

    @property
    def num_rows_used(self) -> int:
        """Rows that hold something."""
        return len(self.running) + (self.reading is not None)

    def add(self, sequence: Sequence) -> None:
        """Let it wait for its turn."""
        self._waiting.append(sequence)

    def remove(self, sequence: Sequence) -> list[Move]:
        """Forget a sentence, wherever it is; the rows that must move now."""
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        if sequence in self.sounding:
            self.sounding.remove(sequence)
        if sequence is self.reading:
            self.reading = None
        return self.free_row(sequence)

    def free_row(self, sequence: Sequence) -> list[Move]:
        """Take a sentence out of the steps; the rows that must move now."""
        if sequence not in self.running:
            return []
        row, last = self.running.index(sequence), len(self.running) - 1
        moves = []
        if row != last:
            moves.append(Move(last, row, self.running[last].num_read))
            self.running[row] = self.running[last]
        self.running.pop()
        if self.reading is not None and self.reading.num_read:
            moves.append(Move(last + 1, last, self.reading.num_read))
        return moves

    def next_read(self, now: float, num_read: int) -> Read | None:
        """What to read now, if `num_read` ids have been read since the last step."""
        if num_read >= MAX_READ_TOKENS:
            return None
        if self.reading is None:
            self._begin_reading(now)
        if self.reading is None or (num_read and not self._is_due(self.reading, now)):
            return None
        start = self.reading.num_read
        end = min(start + READ_CHUNK, self.reading.num_prompt)
        return Read(self.reading, len(self.running), start, end)

    def _begin_reading(self, now: float) -> None:
        if not self._waiting or self.num_rows_used >= self._num_rows:
            return
        first = min(self._waiting, key=lambda sequence: sequence.due_at)
        if not self._is_due(first, now) and not self._has_time(now):
            return
        self._waiting.remove(first)
        self.reading = first

    @staticmethod
    def _is_due(sequence: Sequence, now: float) -> bool:
        return sequence.due_at - now <= SOON_S

    def _has_time(self, now: float) -> bool:
        """Whether a sentence that is not due yet may be begun."""
        if self.num_rows_used >= self._num_rows - self._num_kept_free:
            return False
        return all(sequence.ahead_s(now) > COMFORT_S for sequence in self.sounding)

    def has_read(self, read: Read) -> bool:
        """Note that it is done; whether the sentence steps from now on."""
        read.sequence.num_read = read.end
        if read.sequence.num_unread:
            return False
        self.reading = None
        self.running.append(read.sequence)
        self.sounding.append(read.sequence)
        return True

    def next_rows(self, now: float) -> range:
        """The rows that step now: all, or only those around who waits for a first sound.

        That is while everybody else has enough to play: a few rows step several times as fast.
        """
        hurried = [row for row, one in enumerate(self.running) if _is_awaited(one, now)]
        rows = range(hurried[0], hurried[-1] + 1) if hurried else range(len(self.running))
        others = (one for row, one in enumerate(self.running) if row not in rows)
        if all(one.ahead_s(now) > COMFORT_S for one in others):
            return rows
        return range(len(self.running))

    def next_sounds(self, now: float, step_s: float) -> list[Sound]:
        """What to decode now: the sentences nearest to silence first, as much as a step makes.

        While a first sound is awaited, those with enough to play wait.

        Args:
            now: seconds of the clock.
            step_s: that one step of all takes.
        """
        budget = max(MAX_CHUNK_TOKENS, 2 * len(self.running))
        is_hurried = any(_is_awaited(one, now) for one in self.running)
        chosen: list[tuple[tuple[int, bool, bool], Sequence]] = []
        for sequence in sorted(self.sounding, key=lambda one: one.ahead_s(now)):
            num_states = num_states_to_decode(sequence, now, step_s)
            if num_states is None or budget <= 0:
                continue
            if is_hurried and sequence.ahead_s(now) > COMFORT_S:
                continue
            budget -= num_states
            is_last = sequence.has_ended and num_states == len(sequence.states)
            chosen.append(((num_states, sequence.num_samples == 0, is_last), sequence))
        chosen.sort(key=lambda choice: choice[0])
        return list(_groups(chosen))


def _is_awaited(sequence: Sequence, now: float) -> bool:
    """Whether somebody waits for its first sound."""
    return sequence.num_samples == 0 and sequence.due_at <= now


def num_states_to_decode(sequence: Sequence, now: float, step_s: float) -> int | None:
    """How many of its states to decode now; None is to wait for more.

    The first piece is as small as it can be, on a busy machine a little larger. Later ones grow
    while the listener has more to play: making one may take half of that time.
    """
    num_ready = sequence.num_ready
    if sequence.has_ended and num_ready <= MAX_CHUNK_TOKENS + MAX_CHUNK_TOKENS // 2:
        return num_ready
    least = num_first_states(step_s) if sequence.num_samples == 0 else 1
    affordable = sequence.ahead_s(now) / (2 * step_s)
    wanted = min(MAX_CHUNK_TOKENS, max(least, _power_of_two(affordable)))
    if num_ready < wanted and not sequence.has_ended:
        return None
    return min(MAX_CHUNK_TOKENS, max(least, _power_of_two(num_ready)))


def num_first_states(step_s: float) -> int:
    """How many states the first sound is made of, when a step takes `step_s` seconds."""
    missing_s = STEPS_OF_FIRST_SOUND * step_s - FIRST_SOUND_S
    more = math.ceil(max(0.0, missing_s) / SECONDS_PER_TOKEN)
    return min(MIN_FIRST_STATES + more, MAX_FIRST_STATES)


def _power_of_two(number: float) -> int:
    """The largest one that is not above `number`; 1 if there is none."""
    return 1 << (max(1, int(number)).bit_length() - 1)


def _groups(chosen: list[tuple[tuple[int, bool, bool], Sequence]]) -> Iterator[Sound]:
    for (num_states, is_first, is_last), alike in groupby(chosen, key=lambda choice: choice[0]):
        sequences = [sequence for _, sequence in alike]
        for start in range(0, len(sequences), MAX_GROUP_ROWS):
            part = sequences[start : start + MAX_GROUP_ROWS]
            yield Sound(part, num_states, is_first=is_first, is_last=is_last)
