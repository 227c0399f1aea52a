"""Soprano on ONNX Runtime: one engine that batches all sequences on a CPU, without torch.

A thread prefills prompts, runs decode steps and vocodes. In int8 a second thread prefills and
vocodes beside the decode steps, each on half of the cores (docs/adr/0021). The holder of the
engine's lock owns sequences, slots and vocoder states; it is released only to compute or to wait.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from app.adapters.speech.soprano.checkpoint.shapes import MIN_AUDIO_STATES
from app.adapters.speech.soprano.engine import (
    MAX_NEW_TOKENS,
    Sampling,
    ThreadStream,
    as_instance_error,
)
from app.adapters.speech.soprano.onnx.model_graphs import MAX_POSITIONS
from app.adapters.speech.soprano.onnx.scheduler import (
    Plan,
    PrefillChunk,
    Scheduler,
    SlotMove,
    VocoderBatch,
)
from app.adapters.speech.soprano.onnx.sequence import Logits, Sequence, sample_tokens
from app.adapters.speech.soprano.onnx.sessions import Sessions, States, VocoderState
from app.domain.errors import InstanceDeadError, SynthesisError
from app.ports.clock import Clock

# Weight of the past in the running mean of a step's duration. Higher values are calmer and notice
# later that the machine has become slow.
STEP_MEMORY: Final = 0.5

# Sentences have 400 characters at most, and no character is more than one token.
MAX_PROMPT_TOKENS: Final = MAX_POSITIONS - MAX_NEW_TOKENS

_log = structlog.get_logger(__name__)

Samples = NDArray[np.float32]

Work = Callable[[], None]


@contextmanager
def released(lock: threading.Lock) -> Iterator[None]:
    """Let another thread have the engine's lock, to compute or to wait; called by its holder.

    What its holder knew of sequences, slots and states may be out of date afterwards.
    """
    lock.release()
    try:
        yield
    finally:
        lock.acquire()


class Request(msgspec.Struct, eq=False):
    """Where the audio of a sequence goes, and what the sessions carry for it."""

    stream: ThreadStream[Samples]  # read by the listener
    vocoder_state: VocoderState  # moves on with each vocoder call
    prompt_output: tuple[States, Logits] | None = None  # states and logits, until it decodes


class OnnxEngine:
    """Engine on ONNX Runtime: carries the scheduler's plans out. `start` it before anything else.

    More sentences than the sessions have slots wait.
    """

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._tokenizer, self._eos_token_id = sessions.tokenizer, sessions.eos_token_id
        self._language_model = sessions.language_model
        self._vocoder = sessions.vocoder
        self._clock = clock
        self._scheduler = Scheduler(sessions.num_slots)
        self._requests: dict[Sequence, Request] = {}
        self._inbox: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="soprano-engine", daemon=True)
        self._background: ThreadPoolExecutor | None = None
        if sessions.is_split:
            self._background = ThreadPoolExecutor(1, "soprano-background")
        self._is_background_busy = False
        self._is_closing = False
        self._death: InstanceDeadError | None = None
        self._computed_s = 0.0

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Open streams end with InstanceDeadError. Blocks until the threads are gone."""
        self._is_closing = True
        self._inbox.put(lambda: None)  # wakes the thread
        self._thread.join()

    def synthesize(self, prompt: str, sampling: Sampling, due_at: float) -> ThreadStream[Samples]:
        tokens = self._tokenizer.encode(prompt).ids
        if len(tokens) > MAX_PROMPT_TOKENS:
            raise SynthesisError(
                f"A sentence has {len(tokens)} tokens, more than the model can hold."
            )
        return self.submit(Sequence(tokens, sampling, due_at, self._eos_token_id))

    def submit(self, sequence: Sequence) -> ThreadStream[Samples]:
        """Queue a sequence; `aclose` of its stream takes it out before the next step."""

        def add() -> None:
            self._requests[sequence] = request
            self._scheduler.add(sequence)

        def cancel() -> None:
            if self._requests.pop(sequence, None) is not None:
                self._move(self._scheduler.remove(sequence))
                self._start_decoding()

        stream: ThreadStream[Samples] = ThreadStream(on_close=lambda: self._inbox.put(cancel))
        request = Request(stream, self._vocoder.new_state())
        self._inbox.put(add)
        # After the put: what is put before the end, the thread ends itself.
        if self._death is not None:
            raise InstanceDeadError from self._death
        return stream

    # The lock is held in all that follows.

    def _run(self) -> None:
        """The thread: until told to stop, or until the runtime fails."""
        with self._lock:
            death = InstanceDeadError()
            try:
                has_work = False
                while not self._is_closing:
                    self._receive(waits=not has_work)
                    has_work = self._run_once()
            except Exception as error:  # noqa: BLE001 - every listener must hear of it
                death = as_instance_error(error)
                _log.error("soprano.instance_died", device="cpu", reason=str(error))
            self._death = death
            self._receive()
            for request in self._requests.values():
                request.stream.send(death)
            self._requests.clear()
        if self._background is not None:
            self._background.shutdown()

    def _receive(self, *, waits: bool = False) -> None:
        """Take new requests, cancellations and what the background thread reports."""
        if waits:
            with released(self._lock):
                message = self._inbox.get()
            message()
        with suppress(queue.Empty):
            while True:
                self._inbox.get_nowait()()

    def _schedule(self, num_prefilled: int = 0, *, has_vocoding: bool = False) -> Plan:
        now = self._clock.monotonic()
        return self._scheduler.schedule(now, num_prefilled, has_vocoding=has_vocoding)

    def _run_once(self) -> bool:
        """Vocode, prefill, and run a decode step; whether there was anything to do.

        The background thread vocodes alone while anything decodes, and takes part of the prefill.
        """
        started = self._clock.monotonic()
        self._wake_background()
        has_vocoding = self._background is None or not self._scheduler.running
        plan = self._schedule(has_vocoding=has_vocoding)
        batches = plan.vocode if self._background is None else plan.vocode[:1]
        for work in [self._start_vocoding(batch) for batch in batches]:
            work()
        if batches:
            self._receive()
            plan = self._schedule()
        num_prefilled = 0
        while plan.prefill is not None:
            # Planned again after each chunk: a more urgent request may have come, and a prompt that
            # is prefilled decodes in this very step.
            num_prefilled += plan.prefill.num_tokens
            self._start_prefill(plan.prefill, is_alone=not self._is_background_busy)()
            self._receive()
            plan = self._schedule(num_prefilled)
        if plan.decode:
            self._decode(plan.decode)
        if not (batches or num_prefilled or plan.decode):
            return False
        scheduler, interval_s = self._scheduler, self._clock.monotonic() - started
        scheduler.step_s += (1 - STEP_MEMORY) * (self._computed_s - scheduler.step_s)
        scheduler.interval_s += (1 - STEP_MEMORY) * (interval_s - scheduler.interval_s)
        self._computed_s = 0.0
        return True

    def _wake_background(self) -> None:
        if self._background is None or self._is_background_busy:
            return
        if (work := self._next_background()) is not None:
            self._is_background_busy = True
            self._background.submit(self._run_background, work)

    def _next_background(self) -> Work | None:
        work = None if self._death else self._schedule(has_vocoding=True).background
        if isinstance(work, PrefillChunk):
            return self._start_prefill(work, is_alone=False)
        return None if work is None else self._start_vocoding(work)

    def _run_background(self, work: Work | None) -> None:
        """The second thread: as long as there is something to do beside the first."""

        def fail(error: Exception) -> None:
            if self._death is None:
                raise error

        try:
            with self._lock:
                while work is not None:
                    work()
                    self._inbox.put(lambda: None)  # the first thread may wait for what was done
                    work = self._next_background()
                self._is_background_busy = False
        except Exception as error:  # noqa: BLE001 - raised in the first thread
            self._inbox.put(partial(fail, error))

    @contextmanager
    def _computing(self) -> Iterator[None]:
        started = self._clock.monotonic()
        with released(self._lock):
            yield
        self._computed_s += self._clock.monotonic() - started

    def _start_prefill(self, chunk: PrefillChunk, *, is_alone: bool) -> Work:
        self._scheduler.start_prefill(chunk)

        def prefill() -> None:
            tokens = chunk.sequence.tokens[chunk.start : chunk.end]
            with self._computing():
                output = self._language_model.prefill(
                    chunk.slot, tokens, chunk.start, is_alone=is_alone
                )
            if self._death is not None:
                return
            self._scheduler.on_prefilled(chunk)
            if chunk.sequence in self._requests:
                self._requests[chunk.sequence].prompt_output = output
            self._start_decoding()

        return prefill

    def _start_decoding(self) -> None:
        """Sample the first token of each sequence whose prompt is prefilled."""
        started, moves = self._scheduler.start_decoding()
        self._move(moves)
        for sequence in started:
            output = self._requests[sequence].prompt_output
            if output is not None:
                self._on_output([sequence], *output)

    def _decode(self, slots: range) -> None:
        sequences = self._scheduler.running[slots.start : slots.stop]
        tokens = [sequence.tokens[-1] for sequence in sequences]
        lengths = [sequence.num_computed_tokens for sequence in sequences]
        is_alone = not self._is_background_busy
        with self._computing():
            states, logits = self._language_model.decode(
                slots.start, tokens, lengths, is_alone=is_alone
            )
        if self._death is None:
            for sequence in sequences:
                sequence.num_computed_tokens += 1
            self._on_output(sequences, states, logits)

    def _on_output(self, sequences: list[Sequence], states: States, logits: Logits) -> None:
        tokens = sample_tokens(logits, sequences)
        for sequence, token, state in zip(sequences, tokens.tolist(), states.copy(), strict=True):
            sequence.on_token(token, state)
        for sequence in sequences:
            if sequence.error is not None:
                self._finish(sequence, sequence.error)
            elif sequence.is_finished:
                self._move(self._scheduler.release_slot(sequence))

    def _start_vocoding(self, batch: VocoderBatch) -> Work:
        states = self._scheduler.start_vocoding(batch)
        vocoder_states = [self._requests[one].vocoder_state for one in batch.sequences]

        def vocode() -> None:
            if batch.is_first and batch.is_last and batch.num_states < MIN_AUDIO_STATES:
                samples = np.zeros((len(states), 0), np.float32)
            else:
                with self._computing():
                    samples = self._vocoder.vocode(vocoder_states, states, is_last=batch.is_last)
            if self._death is not None:
                return
            now = self._clock.monotonic()
            for sequence, piece in zip(batch.sequences, samples, strict=True):
                sequence.on_audio(len(piece), now)
                request = self._requests.get(sequence)
                if request is None:  # cancelled
                    continue
                if len(piece):
                    request.stream.send(piece)
                if batch.is_last:
                    self._finish(sequence, None)

        return vocode

    def _finish(self, sequence: Sequence, error: SynthesisError | None) -> None:
        self._requests.pop(sequence).stream.send(error)
        self._move(self._scheduler.remove(sequence))

    def _move(self, moves: list[SlotMove]) -> None:
        for move in moves:
            self._language_model.move(move.source, move.target, move.num_tokens)
