"""Who is prefilled, decodes and is vocoded next: decisions on plain data, in microseconds."""

import numpy as np
import pytest

from app.adapters.speech.soprano.engine import Sampling
from app.adapters.speech.soprano.onnx.scheduler import (
    MAX_PREFILL_TOKENS,
    MAX_STEP_S,
    MAX_VOCODER_BATCH,
    PREFILL_CHUNK,
    PrefillChunk,
    Scheduler,
    SlotMove,
    VocoderBatch,
)
from app.adapters.speech.soprano.onnx.sequence import (
    MAX_VOCODER_STATES,
    MIN_FIRST_STATES,
    Sequence,
)
from tests.examples import table

EOS = 3
STEP_S = 0.01
NOW = 100.0


def new_sequence(due_at: float = NOW, num_prompt: int = 20) -> Sequence:
    return Sequence([9] * num_prompt, Sampling(), due_at, EOS)


def new_scheduler(num_slots: int) -> Scheduler:
    scheduler = Scheduler(num_slots)
    scheduler.step_s = STEP_S
    return scheduler


def is_idle(scheduler: Scheduler) -> bool:
    """It has no sequence."""
    return not (
        scheduler.waiting or scheduler.prefilling or scheduler.running or scheduler.vocoding
    )


def start_prefill(
    scheduler: Scheduler, now: float = NOW, num_prefilled: int = 0
) -> PrefillChunk | None:
    """The next chunk, begun; the plan alone changes nothing."""
    chunk = scheduler.schedule(now, num_prefilled).prefill
    again = scheduler.schedule(now, num_prefilled).prefill
    assert (chunk and chunk.sequence) is (again and again.sequence)
    if chunk is not None:
        scheduler.start_prefill(chunk)
    return chunk


def start_background(scheduler: Scheduler) -> PrefillChunk | VocoderBatch | None:
    """What the second thread begins."""
    work = scheduler.schedule(NOW).background
    if isinstance(work, PrefillChunk):
        scheduler.start_prefill(work)
    elif work is not None:
        scheduler.start_vocoding(work)
    return work


def prefill_all(scheduler: Scheduler, now: float = NOW) -> list[PrefillChunk]:
    """Everything that may be prefilled before the next step."""
    chunks: list[PrefillChunk] = []
    while chunk := start_prefill(scheduler, now, sum(one.num_tokens for one in chunks)):
        scheduler.on_prefilled(chunk)
        scheduler.start_decoding()
        chunks.append(chunk)
    return chunks


def two_under_way(scheduler: Scheduler) -> tuple[PrefillChunk, PrefillChunk]:
    """Two that are being prefilled, and a third one that waits."""
    for _ in range(3):
        scheduler.add(new_sequence())
    first, second = start_prefill(scheduler), start_prefill(scheduler)
    assert first is not None
    assert second is not None
    return first, second


def generate(sequence: Sequence, num_states: int) -> None:
    """Give a sequence so many states, far from each other."""
    start = len(sequence.states)
    for number in range(start, start + num_states):
        sequence.on_token(50, np.full(512, float(number % 2) * 2, np.float32))


def end(sequence: Sequence) -> None:
    sequence.on_token(EOS, np.zeros(512, np.float32))


def test_what_is_due_first_is_read_first() -> None:
    scheduler = new_scheduler(8)
    sequences = [new_sequence(due_at) for due_at in (NOW + 0.3, NOW - 1, NOW + 0.1)]
    for sequence in sequences:
        scheduler.add(sequence)
    order = [read.sequence for read in prefill_all(scheduler)]
    assert order == [sequences[1], sequences[2], sequences[0]]
    assert scheduler.running == order


def test_a_long_prompt_is_read_in_pieces_of_one_size_within_a_bound_a_step() -> None:
    scheduler = new_scheduler(8)
    sequence = new_sequence(num_prompt=300)
    scheduler.add(sequence)
    pieces = []
    while not scheduler.running:
        reads = prefill_all(scheduler)
        assert sum(read.end - read.start for read in reads) <= MAX_PREFILL_TOKENS
        pieces += [(read.start, read.end) for read in reads]
    assert pieces == [(0, 64), (64, 128), (128, 192), (192, 256), (256, 300)]


