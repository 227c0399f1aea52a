"""Who is read, steps and sounds next: decisions on plain data, in microseconds."""

import numpy as np
import pytest

from app.adapters.speech.soprano.sampling import Sampling
from app.adapters.speech.soprano_onnx.scheduler import (
    MAX_GROUP_ROWS,
    MAX_READ_TOKENS,
    READ_CHUNK,
    Move,
    Read,
    Scheduler,
    Sound,
    num_states_to_decode,
)
from app.adapters.speech.soprano_onnx.sequence import (
    MAX_CHUNK_TOKENS,
    MIN_FIRST_STATES,
    Sequence,
)
from tests.examples import table

EOS = 3
STEP_S = 0.01
NOW = 100.0


def new_sequence(due_at: float = NOW, num_prompt: int = 20) -> Sequence:
    return Sequence([9] * num_prompt, Sampling(), due_at, EOS)


def read_all(scheduler: Scheduler, now: float = NOW) -> list[Read]:
    """Everything that may be read before the next step."""
    reads: list[Read] = []
    while read := scheduler.next_read(now, sum(one.end - one.start for one in reads)):
        scheduler.has_read(read)
        scheduler.join()
        reads.append(read)
    return reads


def two_under_way(scheduler: Scheduler) -> tuple[Read, Read]:
    """Two that are being read, and a third one that waits."""
    for _ in range(3):
        scheduler.add(new_sequence())
    first, second = scheduler.next_read(NOW, 0), scheduler.next_read(NOW, 0)
    assert first is not None
    assert second is not None
    return first, second


def draw(sequence: Sequence, num_states: int) -> None:
    """Give a sentence so many states, far from each other."""
    start = len(sequence.states)
    for number in range(start, start + num_states):
        sequence.take(50, np.full(512, float(number % 2) * 2, np.float32))


def end(sequence: Sequence) -> None:
    sequence.take(EOS, np.zeros(512, np.float32))


def test_what_is_due_first_is_read_first() -> None:
    scheduler = Scheduler(8)
    sequences = [new_sequence(due_at) for due_at in (NOW + 0.3, NOW - 1, NOW + 0.1)]
    for sequence in sequences:
        scheduler.add(sequence)
    order = [read.sequence for read in read_all(scheduler)]
    assert order == [sequences[1], sequences[2], sequences[0]]
    assert scheduler.running == order


def test_a_long_prompt_is_read_in_pieces_of_one_size_within_a_bound_a_step() -> None:
    scheduler = Scheduler(8)
    sequence = new_sequence(num_prompt=300)
    scheduler.add(sequence)
    pieces = []
    while not scheduler.running:
        reads = read_all(scheduler)
        assert sum(read.end - read.start for read in reads) <= MAX_READ_TOKENS
        pieces += [(read.start, read.end) for read in reads]
    assert pieces == [(0, 64), (64, 128), (128, 192), (192, 256), (256, 300)]


def test_a_sentence_that_is_read_has_the_row_behind_the_running_ones() -> None:
    scheduler = Scheduler(8)
    for _ in range(3):
        scheduler.add(new_sequence())
    assert [read.row for read in read_all(scheduler)] == [0, 1, 2]


def test_a_row_that_is_left_is_taken_by_the_last_one_and_what_was_read_joins_behind_it() -> None:
    scheduler = Scheduler(8)
    sequences = [new_sequence(num_prompt=20 + n) for n in range(3)]
    for sequence in sequences:
        scheduler.add(sequence)
    read_all(scheduler)
    scheduler.add(new_sequence(num_prompt=64))
    read = scheduler.next_read(NOW, 0)
    assert read is not None
    assert scheduler.free_row(sequences[0]) == [Move(2, 0, 22)]
    assert scheduler.running == [sequences[2], sequences[1]]
    assert scheduler.free_row(sequences[1]) == []
    scheduler.has_read(read)
    assert scheduler.join() == ([read.sequence], [Move(3, 1, 64)])
    assert scheduler.running == [sequences[2], read.sequence]


