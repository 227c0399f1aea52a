"""The step loop: one thread that reads prompts, steps all sentences at once and makes their sound.

Decides nothing (that is the scheduler) and computes nothing (that are the sessions); it carries
results from one to the other, and sound to whoever waits for it on an event loop.
"""

import queue
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from app.adapters.speech.soprano.errors import as_instance_error
from app.adapters.speech.soprano.handover import Handover
from app.adapters.speech.soprano_onnx.sampler import draw_tokens
from app.adapters.speech.soprano_onnx.scheduler import Move, Read, Scheduler, Sound
from app.adapters.speech.soprano_onnx.sequence import Sequence
from app.adapters.speech.soprano_onnx.sessions import (
    DecoderSession,
    DecoderState,
    LanguageModelSession,
)
from app.domain.errors import InstanceDeadError, SynthesisError
from app.ports.clock import Clock

STEP_MEMORY: Final = 0.5
"""Weight of the past in the running mean of a step's duration."""

FIRST_STEP_S: Final = 0.02
"""What a step is taken to last before one was measured."""

_log = structlog.get_logger(__name__)

Samples = NDArray[np.float32]


class Job:
    """A sentence that somebody waits for."""

    def __init__(self, sequence: Sequence, decoder_state: DecoderState) -> None:
        self.sequence = sequence
        self.decoder_state = decoder_state
        self.pieces: Handover[Samples] = Handover()


class StepLoop:
    """Runs sentences through the two sessions.

    Args:
        language_model: with a row for each sentence at a time.
        decoder: of the same checkpoint.
        num_rows: of the language model.
        clock: of due times.

    Attributes:
        num_tokens: drawn so far, for all sentences.
    """

    def __init__(
        self,
        language_model: LanguageModelSession,
        decoder: DecoderSession,
        num_rows: int,
        clock: Clock,
    ) -> None:
        self._language_model = language_model
        self._decoder = decoder
        self._clock = clock
        self._scheduler = Scheduler(num_rows)
        self._jobs: dict[Sequence, Job] = {}
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="soprano-steps", daemon=True)
        self._is_closing = False
        self._end: InstanceDeadError | None = None
        self._step_s = FIRST_STEP_S
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

    # All below runs in the thread.

    def _work(self) -> None:
        """Until told to stop, or until the runtime fails."""
        try:
            while not self._is_closing:
                self._listen()
                if not self._scheduler.is_idle:
                    self._turn()
        except Exception as error:  # noqa: BLE001 - every sentence must hear of it
            failure = as_instance_error(error)
            _log.error("soprano.instance_died", device="cpu", reason=str(error))
            self._tell_all(failure)
        else:
            self._tell_all(InstanceDeadError())

    def _listen(self) -> None:
        """Do what was asked for; with nothing else to do, wait for it."""
        try:
            while True:
                self._inbox.get(block=self._scheduler.is_idle and not self._is_closing)()
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

    def _tell_all(self, error: InstanceDeadError) -> None:
        self._end = error
        try:
            while True:
                self._inbox.get_nowait()()
        except queue.Empty:
            for job in self._jobs.values():
                job.pieces.send(error)
            self._jobs.clear()

    def _turn(self) -> None:
        """Read a little, step once, decode what is due."""
        started = self._clock.monotonic()
        num_read = 0
        while read := self._scheduler.next_read(self._clock.monotonic(), num_read):
            self._read(read)
            num_read += read.end - read.start
        if self._scheduler.running:
            self._step()
        for sound in self._scheduler.next_sounds(self._clock.monotonic(), self._step_s):
            self._sound(sound)
        took_s = self._clock.monotonic() - started
        self._step_s = STEP_MEMORY * self._step_s + (1 - STEP_MEMORY) * took_s

    def _read(self, read: Read) -> None:
        ids = read.sequence.ids[read.start : read.end]
        states, logits = self._language_model.read(read.row, ids, read.start)
        if self._scheduler.has_read(read):
            self._take([read.sequence], states, logits)

    def _step(self) -> None:
        rows = self._scheduler.next_rows(self._clock.monotonic())
        running = [self._scheduler.running[row] for row in rows]
        states, logits = self._language_model.step(
            rows.start,
            [sequence.ids[-1] for sequence in running],
            [sequence.num_read for sequence in running],
        )
        for sequence in running:
            sequence.num_read += 1
        self._take(running, states, logits)

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

    def _sound(self, sound: Sound) -> None:
        if sound.is_first and sound.is_last and sound.num_states < 2:  # noqa: PLR2004 - see below
            # Sound lies between two states.
            for sequence in sound.sequences:
                self._finish(sequence, None)
            return
        samples = self._decoder.decode(
            [self._jobs[sequence].decoder_state for sequence in sound.sequences],
            [sequence.states[: sound.num_states] for sequence in sound.sequences],
            is_last=sound.is_last,
        )
        now = self._clock.monotonic()
        for sequence, piece in zip(sound.sequences, samples, strict=True):
            del sequence.states[: sound.num_states]
            sequence.sounded(len(piece), now)
            self._jobs[sequence].pieces.send(piece)
            if sound.is_last:
                self._finish(sequence, None)

    def _finish(self, sequence: Sequence, error: SynthesisError | None) -> None:
        self._jobs.pop(sequence).pieces.send(error)
        self._move(self._scheduler.remove(sequence))

    def _move(self, moves: list[Move]) -> None:
        for move in moves:
            self._language_model.move(move.source, move.target, move.length)