def test_a_sentence_that_is_read_has_the_row_behind_the_running_ones() -> None:
    scheduler = new_scheduler(8)
    for _ in range(3):
        scheduler.add(new_sequence())
    assert [read.slot for read in prefill_all(scheduler)] == [0, 1, 2]


def test_a_row_that_is_left_is_taken_by_the_last_one_and_what_was_read_joins_behind_it() -> None:
    scheduler = new_scheduler(8)
    sequences = [new_sequence(num_prompt=20 + n) for n in range(3)]
    for sequence in sequences:
        scheduler.add(sequence)
    prefill_all(scheduler)
    scheduler.add(new_sequence(num_prompt=64))
    read = start_prefill(scheduler)
    assert read is not None
    assert scheduler.release_slot(sequences[0]) == [SlotMove(2, 0, 22)]
    assert scheduler.running == [sequences[2], sequences[1]]
    assert scheduler.release_slot(sequences[1]) == []
    scheduler.on_prefilled(read)
    assert scheduler.start_decoding() == ([read.sequence], [SlotMove(3, 1, 64)])
    assert scheduler.running == [sequences[2], read.sequence]


def test_two_are_read_at_a_time_and_join_in_the_order_in_which_they_were_begun() -> None:
    scheduler = new_scheduler(8)
    first, second = two_under_way(scheduler)
    assert (first.slot, second.slot) == (0, 1)
    assert scheduler.schedule(NOW).prefill is None
    scheduler.on_prefilled(second)
    assert scheduler.start_decoding() == ([], [])
    scheduler.on_prefilled(first)
    assert scheduler.start_decoding() == ([first.sequence, second.sequence], [])


def test_the_row_of_a_sentence_that_nobody_wants_is_free_once_it_is_not_written_to() -> None:
    scheduler = new_scheduler(8)
    first, second = two_under_way(scheduler)
    scheduler.on_prefilled(second)
    scheduler.remove(first.sequence)
    assert scheduler.start_decoding() == ([], [])
    scheduler.on_prefilled(first)
    assert scheduler.start_decoding() == ([second.sequence], [SlotMove(1, 0, 20)])
    third = start_prefill(scheduler)
    assert third is not None
    assert third.slot == 1


def test_sentences_that_are_not_due_leave_rows_free_for_those_that_come() -> None:
    scheduler = new_scheduler(8)
    for _ in range(20):
        scheduler.add(new_sequence(due_at=NOW + 30))
    for _ in range(10):
        prefill_all(scheduler)
    assert len(scheduler.running) == 6
    newcomer = new_sequence()
    scheduler.add(newcomer)
    assert [read.sequence for read in prefill_all(scheduler)] == [newcomer]
    for _ in range(10):
        prefill_all(scheduler, now=NOW + 29.5)  # soon due: all rows are theirs
    assert len(scheduler.running) == 8


def test_nothing_is_begun_ahead_while_somebody_has_little_to_play() -> None:
    scheduler = new_scheduler(8)
    first = new_sequence()
    scheduler.add(first)
    scheduler.add(new_sequence(due_at=NOW + 30))
    prefill_all(scheduler)
    assert scheduler.running == [first]
    first.on_audio(2_048, NOW)
    prefill_all(scheduler)
    assert scheduler.running == [first]
    first.on_audio(32_000, NOW)
    prefill_all(scheduler)
    assert len(scheduler.running) == 2