def test_two_are_read_at_a_time_and_join_in_the_order_in_which_they_were_begun() -> None:
    scheduler = Scheduler(8)
    first, second = two_under_way(scheduler)
    assert (first.row, second.row) == (0, 1)
    assert scheduler.next_read(NOW, 0) is None
    scheduler.has_read(second)
    assert scheduler.join() == ([], [])
    scheduler.has_read(first)
    assert scheduler.join() == ([first.sequence, second.sequence], [])


def test_the_row_of_a_sentence_that_nobody_wants_is_free_once_it_is_not_written_to() -> None:
    scheduler = Scheduler(8)
    first, second = two_under_way(scheduler)
    scheduler.has_read(second)
    scheduler.remove(first.sequence)
    assert scheduler.join() == ([], [])
    scheduler.has_read(first)
    assert scheduler.join() == ([second.sequence], [Move(1, 0, 20)])
    third = scheduler.next_read(NOW, 0)
    assert third is not None
    assert third.row == 1


def test_sentences_that_are_not_due_leave_rows_free_for_those_that_come() -> None:
    scheduler = Scheduler(8)
    for _ in range(20):
        scheduler.add(new_sequence(due_at=NOW + 30))
    for _ in range(10):
        read_all(scheduler)
    assert len(scheduler.running) == 6
    newcomer = new_sequence()
    scheduler.add(newcomer)
    assert [read.sequence for read in read_all(scheduler)] == [newcomer]
    for _ in range(10):
        read_all(scheduler, now=NOW + 29.5)  # soon due: all rows are theirs
    assert len(scheduler.running) == 8


def test_nothing_is_begun_ahead_while_somebody_has_little_to_play() -> None:
    scheduler = Scheduler(8)
    first = new_sequence()
    scheduler.add(first)
    scheduler.add(new_sequence(due_at=NOW + 30))
    read_all(scheduler)
    assert scheduler.running == [first]
    first.sounded(2_048, NOW)
    read_all(scheduler)
    assert scheduler.running == [first]
    first.sounded(32_000, NOW)
    read_all(scheduler)
    assert len(scheduler.running) == 2


@pytest.mark.parametrize(("due_in_s", "is_begun"), [(0.4, True), (0.9, False), (30.0, False)])
def test_while_somebody_waits_for_a_first_sound_only_what_is_pressing_is_begun(
    due_in_s: float, *, is_begun: bool
) -> None:
    scheduler = Scheduler(8)
    newcomer = new_sequence()
    scheduler.add(newcomer)
    read_all(scheduler)
    later = new_sequence(due_at=NOW + due_in_s)
    scheduler.add(later)
    beside = scheduler.next_beside(NOW, STEP_S)
    assert (isinstance(beside, Read) and beside.sequence is later) == is_begun
    newcomer.sounded(32_000, NOW)
    assert is_begun or scheduler.next_read(NOW, 0) is not None


@pytest.mark.parametrize(("due_in_s", "is_begun"), [(0.4, True), (0.9, False)])
def test_while_somebody_has_little_to_play_only_what_is_pressing_is_begun(
    due_in_s: float, *, is_begun: bool
) -> None:
    scheduler = Scheduler(8)
    heard(scheduler, ahead_s=0.2)
    scheduler.add(new_sequence(due_at=NOW + due_in_s))
    assert (scheduler.next_read(NOW, 0) is not None) == is_begun


def test_between_two_steps_more_than_one_is_read_only_if_it_is_pressing() -> None:
    scheduler = Scheduler(8)
    for due_in_s in (0.7, 0.8):
        scheduler.add(new_sequence(due_at=NOW + due_in_s))
    assert len(read_all(scheduler)) == 1
    assert len(read_all(scheduler, NOW + 0.4)) == 1
    for _ in range(2):
        scheduler.add(new_sequence(due_at=NOW + 0.4))
    assert len(read_all(scheduler)) == 2


@pytest.mark.parametrize(("ahead_s", "rows"), [(0.2, range(1, 2)), (0.1, range(2))])
def test_others_wait_for_a_first_sound_until_they_have_little_to_play(
    ahead_s: float, rows: range
) -> None:
    scheduler = Scheduler(8)
    heard(scheduler, ahead_s)
    scheduler.add(new_sequence())
    read_all(scheduler)
    assert scheduler.next_rows(NOW) == rows


