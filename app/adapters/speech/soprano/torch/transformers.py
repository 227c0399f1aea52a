"""Soprano's language model on transformers, through the author's package: CUDA, MPS and CPU.

One thread runs all sentences: each step samples one token of every sentence, and new ones join
between steps.
"""

import math
import queue
import threading
from itertools import count
from pathlib import Path
from typing import Any, Final

import structlog

from app.adapters.speech.soprano.engine import ThreadStream, as_instance_error
from app.adapters.speech.soprano.sampling import Sampling
from app.adapters.speech.soprano.torch.engine import HiddenState, missing_package
from app.adapters.speech.soprano.torch.token_batch import (
    BatchRow,
    Sampled,
    TokenBatch,
    TokenSampler,
)
from app.domain.errors import InstanceDeadError, ModelLoadError

# Sentences in one step; more wait.
MAX_BATCH_SIZE: Final = 16

_log = structlog.get_logger(__name__)


class Job:
    """A sentence that waits or generates; one that is cancelled leaves before the next step."""

    def __init__(self, prompt: str, sampling: Sampling) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.is_cancelled = False
        self.states: ThreadStream[HiddenState] = ThreadStream(on_close=self.cancel)

    def cancel(self) -> None:
        self.is_cancelled = True


class TransformersLanguageModel:
    """SopranoLanguageModel over the package's TransformersModel.

    Args:
        directory: of the checkpoint.
        device: torch's name of it.

    Attributes:
        num_tokens: sampled so far, of all sentences.
    """

    def __init__(self, directory: Path, device: str) -> None:
        self._directory = directory
        self._device = device
        self._waiting: queue.PriorityQueue[tuple[float, int, Job | None]] = queue.PriorityQueue()
        self._arrivals = count()
        self._running: dict[BatchRow, Job] = {}
        self._thread: threading.Thread | None = None
        self._batch: TokenBatch
        self._end: InstanceDeadError | None = None
        self.num_tokens = 0

    def load(self) -> None:
        try:
            package_model = load_package_model(self._directory, self._device)
        except ImportError as error:
            raise missing_package("soprano", error) from error
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ModelLoadError(f"Soprano cannot be loaded on {self._device}: {reason}") from error
        self._batch = TokenBatch(package_model.model, package_model.tokenizer)
        self._thread = threading.Thread(target=self._work, name="soprano-tokens", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._put(-math.inf, None)
            self._thread.join()
            self._thread = None

    def _put(self, due_at: float, job: Job | None) -> None:
        self._waiting.put((due_at, next(self._arrivals), job))

    def generate(self, prompt: str, sampling: Sampling, due_at: float) -> ThreadStream[HiddenState]:
        job = Job(prompt, sampling)
        self._put(due_at, job)
        # After the put: what is put before the end, the thread ends itself.
        if self._end is not None or self._thread is None:
            raise InstanceDeadError from self._end
        return job.states

    def _work(self) -> None:
        """The thread: until told to stop, or until the device fails."""
        try:
            while self._admit():
                cancelled = [row for row, job in self._running.items() if job.is_cancelled]
                self._batch.leave(cancelled)
                for row in cancelled:
                    del self._running[row]
                if self._batch.rows:
                    self._hand_out(self._batch.step())
        except Exception as error:  # noqa: BLE001 - every sentence must hear of it
            failure = as_instance_error(error)
            _log.error("soprano.instance_died", device=self._device, reason=str(failure))
            self._tell_all(failure)
        else:
            self._tell_all(InstanceDeadError())

    def _admit(self) -> bool:
        """Let waiting sentences join; waits for one if there is nothing to do. False is the end."""
        while len(self._batch.rows) < MAX_BATCH_SIZE:
            try:
                *_, job = self._waiting.get(block=not self._batch.rows)
            except queue.Empty:
                return True
            if job is None:
                return False
            if job.is_cancelled:
                continue
            try:
                row = self._batch.join(job.prompt, TokenSampler(job.sampling))
            except Exception as error:
                job.states.send(as_instance_error(error))
                raise
            self._running[row] = job
        return True

    def _hand_out(self, sampled: list[Sampled]) -> None:
        self.num_tokens += len(sampled)
        for one in sampled:
            job = self._running[one.row]
            if one.state is not None:
                job.states.send(one.state)
            if one.is_end or one.error:
                del self._running[one.row]
                job.states.send(one.error)

    def _tell_all(self, error: InstanceDeadError) -> None:
        self._end = error
        for job in self._running.values():
            job.states.send(error)
        self._running.clear()
        while not self._waiting.empty():
            *_, waiting = self._waiting.get()
            if waiting is not None:
                waiting.states.send(error)


def load_package_model(directory: Path, device: str) -> Any:
    """The package's TransformersModel over the files of a directory."""
    import transformers
    from soprano.backends.transformers import TransformersModel

    transformers.utils.logging.disable_progress_bar()
    return TransformersModel(device=device, model_path=str(directory))
