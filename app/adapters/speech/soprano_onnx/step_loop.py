"""The step loop: one thread that reads prompts, steps all sentences at once and makes their sound.

With a helper, a second thread reads and makes sound while the first one steps, each on half of the
cores: a step is a chain of small operations, which two halves of a processor share badly. One of
the two holds the baton, and with it sentences, rows and states; it is put down only to compute or
to wait.

Decides nothing (that is the scheduler) and computes nothing (that are the sessions); it carries
results from one to the other, and sound to whoever waits for it on an event loop.
"""

import queue
import threading
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from app.adapters.speech.soprano.errors import as_instance_error
from app.adapters.speech.soprano.handover import Handover
from app.adapters.speech.soprano.windows import MIN_SOUNDING_STATES
from app.adapters.speech.soprano_onnx.baton import Baton
from app.adapters.speech.soprano_onnx.helper import Helper, Work
from app.adapters.speech.soprano_onnx.sampler import draw_tokens
from app.adapters.speech.soprano_onnx.scheduler import Move, Read, Scheduler, Sound
from app.adapters.speech.soprano_onnx.sequence import Sequence
from app.adapters.speech.soprano_onnx.sessions import (
    DecoderSession,
    DecoderState,
    LanguageModelSession,
    States,
)
from app.domain.errors import InstanceDeadError, SynthesisError
from app.ports.clock import Clock

STEP_MEMORY: Final = 0.5
"""Weight of the past in the running mean of a step's duration."""

FIRST_STEP_S: Final = 0.02
"""What a step is taken to last before one was measured."""

_log = structlog.get_logger(__name__)

Samples = NDArray[np.float32]

T = TypeVar("T")


class Job:
    """A sentence that somebody waits for."""

    def __init__(self, sequence: Sequence, decoder_state: DecoderState) -> None:
        self.sequence = sequence
        self.first: tuple[States, States] | None = None
        """State and logits of its prompt, once that is read whole."""
        self.decoder_state = decoder_state
        self.pieces: Handover[Samples] = Handover()


