"""Soprano's language model on transformers, through the author's package: CUDA, MPS and CPU.

One thread runs all sentences: each step samples one token of every sentence, and new ones join
between steps. Their caches have different lengths, so shorter ones are padded on the left and
masked.
"""

import math
import queue
import threading
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import structlog

from app.adapters.speech.soprano.engine import ThreadStream, as_instance_error, loading
from app.adapters.speech.soprano.sampling import GREEDY_TEMPERATURE, MAX_NEW_TOKENS, Sampling
from app.adapters.speech.soprano.torch.engine import HiddenState
from app.domain.errors import (
    InstanceDeadError,
    InvalidAudioError,
    SynthesisError,
    TruncatedSpeechError,
)

# Sentences in one step; more wait.
MAX_BATCH_SIZE: Final = 16

_log = structlog.get_logger(__name__)


class TokenSampler:
    """Samples the tokens of one sentence as the package does: by transformers' own processors."""

    def __init__(self, sampling: Sampling) -> None:
        import torch
        from transformers import (
            RepetitionPenaltyLogitsProcessor,
            TemperatureLogitsWarper,
            TopPLogitsWarper,
        )

        temperature = sampling.temperature if sampling.temperature > 0 else GREEDY_TEMPERATURE
        self._processors: list[Any] = [
            RepetitionPenaltyLogitsProcessor(penalty=sampling.repetition_penalty),
            TemperatureLogitsWarper(temperature=temperature),
            TopPLogitsWarper(top_p=sampling.top_p),
        ]
        self._generator = torch.Generator().manual_seed(sampling.seed + sampling.attempt)

    def sample(self, ids: list[int], logits: Any) -> int:
        """The next token id, after the `ids` so far, from (vocab_size,) logits."""
        import torch

        scores = logits.float().cpu()[None]
        past = torch.tensor([ids])
        for processor in self._processors:
            scores = processor(past, scores)
        probabilities = torch.softmax(scores, dim=-1)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


class BatchRow:
    """One sentence: `ids` of prompt and continuation, `num_new` of these in the continuation."""

    def __init__(self, ids: list[int], sampler: TokenSampler) -> None:
        self.ids = ids
        self.num_new = 0
        self.sampler = sampler
        self.state: HiddenState = np.zeros(0, np.float32)
        self.logits: Any = None


class Sampled(msgspec.Struct, frozen=True, eq=False):
    """What a step made of a row, which goes on if it is neither at its end nor in error.

    `state` predicted the token just sampled; it is None at the end.
    """

    row: BatchRow
    state: HiddenState | None
    is_end: bool = False
    error: SynthesisError | None = None


class TokenBatch:
    """The rows and their key/value caches, for a causal language model of transformers."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._end_id = model.config.eos_token_id
        self.rows: list[BatchRow] = []
        self._layers: list[tuple[Any, Any]] = []  # keys, values: (rows, heads, length, head_size)

    def join(self, prompt: str, sampler: TokenSampler) -> BatchRow:
        """Prefill a prompt; its row takes part from the next step on."""
        ids: list[int] = self._tokenizer(prompt)["input_ids"]
        row = BatchRow(ids, sampler)
        cache = self._new_cache([])
        outputs = self._run([ids], [list(range(len(ids)))], None, cache)
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        self._layers = _merge(self._layers, layers) if self.rows else layers
        self.rows.append(row)
        self._take(outputs, [row])
        return row

    def step(self) -> list[Sampled]:
        """Sample one token per row; rows that ended are gone afterwards."""
        sampled = [self._sample(row) for row in self.rows]
        self.leave([one.row for one in sampled if one.is_end or one.error])
        if self.rows:
            # Compute the tokens just sampled.
            length = self._layers[0][0].shape[-2]
            mask = [[0] * (length + 1 - len(row.ids)) + [1] * len(row.ids) for row in self.rows]
            cache = self._new_cache(self._layers)
            ids = [row.ids[-1:] for row in self.rows]
            positions = [[len(row.ids) - 1] for row in self.rows]
            outputs = self._run(ids, positions, mask, cache)
            self._layers = [(layer.keys, layer.values) for layer in cache.layers]
            self._take(outputs, self.rows)
        return sampled

    def leave(self, rows: list[BatchRow]) -> None:
        """Take rows out, and with them their part of the caches."""
        kept = [index for index, row in enumerate(self.rows) if row not in rows]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[index] for index in kept]
        length = max((len(row.ids) for row in self.rows), default=0)
        self._layers = [
            (keys[kept][:, :, -length:], values[kept][:, :, -length:])
            for keys, values in self._layers
        ]

    def _sample(self, row: BatchRow) -> Sampled:
        if not np.isfinite(row.state).all():
            return Sampled(row, None, error=InvalidAudioError("The model's states are not finite."))
        token = row.sampler.sample(row.ids, row.logits)
        if token == self._end_id:
            return Sampled(row, None, is_end=True)
        row.ids.append(token)
        row.num_new += 1
        error = TruncatedSpeechError() if row.num_new >= MAX_NEW_TOKENS else None
        return Sampled(row, row.state, error=error)

    def _new_cache(self, layers: list[tuple[Any, Any]]) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache()
        for index, (keys, values) in enumerate(layers):
            cache.update(keys, values, index)
        return cache

    def _run(
        self,
        ids: list[list[int]],
        positions: list[list[int]],
        mask: list[list[int]] | None,
        cache: Any,
    ) -> Any:
        import torch

        device = self._model.device
        with torch.inference_mode():
            return self._model.model(
                input_ids=torch.tensor(ids, device=device),
                position_ids=torch.tensor(positions, device=device),
                attention_mask=None if mask is None else torch.tensor(mask, device=device),
                past_key_values=cache,
                use_cache=True,
            )

    def _take(self, outputs: Any, rows: list[BatchRow]) -> None:
        """Keep the last state of each row, and the logits that follow from it."""
        import torch

        last = outputs.last_hidden_state[:, -1]  # (rows, hidden_size), after the final norm
        with torch.inference_mode():
            logits = self._model.lm_head(last)
        states = last.float().cpu().numpy()
        for row, state, row_logits in zip(rows, states, logits, strict=True):
            row.state, row.logits = state, row_logits


def _merge(old: list[tuple[Any, Any]], new: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Both batches as one, the shorter caches padded on the left."""
    import torch
    from torch.nn.functional import pad

    def joined(first: Any, second: Any) -> Any:
        length = max(first.shape[-2], second.shape[-2])
        return torch.cat([pad(one, (0, 0, length - one.shape[-2], 0)) for one in (first, second)])

    return [
        (joined(old_keys, keys), joined(old_values, values))
        for (old_keys, old_values), (keys, values) in zip(old, new, strict=True)
    ]


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

    `num_tokens` are sampled so far, of all sentences.
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
        with loading(f"Soprano cannot be loaded on {self._device}", "soprano"):
            package_model = load_package_model(self._directory, self._device)
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