@pytest.mark.parametrize(("due_in_s", "is_begun"), [(0.4, True), (0.9, False), (30.0, False)])
def test_while_somebody_waits_for_a_first_sound_only_what_is_pressing_is_begun(
    due_in_s: float, *, is_begun: bool
) -> None:
    scheduler = new_scheduler(8)
    newcomer = new_sequence()
    scheduler.add(newcomer)
    prefill_all(scheduler)
    later = new_sequence(due_at=NOW + due_in_s)
    scheduler.add(later)
    beside = scheduler.schedule(NOW).background
    assert (isinstance(beside, PrefillChunk) and beside.sequence is later) == is_begun
    newcomer.on_audio(32_000, NOW)
    assert is_begun or scheduler.schedule(NOW).prefill is not None


@pytest.mark.parametrize(("due_in_s", "is_begun"), [(0.4, True), (0.9, False)])
def test_while_somebody_has_little_to_play_only_what_is_pressing_is_begun(
    due_in_s: float, *, is_begun: bool
) -> None:
    scheduler = new_scheduler(8)
    heard(scheduler, ahead_s=0.2)
    scheduler.add(new_sequence(due_at=NOW + due_in_s))
    assert (scheduler.schedule(NOW).prefill is not None) == is_begun


def test_between_two_steps_more_than_one_is_read_only_if_it_is_pressing() -> None:
    scheduler = new_scheduler(8)
    for due_in_s in (0.7, 0.8):
        scheduler.add(new_sequence(due_at=NOW + due_in_s))
    assert len(prefill_all(scheduler)) == 1
    assert len(prefill_all(scheduler, NOW + 0.4)) == 1
    for _ in range(2):
        scheduler.add(new_sequence(due_at=NOW + 0.4))
    assert len(prefill_all(scheduler)) == 2


@pytest.mark.parametrize(("ahead_s", "rows"), [(0.2, range(1, 2)), (0.1, range(2))])
def test_others_wait_for_a_first_sound_until_they_have_little_to_play(
    ahead_s: float, rows: range
) -> None:
    scheduler = new_scheduler(8)
    heard(scheduler, ahead_s)
    scheduler.add(new_sequence())
    prefill_all(scheduler)
    assert scheduler.schedule(NOW).decode == rows


def test_who_waits_for_a_first_sound_steps_alone_while_the_others_have_enough_to_play() -> None:
    scheduler = new_scheduler(8)
    others = [new_sequence() for _ in range(3)]
    for sequence in others:
        scheduler.add(sequence)
    prefill_all(scheduler)
    prefill_all(scheduler)
    for sequence in others:
        sequence.on_audio(32_000, NOW)
    assert scheduler.schedule(NOW).decode == range(3)
    newcomer = new_sequence()
    scheduler.add(newcomer)
    prefill_all(scheduler)
    assert scheduler.schedule(NOW).decode == range(3, 4)
    generate(others[0], MAX_VOCODER_STATES)
    assert scheduler.schedule(NOW).vocode == []
    assert scheduler.schedule(NOW + 0.9).decode == range(4)
    newcomer.on_audio(2_048, NOW)
    assert scheduler.schedule(NOW).decode == range(4)


def test_rows_between_two_that_wait_for_a_first_sound_step_with_them() -> None:
    scheduler = new_scheduler(8)
    sequences = [new_sequence() for _ in range(5)]
    for sequence in sequences:
        scheduler.add(sequence)
    for _ in range(3):
        prefill_all(scheduler)
    for sequence in (sequences[0], sequences[2], sequences[4]):
        sequence.on_audio(32_000, NOW)
    assert scheduler.schedule(NOW).decode == range(1, 4)


@pytest.mark.parametrize(
    ("step_s", "rows"), [(MAX_STEP_S, range(3)), (1.01 * MAX_STEP_S, range(2))]
)
def test_while_steps_take_longer_than_their_audio_those_with_enough_to_play_wait(
    step_s: float, rows: range
) -> None:
    scheduler = new_scheduler(8)
    for ahead_s in (0.5, 0.9, 1.1):
        heard(scheduler, ahead_s)
    scheduler.interval_s = step_s
    assert scheduler.schedule(NOW).decode == rows
    assert scheduler.schedule(NOW + 0.2).decode == range(3)
    assert scheduler.schedule(NOW - 2.0).decode == range(3)  # everybody has enough


