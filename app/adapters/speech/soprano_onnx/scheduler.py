"""Who is read, who steps and who sounds next. Pure: plain data in, decisions out.

A row of the cache belongs to one sentence from its first read to its last token; no sentence is
paused, since it ends within 512 tokens. Rows 0 to n - 1 step; sentences that are being read have
rows behind them, and join them in the order of those. What is due first is read first. Sentences
that are due later leave rows free for those that come, and are read only while everybody has enough
to play.
"""

import math
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

MAX_READING: Final = 2
"""Sentences that are being read at a time: one by each thread."""

COMFORT_S: Final = 0.25
"""With so much to play, a listener does not notice that a prompt is read; above what reading takes
in fp32 on a small machine."""

PATIENCE_S: Final = 0.15
"""With so much to play, a listener does not notice that others step without him, until one step
of all is made, and its sound."""

STEPS_OF_FIRST_SOUND: Final = 3
"""How many steps the first sound outlasts, so that the second one comes in time."""

MAX_FIRST_STATES: Final = 8

SOON_S: Final = 1.0
"""A sentence due within this is not ahead of its listener."""

PRESSING_S: Final = 0.5
"""A sentence due within this may no longer wait for others: what it takes to read and to step it
to its first sound on a small machine that is busy."""

MAX_GROUP_ROWS: Final = 8
"""Sentences decoded in one call."""


class Read(msgspec.Struct, frozen=True, eq=False):
    """Read ids [start, end) of a prompt into a row."""

    sequence: Sequence
    row: int
    start: int
    end: int