class StepLoop:
    """Runs sentences through the two sessions.

    Args:
        language_model: with a row for each sentence at a time.
        decoder: of the same checkpoint.
        num_rows: of the language model.
        clock: of due times.
        has_helper: whether there is one.

    Attributes:
        num_tokens: drawn so far, for all sentences.
    """

    def __init__(
        self,
        language_model: LanguageModelSession,
        decoder: DecoderSession,
        num_rows: int,
        clock: Clock,
        *,
        has_helper: bool = False,
    ) -> None:
        self._language_model = language_model
        self._decoder = decoder
        self._clock = clock
        self._scheduler = Scheduler(num_rows)
        self._jobs: dict[Sequence, Job] = {}
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._baton = Baton()
        self._helper = (
            Helper(self._baton, self._next_beside, self._hear_of_helper) if has_helper else None
        )
        self._thread = threading.Thread(target=self._work, name="soprano-steps", daemon=True)
        self._is_closing = False
        self._end: InstanceDeadError | None = None
        self._step_s = FIRST_STEP_S
        self._computed_s = 0.0
        self.num_tokens = 0

    @property
    def num_jobs(self) -> int:
        """Sentences that are not done."""
        return len(self._jobs)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Stop; whoever waits for a sentence is told. Blocks until the thread is gone."""
        self._inbox.put(self._stop)
        self._thread.join()

    async def speak(self, sequence: Sequence) -> AsyncGenerator[Samples, None]:
        """The sound of a sentence as it is made; `aclose` takes it out at the next step."""
        job = Job(sequence, self._decoder.start())
        self._inbox.put(lambda: self._add(job))
        # Looked at after putting: whoever puts before the end is told of it by the thread.
        if self._end is not None:
            raise InstanceDeadError from self._end
        try:
            async for piece in job.pieces.receive():
                yield piece
        finally:
            self._inbox.put(lambda: self._drop(job.sequence))

    # All below is done with the baton.

    def _work(self) -> None:
        """Until told to stop, or until the runtime fails."""
        with self._baton:
            end = InstanceDeadError()
            try:
                has_to_wait = True
                while not self._is_closing:
                    self._listen(has_to_wait=has_to_wait)
                    has_to_wait = not self._turn()
            except Exception as error:  # noqa: BLE001 - every sentence must hear of it
                end = as_instance_error(error)
                _log.error("soprano.instance_died", device="cpu", reason=str(error))
            self._tell_all(end)
        if self._helper is not None:
            self._helper.close()

    def _listen(self, *, has_to_wait: bool) -> None:
        """Do what was asked for; with nothing else to do, wait for it."""
        if has_to_wait and not self._is_closing:
            self._baton.put_down(self._inbox.get)()
        try:
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            return

    def _stop(self) -> None:
        self._is_closing = True

    def _add(self, job: Job) -> None:
        self._jobs[job.sequence] = job
        self._scheduler.add(job.sequence)

    def _drop(self, sequence: Sequence) -> None:
        if self._jobs.pop(sequence, None) is not None:
            self._move(self._scheduler.remove(sequence))
            self._join()

    def _tell_all(self, error: InstanceDeadError) -> None:
        self._end = error
        try:
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            for job in self._jobs.values():
                job.pieces.send(error)
            self._jobs.clear()

    def _turn(self) -> bool:
        """Read a little, step once, decode what is due; whether there was anything to do.

        The helper takes a share of the reading, and all of the decoding while anything steps.
        """
        if self._helper is not None:
            self._helper.wake()
        num_read = 0
        while read := self._next_read(num_read):
            self._read(read, is_alone=self._is_alone)
            num_read += read.end - read.start
            self._listen(has_to_wait=False)
        has_stepped = bool(self._scheduler.running)
        if has_stepped:
            self._step()
        sounds = self._next_sounds()
        for sound in sounds:
            self._decoding(sound)()
        if not (num_read or has_stepped or sounds):
            return False
        self._step_s = STEP_MEMORY * self._step_s + (1 - STEP_MEMORY) * self._computed_s
        self._computed_s = 0.0
        return True

    def _next_beside(self) -> Work | None:
        """What the helper does next."""
        if self._end is not None:
            return None
        work = self._scheduler.next_beside(self._clock.monotonic(), self._step_s)
        if isinstance(work, Read):
            return partial(self._read, work, is_alone=False)
        return None if work is None else self._decoding(work)

    def _hear_of_helper(self, error: Exception | None) -> None:
        """Wake the first thread, which may wait for what it has done; an error is raised there."""

        def hear() -> None:
            if error is not None and self._end is None:
                raise error

        self._inbox.put(hear)

    def _carry_out(self, compute: Callable[[], T], take: Callable[[T], None]) -> None:
        """Compute without the baton, and take what came of it, unless all has ended meanwhile."""
        started = self._clock.monotonic()
        result = self._baton.put_down(compute)
        self._computed_s += self._clock.monotonic() - started
        if self._end is None:
            take(result)

    @property
    def _is_alone(self) -> bool:
        """Whether nothing else is computed at this moment."""
        return self._helper is None or not self._helper.is_busy

    def _next_read(self, num_read: int) -> Read | None:
        return self._scheduler.next_read(self._clock.monotonic(), num_read)

    def _next_sounds(self) -> list[Sound]:
        """What this thread decodes: all that is due, or its share while nothing steps."""
        if self._helper is not None and self._scheduler.running:
            return []
        sounds = self._scheduler.next_sounds(self._clock.monotonic(), self._step_s)
        return sounds if self._helper is None else sounds[:1]

    def _read(self, read: Read, *, is_alone: bool) -> None:
        ids = read.sequence.ids[read.start : read.end]
        self._carry_out(
            partial(self._language_model.read, read.row, ids, read.start, is_alone=is_alone),
            partial(self._take_read, read),
        )

    def _take_read(self, read: Read, result: tuple[States, States]) -> None:
        self._scheduler.has_read(read)
        if read.sequence in self._jobs:
            self._jobs[read.sequence].first = result
        self._join()

    def _join(self) -> None:
        """Let those step that have been read whole."""
        joined, moves = self._scheduler.join()
        self._move(moves)
        for sequence in joined:
            if (first := self._jobs[sequence].first) is not None:
                self._take([sequence], *first)

    def _step(self) -> None:
        rows = self._scheduler.next_rows(self._clock.monotonic())
        running = [self._scheduler.running[row] for row in rows]
        step = partial(
            self._language_model.step,
            rows.start,
            [sequence.ids[-1] for sequence in running],
            [sequence.num_read for sequence in running],
            is_alone=self._is_alone,
        )
        self._carry_out(step, partial(self._take_step, running))

    def _take_step(self, running: list[Sequence], result: tuple[States, States]) -> None:
        for sequence in running:
            sequence.num_read += 1
        self._take(running, *result)

    def _take(self, sequences: list[Sequence], states: Any, logits: Any) -> None:
        tokens = draw_tokens(logits, sequences)
        self.num_tokens += len(sequences)
        for sequence, token, state in zip(sequences, tokens.tolist(), states.copy(), strict=True):
            sequence.take(token, state)
        for sequence in sequences:
            if sequence.error is not None:
                self._finish(sequence, sequence.error)
            elif sequence.has_ended:
                self._move(self._scheduler.free_row(sequence))

    def _decoding(self, sound: Sound) -> Work:
        """What makes it; its states are taken at once, so that nobody else decodes them."""
        states = [sequence.give_states(sound.num_states) for sequence in sound.sequences]
        if sound.is_first and sound.is_last and sound.num_states < MIN_SOUNDING_STATES:
            return partial(self._take_sound, sound, np.zeros((len(states), 0), np.float32))
        decoder_states = [self._jobs[sequence].decoder_state for sequence in sound.sequences]
        return partial(
            self._carry_out,
            partial(self._decoder.decode, decoder_states, states, is_last=sound.is_last),
            partial(self._take_sound, sound),
        )

    def _take_sound(self, sound: Sound, samples: Samples) -> None:
        now = self._clock.monotonic()
        for sequence, piece in zip(sound.sequences, samples, strict=True):
            sequence.sounded(len(piece), now)
            job = self._jobs.get(sequence)
            if job is None:  # nobody wants it any more
                continue
            if len(piece):
                job.pieces.send(piece)
            if sound.is_last:
                self._finish(sequence, None)

    def _finish(self, sequence: Sequence, error: SynthesisError | None) -> None:
        self._jobs.pop(sequence).pieces.send(error)
        self._move(self._scheduler.remove(sequence))

    def _move(self, moves: list[Move]) -> None:
        for move in moves:
            self._language_model.move(move.source, move.target, move.length)