def test_a_second_prompt_in_a_step_does_not_hold_up_who_has_little_to_play() -> None:
    scheduler = new_scheduler(8)
    heard(scheduler, ahead_s=0.25)
    for _ in range(2):
        scheduler.add(new_sequence())
    assert len(prefill_all(scheduler)) == 1


def test_rows_are_never_more_than_there_are() -> None:
    scheduler = new_scheduler(4)
    for _ in range(9):
        scheduler.add(new_sequence(num_prompt=PREFILL_CHUNK))
    for _ in range(9):
        prefill_all(scheduler)
    assert (len(scheduler.running), scheduler.prefilling) == (4, [])


def test_the_first_sound_is_made_of_as_few_states_as_can_be() -> None:
    sequence = new_sequence()
    generate(sequence, MIN_FIRST_STATES - 1)
    assert sequence.num_states_to_vocode(sequence.buffered_s(NOW), STEP_S) is None
    generate(sequence, 1)
    assert sequence.num_states_to_vocode(sequence.buffered_s(NOW), STEP_S) == MIN_FIRST_STATES


@pytest.mark.parametrize(
    ("step_s", "num_states"), [(0.004, 4), (0.01, 4), (0.02, 5), (0.04, 6), (1.0, 8)]
)
def test_the_first_sound_outlasts_a_few_steps(step_s: float, num_states: int) -> None:
    sequence = new_sequence()
    generate(sequence, num_states - 1)
    assert sequence.num_states_to_vocode(sequence.buffered_s(NOW), step_s) is None
    generate(sequence, 1)
    assert sequence.num_states_to_vocode(sequence.buffered_s(NOW), step_s) == num_states


def test_pieces_grow_with_what_the_listener_has_to_play() -> None:
    sizes = []
    for ahead_s in (0.01, 0.03, 0.05, 0.1, 0.2, 0.4, 5.0):
        sequence = new_sequence()
        sequence.on_audio(round(ahead_s * 32_000), NOW)
        generate(sequence, MAX_VOCODER_STATES)
        while sequence.states and sequence.num_states_to_vocode(sequence.buffered_s(NOW), STEP_S):
            sequence.states.pop()
        sizes.append(len(sequence.states) + 1)
    # prompts wait at 0.2 s, and no longer once 4 more are there
    assert sizes == [1, 1, 2, 4, 4, 16, 16]


def test_the_end_of_a_sentence_is_one_piece_even_if_nothing_is_left() -> None:
    sequence = new_sequence()
    sequence.on_audio(2_048, NOW)
    end(sequence)
    assert sequence.num_states_to_vocode(sequence.buffered_s(NOW), STEP_S) == 0


def test_whoever_is_nearest_to_silence_sounds_first_and_a_step_makes_no_more_than_its_share() -> (
    None
):
    scheduler = new_scheduler(8)
    sequences = [new_sequence() for _ in range(6)]
    for sequence in sequences:
        scheduler.add(sequence)
    for _ in range(3):
        prefill_all(scheduler)
    for number, sequence in enumerate(sequences):
        sequence.on_audio(32_000 * (10 - number), NOW)
        generate(sequence, MAX_VOCODER_STATES)
    (sound,) = scheduler.schedule(NOW).vocode
    assert sound.sequences == [sequences[5], sequences[4]]
    assert (sound.num_states, sound.is_first, sound.is_last) == (MAX_VOCODER_STATES, False, False)


def test_sentences_that_are_alike_are_decoded_together() -> None:
    scheduler = new_scheduler(16)
    sequences = [new_sequence() for _ in range(10)]
    for sequence in sequences:
        scheduler.add(sequence)
    for _ in range(4):
        prefill_all(scheduler)
    for sequence in sequences:
        generate(sequence, MIN_FIRST_STATES)
    first = scheduler.schedule(NOW).vocode
    assert [len(sound.sequences) for sound in first] == [MAX_VOCODER_BATCH]
    assert all(sound.is_first and not sound.is_last for sound in first)