class Reading(msgspec.Struct, eq=False):
    """A sentence whose prompt is being read.

    Attributes:
        sequence: the sentence.
        row: that it has until it steps.
        is_under_way: whether a piece is being read at this moment.
        is_removed: whether nobody wants it any more; its row is free once nobody writes to it.
    """

    sequence: Sequence
    row: int
    is_under_way: bool = False
    is_removed: bool = False


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
        reading: whose prompts are being read, in the order of their rows.
        sounding: that have sound to come, the running ones included.
    """

    def __init__(self, num_rows: int) -> None:
        self._num_rows = num_rows
        self._num_kept_free = num_rows // 4
        self._waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.reading: list[Reading] = []
        self.sounding: list[Sequence] = []
        self._is_reads_turn = True

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._waiting or self.running or self.reading or self.sounding)

    @property
    def num_rows_used(self) -> int:
        """Rows that hold something."""
        return len(self.running) + len(self.reading)

    def add(self, sequence: Sequence) -> None:
        """Let it wait for its turn."""
        self._waiting.append(sequence)

    def remove(self, sequence: Sequence) -> list[Move]:
        """Forget a sentence, wherever it is; the rows that must move now."""
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        if sequence in self.sounding:
            self.sounding.remove(sequence)
        for reading in self.reading:
            reading.is_removed |= reading.sequence is sequence
        self._forget_removed()
        return self.free_row(sequence)

    def _forget_removed(self) -> None:
        self.reading = [one for one in self.reading if one.is_under_way or not one.is_removed]

    def free_row(self, sequence: Sequence) -> list[Move]:
        """Take a sentence out of the steps; the rows that must move now."""
        if sequence not in self.running:
            return []
        row, last = self.running.index(sequence), len(self.running) - 1
        self.running[row] = self.running[last]
        self.running.pop()
        return [Move(last, row, self.running[row].num_read)] if row != last else []

    def next_read(self, now: float, num_read: int) -> Read | None:
        """What to read now, if `num_read` ids have been read since the last step.

        Until `has_read`, no other piece of that sentence is given out.
        """
        if num_read >= MAX_READ_TOKENS:
            return None
        reading = self._next_reading(now)
        if reading is None or (num_read and not _is_pressing(reading.sequence, now)):
            return None
        reading.is_under_way = True
        start = reading.sequence.num_read
        end = min(start + READ_CHUNK, reading.sequence.num_prompt)
        return Read(reading.sequence, reading.row, start, end)

    def _next_reading(self, now: float) -> Reading | None:
        for reading in self.reading:
            if not reading.is_under_way and reading.sequence.num_unread:
                return reading
        row = self.reading[-1].row + 1 if self.reading else len(self.running)
        if not self._waiting or len(self.reading) == MAX_READING or row == self._num_rows:
            return None
        first = min(self._waiting, key=lambda sequence: sequence.due_at)
        if not self._may_begin(first, now):
            return None
        self._waiting.remove(first)
        self.reading.append(Reading(first, row))
        return self.reading[-1]

    def _may_begin(self, sequence: Sequence, now: float) -> bool:
        """Whether its prompt may be read: what is not pressing waits while others are short."""
        if _is_pressing(sequence, now):
            return True
        if self._is_hurried(now) or any(one.ahead_s(now) <= COMFORT_S for one in self.sounding):
            return False
        has_free_rows = self.num_rows_used < self._num_rows - self._num_kept_free
        return has_free_rows or _is_due(sequence, now)

    def _is_hurried(self, now: float) -> bool:
        """Whether somebody who steps waits for a first sound."""
        return any(_is_awaited(one, now) for one in self.running)

    def has_read(self, read: Read) -> None:
        """Note that it is done."""
        read.sequence.num_read = read.end
        for reading in self.reading:
            if reading.sequence is read.sequence:
                reading.is_under_way = False
        self._forget_removed()

    def join(self) -> tuple[list[Sequence], list[Move]]:
        """Let those step that have been read whole; they, and the rows that must move now."""
        joined, moves = [], []
        while self.reading and not self.reading[0].sequence.num_unread:
            reading = self.reading.pop(0)
            row = len(self.running)
            if reading.row != row:
                moves.append(Move(reading.row, row, reading.sequence.num_read))
            self.running.append(reading.sequence)
            self.sounding.append(reading.sequence)
            joined.append(reading.sequence)
        return joined, moves

    def next_rows(self, now: float) -> range:
        """The rows that step now: all, or only those around who waits for a first sound.

        That is while everybody else has enough to play: a few rows step several times as fast.
        """
        hurried = [row for row, one in enumerate(self.running) if _is_awaited(one, now)]
        rows = range(hurried[0], hurried[-1] + 1) if hurried else range(len(self.running))
        others = (one for row, one in enumerate(self.running) if row not in rows)
        if all(one.ahead_s(now) > PATIENCE_S for one in others):
            return rows
        return range(len(self.running))

    def next_beside(self, now: float, step_s: float) -> Read | Sound | None:
        """What a helper reads or decodes while the others step.

        Sound, if somebody hears silence soon; else what has to be read soon; else both by turns.
        While nothing steps, what there is to read is left to those who would.

        Args:
            now: seconds of the clock.
            step_s: that one step of all takes.
        """
        sounds = self.next_sounds(now, step_s)
        read = None
        if self.running and not self._goes_before_reading(sounds, now):
            read = self.next_read(now, 0)
        self._is_reads_turn = read is None
        return read or next(iter(sounds), None)

    def _goes_before_reading(self, sounds: list[Sound], now: float) -> bool:
        everybody = [one for sound in sounds for one in sound.sequences]
        if any(one.num_samples and one.ahead_s(now) <= COMFORT_S for one in everybody):
            return True
        has_due = any(_is_due(one, now) for one in self._waiting)
        return bool(sounds) and not self._is_reads_turn and not has_due

    def next_sounds(self, now: float, step_s: float) -> list[Sound]:
        """What to decode now: the sentences nearest to silence first, as much as a step makes.

        While a first sound is awaited, those with enough to play wait.

        Args:
            now: seconds of the clock.
            step_s: that one step of all takes.
        """
        budget = 2 * max(MAX_CHUNK_TOKENS, len(self.running))
        is_hurried = self._is_hurried(now)
        alike: dict[tuple[int, bool, bool], list[Sequence]] = {}
        for sequence in sorted(self.sounding, key=lambda one: one.ahead_s(now)):
            num_states = num_states_to_decode(sequence, now, step_s)
            if num_states is None or budget <= 0 or sequence.is_sounding:
                continue
            if is_hurried and sequence.ahead_s(now) > COMFORT_S:
                continue
            budget -= num_states
            is_last = sequence.has_ended and num_states == len(sequence.states)
            kind = (num_states, sequence.num_samples == 0, is_last)
            alike.setdefault(kind, []).append(sequence)
        return [
            Sound(sequences[start : start + MAX_GROUP_ROWS], *kind)
            for kind, sequences in alike.items()
            for start in range(0, len(sequences), MAX_GROUP_ROWS)
        ]


def _is_due(sequence: Sequence, now: float) -> bool:
    return sequence.due_at - now <= SOON_S


def _is_pressing(sequence: Sequence, now: float) -> bool:
    return sequence.due_at - now <= PRESSING_S


def _is_awaited(sequence: Sequence, now: float) -> bool:
    """Whether somebody waits for its first sound."""
    return sequence.num_samples == 0 and sequence.due_at <= now and not sequence.is_sounding


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