def test_who_waits_for_a_first_sound_steps_alone_while_the_others_have_enough_to_play() -> None:
    scheduler = Scheduler(8)
    others = [new_sequence() for _ in range(3)]
    for sequence in others:
        scheduler.add(sequence)
    read_all(scheduler)
    read_all(scheduler)
    for sequence in others:
        sequence.sounded(32_000, NOW)
    assert scheduler.next_rows(NOW) == range(3)
    newcomer = new_sequence()
    scheduler.add(newcomer)
    read_all(scheduler)
    assert scheduler.next_rows(NOW) == range(3, 4)
    draw(others[0], MAX_CHUNK_TOKENS)
    assert scheduler.next_sounds(NOW, STEP_S) == []
    assert scheduler.next_rows(NOW + 0.9) == range(4)
    newcomer.sounded(2_048, NOW)
    assert scheduler.next_rows(NOW) == range(4)


def test_rows_between_two_that_wait_for_a_first_sound_step_with_them() -> None:
    scheduler = Scheduler(8)
    sequences = [new_sequence() for _ in range(5)]
    for sequence in sequences:
        scheduler.add(sequence)
    for _ in range(3):
        read_all(scheduler)
    for sequence in (sequences[0], sequences[2], sequences[4]):
        sequence.sounded(32_000, NOW)
    assert scheduler.next_rows(NOW) == range(1, 4)


def test_rows_are_never_more_than_there_are() -> None:
    scheduler = Scheduler(4)
    for _ in range(9):
        scheduler.add(new_sequence(num_prompt=READ_CHUNK))
    for _ in range(9):
        read_all(scheduler)
    assert (len(scheduler.running), scheduler.reading) == (4, [])


def test_the_first_sound_is_made_of_as_few_states_as_can_be() -> None:
    sequence = new_sequence()
    draw(sequence, MIN_FIRST_STATES - 1)
    assert num_states_to_decode(sequence, NOW, STEP_S) is None
    draw(sequence, 1)
    assert num_states_to_decode(sequence, NOW, STEP_S) == MIN_FIRST_STATES


@pytest.mark.parametrize(
    ("step_s", "num_states"), [(0.004, 4), (0.01, 4), (0.02, 5), (0.04, 6), (1.0, 8)]
)
def test_the_first_sound_outlasts_a_few_steps(step_s: float, num_states: int) -> None:
    sequence = new_sequence()
    draw(sequence, num_states - 1)
    assert num_states_to_decode(sequence, NOW, step_s) is None
    draw(sequence, 1)
    assert num_states_to_decode(sequence, NOW, step_s) == num_states


def test_pieces_grow_with_what_the_listener_has_to_play() -> None:
    sizes = []
    for ahead_s in (0.01, 0.03, 0.05, 0.1, 0.2, 0.4, 5.0):
        sequence = new_sequence()
        sequence.sounded(round(ahead_s * 32_000), NOW)
        draw(sequence, MAX_CHUNK_TOKENS)
        while sequence.states and num_states_to_decode(sequence, NOW, STEP_S):
            sequence.states.pop()
        sizes.append(len(sequence.states) + 1)
    assert sizes == [1, 1, 2, 4, 8, 16, 16]


def test_the_end_of_a_sentence_is_one_piece_even_if_nothing_is_left() -> None:
    sequence = new_sequence()
    sequence.sounded(2_048, NOW)
    end(sequence)
    assert num_states_to_decode(sequence, NOW, STEP_S) == 0


def test_whoever_is_nearest_to_silence_sounds_first_and_a_step_makes_no_more_than_its_share() -> (
    None
):
    scheduler = Scheduler(8)
    sequences = [new_sequence() for _ in range(6)]
    for sequence in sequences:
        scheduler.add(sequence)
    for _ in range(3):
        read_all(scheduler)
    for number, sequence in enumerate(sequences):
        sequence.sounded(32_000 * (10 - number), NOW)
        draw(sequence, MAX_CHUNK_TOKENS)
    (sound,) = scheduler.next_sounds(NOW, STEP_S)
    assert sound.sequences == [sequences[5], sequences[4]]
    assert (sound.num_states, sound.is_first, sound.is_last) == (MAX_CHUNK_TOKENS, False, False)


