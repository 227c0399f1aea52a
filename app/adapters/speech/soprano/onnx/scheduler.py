"""Which prompt is prefilled, which slots decode and which states are vocoded next (sans-I/O).

A sequence owns a slot of the KV cache from its first prefill chunk to its last token. None is
preempted, since it ends within 512 tokens. Slots 0 to n - 1 decode; sequences in prefill own the
slots behind them and start to decode in that order. The earliest due comes first. Prefetched
sequences, which are due later, leave slots free for new requests and are prefilled only while every
listener has audio buffered.

`schedule` only looks; the other methods tell the scheduler what was started or done.
"""

from operator import itemgetter
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.shapes import SAMPLE_RATE, SAMPLES_PER_TOKEN
from app.adapters.speech.soprano.onnx.sequence import COMFORT_S, MAX_VOCODER_STATES, Sequence

# Prompt tokens in one call: 20 to 36 ms in int8 on two Zen 4 cores, 60 to 90 ms on slower ones. All
# prompts are cut at the same places, so that the result does not depend on who else is there;
# another size gives other low bits. Larger chunks are more efficient and delay decode steps longer.
PREFILL_CHUNK: Final = 64

# Prompt tokens before a decode step, so at most two chunks delay those who listen. Only urgent
# prompts get the second one, and none while an underrun is near. More shortens the wait of new
# requests and drains the buffers.
MAX_PREFILL_TOKENS: Final = 2 * PREFILL_CHUNK

# Sequences in prefill at a time: one for each of the engine's two threads.
MAX_PREFILLING: Final = 2

# With this much buffered, a listener does not notice decode steps without its sequence: time for
# one step of all sequences and its vocoding. Lower values bring a new request's first audio
# earlier, at the price of underruns of the others.
PATIENCE_S: Final = 0.15

# A sequence due within this time is not prefetched, but wanted by its listener: it may take the
# slots that are kept free and is prefilled before buffers are filled further.
DUE_S: Final = 1.0

# A sequence due within this time no longer waits for others: prefill and decode steps to its first
# audio on two busy cores. Without the limit, with 15 streams beside on cores that take 60 to 90 ms
# for a prompt, the first-audio wait at p95 was 9.8 times that of an idle server, with it 7.5 times.
URGENT_S: Final = 0.5

# A longer step gives its listeners hardly more audio than they play meanwhile: then those who have
# enough wait. It is the playing time of a token, less what a step of other sequences may take.
MAX_STEP_S: Final = 0.8 * SAMPLES_PER_TOKEN / SAMPLE_RATE

# Sequences in one vocoder call. More share a call's fixed cost and hold up urgent ones.
MAX_VOCODER_BATCH: Final = 8

# Share of the slots that prefetched sequences leave free, so that a new request starts at once.
FREE_SHARE: Final = 4

# Duration of a step before one was measured.
FIRST_STEP_S: Final = 0.02


class PrefillChunk(msgspec.Struct, frozen=True, eq=False):
    """Compute prompt tokens [start, end) of a sequence into a slot."""

    sequence: Sequence
    slot: int
    start: int
    end: int

    @property
    def num_tokens(self) -> int:
        return self.end - self.start


class VocoderBatch(msgspec.Struct, frozen=True, eq=False):
    """Turn the next `num_states` states of each sequence into audio."""

    sequences: list[Sequence]
    num_states: int
    is_first: bool
    is_last: bool


class SlotMove(msgspec.Struct, frozen=True):
    """Copy the first `num_tokens` keys and values of slot `source` to slot `target`."""

    source: int
    target: int
    num_tokens: int


class Plan(msgspec.Struct, frozen=True, eq=False):
    """What to compute next."""

    prefill: PrefillChunk | None  # comes before the decode step; then the plan is made again
    decode: range  # slots that take a decode step
    vocode: list[VocoderBatch]  # the listeners nearest to an underrun first
    # What a second thread does beside the decode steps. While nothing decodes, prefill is left to
    # the first thread, which then has all cores.
    background: PrefillChunk | VocoderBatch | None