def heard(scheduler: Scheduler, ahead_s: float) -> Sequence:
    """A sentence that steps, with so much to play and as much to decode as a piece may have."""
    sequence = new_sequence()
    scheduler.add(sequence)
    prefill_all(scheduler)
    sequence.on_audio(round(ahead_s * 32_000), NOW)
    generate(sequence, MAX_VOCODER_STATES)
    return sequence


def test_beside_the_steps_whoever_hears_silence_soon_goes_before_what_is_to_be_read() -> None:
    scheduler = new_scheduler(8)
    sequence = heard(scheduler, ahead_s=0.1)
    newcomers = [new_sequence() for _ in range(2)]
    scheduler.add(newcomers[0])
    prefill_all(scheduler)
    generate(newcomers[0], MIN_FIRST_STATES)
    scheduler.add(newcomers[1])
    sounding = []
    for _ in range(2):
        work = start_background(scheduler)
        assert isinstance(work, VocoderBatch)
        sounding += work.sequences
    assert sounding == [newcomers[0], sequence]
    assert isinstance(start_background(scheduler), PrefillChunk)


def test_beside_the_steps_what_is_due_is_read_before_those_with_enough_to_play_sound() -> None:
    scheduler = new_scheduler(8)
    heard(scheduler, ahead_s=5.0)
    for _ in range(3):
        scheduler.add(new_sequence())
    for _ in range(3):
        work = start_background(scheduler)
        assert isinstance(work, PrefillChunk)
        scheduler.on_prefilled(work)
        scheduler.start_decoding()


def test_beside_the_steps_sound_and_what_is_not_due_take_turns() -> None:
    scheduler = new_scheduler(16)
    sequence = heard(scheduler, ahead_s=5.0)
    for _ in range(4):
        scheduler.add(new_sequence(due_at=NOW + 30))
    kinds = []
    for _ in range(4):
        work = start_background(scheduler)
        assert work is not None
        kinds.append(type(work))
        if isinstance(work, PrefillChunk):
            scheduler.on_prefilled(work)
        else:
            sequence.on_audio(32_000, NOW)
            generate(sequence, MAX_VOCODER_STATES)
    assert kinds == [VocoderBatch, PrefillChunk, VocoderBatch, PrefillChunk]


def test_while_nothing_steps_what_is_to_be_read_is_left_to_all_threads() -> None:
    scheduler = new_scheduler(8)
    scheduler.add(new_sequence())
    assert scheduler.schedule(NOW).background is None
    assert scheduler.schedule(NOW).prefill is not None


def test_removing_forgets_a_sentence_wherever_it_is() -> None:
    scheduler = new_scheduler(2)
    sequences = [new_sequence(num_prompt=100) for _ in range(4)]
    for sequence in sequences:
        scheduler.add(sequence)
    prefill_all(scheduler)
    for sequence in sequences:
        scheduler.remove(sequence)
    assert is_idle(scheduler)