def test_sentences_that_are_alike_are_decoded_together() -> None:
    scheduler = Scheduler(16)
    sequences = [new_sequence() for _ in range(10)]
    for sequence in sequences:
        scheduler.add(sequence)
    for _ in range(4):
        read_all(scheduler)
    for sequence in sequences:
        draw(sequence, MIN_FIRST_STATES)
    first = scheduler.next_sounds(NOW, STEP_S)
    assert [len(sound.sequences) for sound in first] == [MAX_GROUP_ROWS]
    assert all(sound.is_first and not sound.is_last for sound in first)


def heard(scheduler: Scheduler, ahead_s: float) -> Sequence:
    """A sentence that steps, with so much to play and as much to decode as a piece may have."""
    sequence = new_sequence()
    scheduler.add(sequence)
    read_all(scheduler)
    sequence.sounded(round(ahead_s * 32_000), NOW)
    draw(sequence, MAX_CHUNK_TOKENS)
    return sequence


def test_beside_the_steps_whoever_hears_silence_soon_goes_before_what_is_to_be_read() -> None:
    scheduler = Scheduler(8)
    sequence = heard(scheduler, ahead_s=0.1)
    newcomers = [new_sequence() for _ in range(2)]
    scheduler.add(newcomers[0])
    read_all(scheduler)
    draw(newcomers[0], MIN_FIRST_STATES)
    scheduler.add(newcomers[1])
    sounding = []
    for _ in range(2):
        work = scheduler.next_beside(NOW, STEP_S)
        assert isinstance(work, Sound)
        for one in work.sequences:
            one.give_states(work.num_states)
        sounding += work.sequences
    assert sounding == [newcomers[0], sequence]
    assert isinstance(scheduler.next_beside(NOW, STEP_S), Read)


def test_beside_the_steps_what_is_due_is_read_before_those_with_enough_to_play_sound() -> None:
    scheduler = Scheduler(8)
    heard(scheduler, ahead_s=5.0)
    for _ in range(3):
        scheduler.add(new_sequence())
    for _ in range(3):
        work = scheduler.next_beside(NOW, STEP_S)
        assert isinstance(work, Read)
        scheduler.has_read(work)
        scheduler.join()


def test_beside_the_steps_sound_and_what_is_not_due_take_turns() -> None:
    scheduler = Scheduler(16)
    sequence = heard(scheduler, ahead_s=5.0)
    for _ in range(4):
        scheduler.add(new_sequence(due_at=NOW + 30))
    kinds = []
    for _ in range(4):
        work = scheduler.next_beside(NOW, STEP_S)
        assert work is not None
        kinds.append(type(work))
        if isinstance(work, Read):
            scheduler.has_read(work)
        else:
            sequence.give_states(work.num_states)
            sequence.sounded(32_000, NOW)
            draw(sequence, MAX_CHUNK_TOKENS)
    assert kinds == [Read, Sound, Read, Sound]


def test_while_nothing_steps_what_is_to_be_read_is_left_to_all_threads() -> None:
    scheduler = Scheduler(8)
    scheduler.add(new_sequence())
    assert scheduler.next_beside(NOW, STEP_S) is None
    assert scheduler.next_read(NOW, 0) is not None


def test_removing_forgets_a_sentence_wherever_it_is() -> None:
    scheduler = Scheduler(2)
    sequences = [new_sequence(num_prompt=100) for _ in range(4)]
    for sequence in sequences:
        scheduler.add(sequence)
    read_all(scheduler)
    for sequence in sequences:
        scheduler.remove(sequence)
    assert scheduler.is_idle