class Scheduler:
    """The sequences of one engine."""

    def __init__(self, num_slots: int) -> None:
        self._num_slots = num_slots
        self.waiting: list[Sequence] = []  # not begun
        self.prefilling: list[Sequence] = []  # in the order of their slots
        self.running: list[Sequence] = []  # decode; the index is the slot
        self.vocoding: list[Sequence] = []  # have audio to come, the running ones included
        # What a step of all takes, as the engine measures it: to compute, in both threads, and from
        # one to the next.
        self.step_s = self.interval_s = FIRST_STEP_S
        self._is_vocoder_next = False

    def schedule(self, now: float, num_prefilled: int = 0, *, has_vocoding: bool = True) -> Plan:
        """What to compute next, after so many prompt tokens were prefilled for this step."""
        awaited = [
            slot
            for slot, one in enumerate(self.running)
            if one.num_samples == 0 and one.due_at <= now and not one.is_vocoding
        ]
        # All slots, or those around the ones that come first: few rows step several times as fast.
        decode = range(len(self.running))
        first = awaited
        if not awaited and self.interval_s > MAX_STEP_S:
            first = [slot for slot, one in enumerate(self.running) if one.buffered_s(now) <= DUE_S]
        if first:
            slots = range(first[0], first[-1] + 1)
            others = (one for slot, one in enumerate(self.running) if slot not in slots)
            if all(one.buffered_s(now) > PATIENCE_S for one in others):
                decode = slots
        prefill = self._next_chunk(now, num_prefilled, is_awaited=bool(awaited))
        vocode = self._next_batches(now, is_awaited=bool(awaited)) if has_vocoding else []
        background: PrefillChunk | VocoderBatch | None = vocode[0] if vocode else None
        # Prefill comes before vocoding, unless an underrun is near, or it is the vocoder's turn
        # and no prompt is due.
        if prefill is not None and decode:
            is_underrun_near = any(
                _is_underrun_near(one, now) for batch in vocode for one in batch.sequences
            )
            is_prompt_due = any(_is_due(one, now) for one in self.waiting)
            is_vocoder_first = is_underrun_near or (self._is_vocoder_next and not is_prompt_due)
            if not (vocode and is_vocoder_first):
                background = prefill
        return Plan(prefill, decode, vocode, background)

    def _next_chunk(
        self, now: float, num_prefilled: int, *, is_awaited: bool
    ) -> PrefillChunk | None:
        if num_prefilled >= MAX_PREFILL_TOKENS:
            return None
        begun = [x for x in self.prefilling if not x.is_prefilling and x.num_prompt_tokens_left]
        if begun:
            sequence, slot = begun[0], begun[0].slot
        else:
            slot = self.prefilling[-1].slot + 1 if self.prefilling else len(self.running)
            is_full = len(self.prefilling) == MAX_PREFILLING or slot == self._num_slots
            if is_full or not self.waiting:
                return None
            sequence = min(self.waiting, key=lambda one: one.due_at)
            num_used = len(self.running) + len(self.prefilling)
            is_free = num_used < self._num_slots - self._num_slots // FREE_SHARE
            is_delayed = is_awaited or any(x.buffered_s(now) <= COMFORT_S for x in self.vocoding)
            may_begin = (is_free or _is_due(sequence, now)) and not is_delayed
            if not (may_begin or _is_urgent(sequence, now)):
                return None
        if num_prefilled and (
            not _is_urgent(sequence, now) or any(_is_underrun_near(x, now) for x in self.vocoding)
        ):
            return None
        start = sequence.num_computed_tokens
        end = min(start + PREFILL_CHUNK, sequence.num_prompt_tokens)
        return PrefillChunk(sequence, slot, start, end)

    def _next_batches(self, now: float, *, is_awaited: bool) -> list[VocoderBatch]:
        """As much as a decode step generates twice over; equal pieces share a call."""
        budget = 2 * max(MAX_VOCODER_STATES, len(self.running))
        groups: dict[tuple[int, bool, bool], list[Sequence]] = {}
        idle = [(one.buffered_s(now), one) for one in self.vocoding if not one.is_vocoding]
        for buffered_s, sequence in sorted(idle, key=itemgetter(0)):
            if budget <= 0 or (is_awaited and buffered_s > COMFORT_S):
                break
            num_states = sequence.num_states_to_vocode(buffered_s, self.step_s)
            if num_states is None:  # more have to be generated first
                continue
            budget -= num_states
            is_last = sequence.is_finished and num_states == len(sequence.states)
            kind = num_states, sequence.num_samples == 0, is_last
            groups.setdefault(kind, []).append(sequence)
        return [
            VocoderBatch(group[start : start + MAX_VOCODER_BATCH], *kind)
            for kind, group in groups.items()
            for start in range(0, len(group), MAX_VOCODER_BATCH)
        ]

    def add(self, sequence: Sequence) -> None:
        """Queue it."""
        self.waiting.append(sequence)

    def start_prefill(self, chunk: PrefillChunk) -> None:
        """The chunk is being computed; it ends with `on_prefilled`."""
        sequence = chunk.sequence
        if sequence in self.waiting:
            self.waiting.remove(sequence)
            self.prefilling.append(sequence)
            sequence.slot = chunk.slot
        sequence.is_prefilling = True
        self._is_vocoder_next = True

    def start_vocoding(self, batch: VocoderBatch) -> list[list[NDArray[np.float32]]]:
        """The states of each sequence; the batch ends with `Sequence.on_audio`."""
        self._is_vocoder_next = False
        return [sequence.pop_states(batch.num_states) for sequence in batch.sequences]

    def on_prefilled(self, chunk: PrefillChunk) -> None:
        """The chunk is computed."""
        sequence = chunk.sequence
        sequence.num_computed_tokens = chunk.end
        sequence.is_prefilling = False
        if sequence.is_cancelled:
            self.prefilling.remove(sequence)

    def start_decoding(self) -> tuple[list[Sequence], list[SlotMove]]:
        """Let sequences decode whose prompts are prefilled; they, and the slots to move now."""
        started, moves = [], []
        while self.prefilling and not self.prefilling[0].num_prompt_tokens_left:
            sequence = self.prefilling.pop(0)
            slot = len(self.running)
            if sequence.slot != slot:
                moves.append(SlotMove(sequence.slot, slot, sequence.num_computed_tokens))
            self.running.append(sequence)
            self.vocoding.append(sequence)
            started.append(sequence)
        return started, moves

    def release_slot(self, sequence: Sequence) -> list[SlotMove]:
        """End its decoding; the last slot moves into its place."""
        if sequence not in self.running:
            return []
        slot, last = self.running.index(sequence), len(self.running) - 1
        self.running[slot] = self.running[last]
        self.running.pop()
        if slot == last:
            return []
        return [SlotMove(last, slot, self.running[slot].num_computed_tokens)]

    def remove(self, sequence: Sequence) -> list[SlotMove]:
        """Forget it; a slot that is being written to stays taken until that chunk is computed."""
        for queue in (self.waiting, self.vocoding):
            if sequence in queue:
                queue.remove(sequence)
        if sequence in self.prefilling:
            if sequence.is_prefilling:
                sequence.is_cancelled = True
            else:
                self.prefilling.remove(sequence)
        return self.release_slot(sequence)


def _is_underrun_near(sequence: Sequence, now: float) -> bool:
    """Whether its listener has audio, and will soon have none."""
    return sequence.num_samples > 0 and sequence.buffered_s(now) <= COMFORT_S


def _is_due(sequence: Sequence, now: float) -> bool:
    return sequence.due_at - now <= DUE_S


def _is_urgent(sequence: Sequence, now: float) -> bool:
    return sequence.due_at - now <= URGENT_S