class Course:
    """A random course of events; who holds which slot is followed move by move.

    Some of what is given out is done a few turns later, or while others decode, as by a
    second thread.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.num_slots = int(self.rng.integers(1, 7))
        self.scheduler = new_scheduler(self.num_slots)
        self.slots: dict[int, Sequence] = {}
        self.now = NOW
        self.num_to_come = int(self.rng.integers(0, 12))
        self.given_out: list[PrefillChunk | VocoderBatch] = []
        self.ended: list[Sequence] = []
        self.removed: list[Sequence] = []

    def turn(self) -> None:
        self.now += 0.05
        if self.num_to_come and self.rng.random() < 0.5:
            self.num_to_come -= 1
            due_at = self.now + float(self.rng.uniform(0, 40))
            self.scheduler.add(new_sequence(due_at, int(self.rng.integers(1, 150))))
        self._prefill()
        held = [self.slots[row] for row in range(len(self.scheduler.running))]
        assert held == self.scheduler.running
        rows = self.scheduler.schedule(self.now).decode
        stepping = [self.scheduler.running[row] for row in rows]
        self._finish_some()
        assert [self.slots[row] for row in rows] == stepping
        for sequence in stepping:
            self._step(sequence)
        for batch in self.scheduler.schedule(self.now).vocode:
            assert not any(sequence.is_vocoding for sequence in batch.sequences)
            self.scheduler.start_vocoding(batch)
            self.given_out.append(batch)
        self._finish_some()

    def _prefill(self) -> None:
        num_prefilled = 0
        while chunk := start_prefill(self.scheduler, self.now, num_prefilled):
            assert 0 <= chunk.slot < self.num_slots
            assert self.slots.setdefault(chunk.slot, chunk.sequence) is chunk.sequence
            num_prefilled += chunk.num_tokens
            self.given_out.append(chunk)
            self._finish_some()

    def _finish_some(self) -> None:
        """Of all that is under way, in any order."""
        for work in list(self.given_out):
            if self.rng.random() < 0.6:
                self.given_out.remove(work)
                if isinstance(work, PrefillChunk):
                    self._finish_prefill(work)
                else:
                    self._finish_batch(work)

    def _finish_prefill(self, chunk: PrefillChunk) -> None:
        self.scheduler.on_prefilled(chunk)
        if chunk.sequence in self.removed:
            del self.slots[chunk.slot]
        self._start_decoding()

    def _start_decoding(self) -> None:
        joined, moves = self.scheduler.start_decoding()
        assert self.scheduler.running[len(self.scheduler.running) - len(joined) :] == joined
        self._move(moves)

    def _finish_batch(self, batch: VocoderBatch) -> None:
        for sequence in batch.sequences:
            sequence.on_audio(batch.num_states * 2_048, self.now)
            if batch.is_last and sequence not in self.removed:
                self.ended.append(sequence)
                self._move(self.scheduler.remove(sequence))

    def _step(self, sequence: Sequence) -> None:
        generate(sequence, 1)
        fate = self.rng.random()
        if fate < 0.1:
            end(sequence)
            self._free(sequence, self.scheduler.release_slot(sequence))
        elif fate < 0.15:
            self.removed.append(sequence)
            self._free(sequence, self.scheduler.remove(sequence))
        elif fate < 0.2 and self.scheduler.prefilling:
            self._remove_prefilling()

    def _remove_prefilling(self) -> None:
        sequence = self.scheduler.prefilling[int(self.rng.integers(len(self.scheduler.prefilling)))]
        if sequence.is_cancelled:
            return
        self.removed.append(sequence)
        if not sequence.is_prefilling:
            self.slots.pop(sequence.slot, None)
        assert self.scheduler.remove(sequence) == []
        self._start_decoding()

    def _free(self, sequence: Sequence, moves: list[SlotMove]) -> None:
        (row,) = [row for row, holder in self.slots.items() if holder is sequence]
        del self.slots[row]
        self._move(moves)

    def _move(self, moves: list[SlotMove]) -> None:
        written = {work.slot for work in self.given_out if isinstance(work, PrefillChunk)}
        for move in moves:
            assert not written & {move.source, move.target}
            assert move.target not in self.slots
            self.slots[move.target] = self.slots.pop(move.source)


@table("seed", range(100))
def test_any_course_of_events_keeps_every_sentence_in_its_row_and_finishes_all(seed: int) -> None:
    course = Course(seed)
    num_sentences = course.num_to_come
    while course.num_to_come or not is_idle(course.scheduler):
        course.turn()
    assert len(course.ended) + len(course.removed) == num_sentences
    assert all(not sequence.states for sequence in course.ended)


@pytest.mark.parametrize("num_slots", [1, 2, 3])
def test_few_rows_are_used_whole(num_slots: int) -> None:
    scheduler = new_scheduler(num_slots)
    for _ in range(5):
        scheduler.add(new_sequence(due_at=NOW + 30))
    for _ in range(5):
        prefill_all(scheduler)
    assert len(scheduler.running) == num_slots