class Course:
    """A random course of events; who holds which row is followed move by move.

    Some of what is given out is done a few turns later, or while others step, as by a helper.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.num_rows = int(self.rng.integers(1, 7))
        self.scheduler = Scheduler(self.num_rows)
        self.rows: dict[int, Sequence] = {}
        self.now = NOW
        self.num_to_come = int(self.rng.integers(0, 12))
        self.given_out: list[Read | Sound] = []
        self.ended: list[Sequence] = []
        self.removed: list[Sequence] = []

    def turn(self) -> None:
        self.now += 0.05
        if self.num_to_come and self.rng.random() < 0.5:
            self.num_to_come -= 1
            due_at = self.now + float(self.rng.uniform(0, 40))
            self.scheduler.add(new_sequence(due_at, int(self.rng.integers(1, 150))))
        self._read()
        held = [self.rows[row] for row in range(len(self.scheduler.running))]
        assert held == self.scheduler.running
        rows = self.scheduler.next_rows(self.now)
        stepping = [self.scheduler.running[row] for row in rows]
        self._finish_some()
        assert [self.rows[row] for row in rows] == stepping
        for sequence in stepping:
            self._step(sequence)
        for sound in self.scheduler.next_sounds(self.now, STEP_S):
            for sequence in sound.sequences:
                assert not sequence.is_sounding
                sequence.give_states(sound.num_states)
            self.given_out.append(sound)
        self._finish_some()

    def _read(self) -> None:
        num_read = 0
        while read := self.scheduler.next_read(self.now, num_read):
            assert 0 <= read.row < self.num_rows
            assert self.rows.setdefault(read.row, read.sequence) is read.sequence
            num_read += read.end - read.start
            self.given_out.append(read)
            self._finish_some()

    def _finish_some(self) -> None:
        """Of all that is under way, in any order."""
        for work in list(self.given_out):
            if self.rng.random() < 0.6:
                self.given_out.remove(work)
                if isinstance(work, Read):
                    self._finish_read(work)
                else:
                    self._finish_sound(work)

    def _finish_read(self, read: Read) -> None:
        self.scheduler.has_read(read)
        if read.sequence in self.removed:
            del self.rows[read.row]
        self._join()

    def _join(self) -> None:
        joined, moves = self.scheduler.join()
        assert self.scheduler.running[len(self.scheduler.running) - len(joined) :] == joined
        self._move(moves)

    def _finish_sound(self, sound: Sound) -> None:
        for sequence in sound.sequences:
            sequence.sounded(sound.num_states * 2_048, self.now)
            if sound.is_last and sequence not in self.removed:
                self.ended.append(sequence)
                self._move(self.scheduler.remove(sequence))

    def _step(self, sequence: Sequence) -> None:
        draw(sequence, 1)
        fate = self.rng.random()
        if fate < 0.1:
            end(sequence)
            self._free(sequence, self.scheduler.free_row(sequence))
        elif fate < 0.15:
            self.removed.append(sequence)
            self._free(sequence, self.scheduler.remove(sequence))
        elif fate < 0.2 and self.scheduler.reading:
            self._remove_reading()

    def _remove_reading(self) -> None:
        reading = self.scheduler.reading[int(self.rng.integers(len(self.scheduler.reading)))]
        if reading.is_removed:
            return
        self.removed.append(reading.sequence)
        if not reading.is_under_way:
            self.rows.pop(reading.row, None)
        assert self.scheduler.remove(reading.sequence) == []
        self._join()

    def _free(self, sequence: Sequence, moves: list[Move]) -> None:
        (row,) = [row for row, holder in self.rows.items() if holder is sequence]
        del self.rows[row]
        self._move(moves)

    def _move(self, moves: list[Move]) -> None:
        written = {work.row for work in self.given_out if isinstance(work, Read)}
        for move in moves:
            assert not written & {move.source, move.target}
            assert move.target not in self.rows
            self.rows[move.target] = self.rows.pop(move.source)


@table("seed", range(100))
def test_any_course_of_events_keeps_every_sentence_in_its_row_and_finishes_all(seed: int) -> None:
    course = Course(seed)
    num_sentences = course.num_to_come
    while course.num_to_come or not course.scheduler.is_idle:
        course.turn()
    assert len(course.ended) + len(course.removed) == num_sentences
    assert all(not sequence.states for sequence in course.ended)


@pytest.mark.parametrize("num_rows", [1, 2, 3])
def test_few_rows_are_used_whole(num_rows: int) -> None:
    scheduler = Scheduler(num_rows)
    for _ in range(5):
        scheduler.add(new_sequence(due_at=NOW + 30))
    for _ in range(5):
        read_all(scheduler)
    assert len(scheduler.running) == num_rows
