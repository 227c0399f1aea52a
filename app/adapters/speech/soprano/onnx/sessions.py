"""The graphs on ONNX Runtime, and the memory that their calls share.

Knows tensors and slots, and nothing of sequences or of their order.
"""

import math
import mmap
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from app.adapters.speech.cores import count_cores
from app.adapters.speech.onnx_session import open_session
from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint, load_tokenizer
from app.adapters.speech.soprano.checkpoint.shapes import N_FFT, DecoderShape, LanguageModelShape
from app.adapters.speech.soprano.engine import loading
from app.adapters.speech.soprano.onnx.graph import Precision
from app.adapters.speech.soprano.onnx.graph_cache import (
    DECODE_GRAPH,
    LANGUAGE_MODEL_GRAPH,
    VOCODER_GRAPH,
    WINDOW_FILE,
    GraphCache,
)
from app.adapters.speech.soprano.onnx.model_graphs import BLOCK_STATES, INPUT_STATE, MAX_POSITIONS
from app.adapters.speech.soprano.onnx.scheduler import PREFILL_CHUNK
from app.adapters.speech.soprano.onnx.sequence import MAX_VOCODER_STATES, Logits

# Frames that the vocoder interpolates for each hidden state after the first; fixed by the package.
FRAMES_PER_TOKEN: Final = 4

HOP_LENGTH: Final = 512  # samples between frames; fixed by the package
OVERLAP: Final = N_FFT // HOP_LENGTH  # frames that add to each block
NUM_CARRIED: Final = OVERLAP - 1  # blocks that wait for frames to come
MAX_MAGNITUDE: Final = 100.0  # of a bin, as in the package

Blocks = NDArray[np.float32]  # (rows, blocks, 512) samples

_log = structlog.get_logger(__name__)

States = NDArray[np.float32]  # (rows, hidden)


class LanguageModelSession:
    """The language model with its KV cache of `num_slots` rows.

    `prefill` and `decode` are the sessions of prompts and of steps by `is_alone`: two calls may run
    at the same time on different slots, each on fewer threads than one alone.
    """

    def __init__(
        self,
        prefill: Mapping[bool, Any],
        decode: Mapping[bool, Any],
        shape: LanguageModelShape,
        num_slots: int,
    ) -> None:
        self._prefill_sessions = prefill
        self._decode_sessions = decode
        cache_shape = (num_slots, shape.num_kv_heads, MAX_POSITIONS, shape.head_dim)
        self._caches = [_lazy_zeros(cache_shape) for _ in range(2 * shape.num_layers)]
        self._tokens = np.zeros((num_slots, 1), np.int64)
        self._last_positions = np.zeros(num_slots, np.int32)
        self._total_length = np.zeros((), np.int32)
        self._states = np.zeros((num_slots, shape.hidden_size), np.float32)
        self._logits = np.zeros((num_slots, shape.vocab_size), np.float32)
        self._decode_bindings: dict[tuple[int, bool], Any] = {}

    @property
    def max_cache_bytes(self) -> int:
        """Memory of the KV cache when every slot is full."""
        return sum(cache.nbytes for cache in self._caches)

    def prefill(
        self, slot: int, tokens: Sequence[int], start: int, *, is_alone: bool = True
    ) -> tuple[States, Logits]:
        """Compute a chunk of a prompt into a slot, after the `start` tokens that it holds.

        Gives the state (1, hidden) and the logits (1, vocabulary) of the last token.
        """
        self._last_positions[slot] = start + len(tokens) - 1
        rows = slice(slot, slot + 1)
        session = self._prefill_sessions[is_alone]
        ids, total_length = np.array([tokens], np.int64), np.array(start + len(tokens), np.int32)
        session.run_with_iobinding(self._bind(session, ids, total_length, rows))
        return self._states[rows].copy(), self._logits[rows].copy()

    def decode(
        self, first_slot: int, tokens: list[int], lengths: list[int], *, is_alone: bool = True
    ) -> tuple[States, Logits]:
        """States and logits, until the next step, of a decode step of slots that are side by side.

        `tokens` are the newest of each slot, `lengths` the numbers of those before. `is_alone`:
        nothing else is computed at the same time.
        """
        rows = slice(first_slot, first_slot + len(tokens))
        self._tokens[rows, 0] = tokens
        self._last_positions[rows] = lengths
        self._total_length[...] = max(lengths) + 1
        session = self._decode_sessions[is_alone]
        key = rows.stop, is_alone
        binding = None if first_slot else self._decode_bindings.get(key)
        if binding is None:
            binding = self._bind(session, self._tokens[rows], self._total_length, rows)
            if not first_slot:  # most steps begin at slot 0: only those are kept
                self._decode_bindings[key] = binding
        session.run_with_iobinding(binding)
        return self._states[rows], self._logits[rows]

    def move(self, source: int, target: int, num_tokens: int) -> None:
        """Copy the first `num_tokens` keys and values of slot `source` to slot `target`."""
        for cache in self._caches:
            cache[target, :, :num_tokens] = cache[source, :, :num_tokens]

    def _bind(
        self, session: Any, tokens: NDArray[np.int64], total_length: NDArray[np.int32], rows: slice
    ) -> Any:
        """A call on `rows` whose inputs and outputs are our own memory; nothing is copied."""
        from onnxruntime import OrtValue

        binding = session.io_binding()
        last = self._last_positions[rows]
        inputs = {"ids": tokens, "last_positions": last, "total_length": total_length}
        for name, values in inputs.items():
            binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(values))
        for index, cache in enumerate(self._caches):
            name = f"{('key', 'value')[index % 2]}_{index // 2}"
            value = OrtValue.ortvalue_from_numpy(cache[rows])
            binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(f"new_{name}", value)
        for name, array in (("state", self._states), ("logits", self._logits)):
            binding.bind_ortvalue_output(name, OrtValue.ortvalue_from_numpy(array[rows]))
        return binding


def _lazy_zeros(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Zeros in float32 that take memory only where they have been written.

    Small pages: with huge ones, one position written takes 2 MB, which is several slots.
    """
    memory = mmap.mmap(-1, math.prod(shape) * np.dtype(np.float32).itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.float32).reshape(shape)


class OverlapAdd:
    """Spectra to samples, piece by piece: the inverse short-time Fourier transform of one decoder.

    Frame i of 2048 samples begins 1024 samples before sample 512 i (the transform is centred), so
    it adds to the four blocks of 512 samples from i - 2 to i + 1, and block i - 2 is done once
    frame i is there. Blocks before sample 0 are cut off; the sum of the squared windows (2048,), by
    which samples are divided, lacks one frame in the first block and in the last one (as in
    `torch.istft`).
    """

    def __init__(self, window: NDArray[np.float32]) -> None:
        self._window = window
        quarters = (window**2).reshape(OVERLAP, HOP_LENGTH)
        self._weight = quarters.sum(axis=0)
        self._first_weight = quarters[:-1].sum(axis=0)
        self._last_weight = quarters[1:].sum(axis=0)

    def push(
        self, spectra: NDArray[np.float32], carried: Blocks, *, is_first: bool, is_last: bool
    ) -> tuple[NDArray[np.float32], Blocks]:
        """Sound that is done, (rows, samples), and what is carried on, (rows, 3, 512).

        `spectra` (rows, frames, 2050) are logarithms of the magnitudes first, then the phases; at
        least 3 frames if they are the first of their sentences. `carried` is as the last call gave
        it, zeros at first.
        """
        num_rows, num_frames, num_values = spectra.shape
        num_bins = num_values // 2
        windowed = np.empty((num_rows, num_frames, N_FFT), np.float32)
        # Row by row: so what is computed on the way stays in the processor's cache.
        for row, row_frames in zip(spectra, windowed, strict=True):
            magnitude = np.exp(row[:, :num_bins])
            np.minimum(magnitude, np.float32(MAX_MAGNITUDE), out=magnitude)
            phase = row[:, num_bins:]
            bins = np.empty(magnitude.shape, np.complex64)
            np.multiply(magnitude, np.cos(phase), out=bins.real)
            np.multiply(magnitude, np.sin(phase), out=bins.imag)
            bins[:, [0, -1]] = 0  # the package drops the constant and the highest frequency
            np.multiply(np.fft.irfft(bins, N_FFT), self._window, out=row_frames)
        quarters = windowed.reshape(num_rows, num_frames, OVERLAP, HOP_LENGTH)
        blocks = np.zeros((num_rows, num_frames + NUM_CARRIED, HOP_LENGTH), np.float32)
        blocks[:, :NUM_CARRIED] = carried
        # Earlier frames are added first, so that the sums are the same however frames are grouped.
        for quarter in reversed(range(OVERLAP)):
            blocks[:, quarter : quarter + num_frames] += quarters[:, :, quarter]
        start = OVERLAP // 2 if is_first else 0  # blocks before sample 0 are cut off
        end = num_frames + 1 if is_last else num_frames
        done = blocks[:, start:end] / self._weight
        if is_first:
            done[:, 0] = blocks[:, start] / self._first_weight
        if is_last:
            done[:, -1] = blocks[:, end - 1] / self._last_weight
        return done.reshape(len(done), -1), blocks[:, num_frames:].copy()


class VocoderState(msgspec.Struct, eq=False, kw_only=True):
    """What the vocoder carries of one sequence from piece to piece."""

    last_state: States  # (1, hidden), to interpolate the next frames from; (0, hidden) at first
    carried: dict[str, NDArray[np.float32]]  # by input of the graph, without the dimension of rows
    overlap: Blocks  # (3, 512)


class VocoderSession:
    """The vocoder. Two calls may run at the same time for different sequences."""

    def __init__(self, session: Any, shape: DecoderShape, window: NDArray[np.float32]) -> None:
        self._session = session
        self._shape = shape
        self._overlap_add = OverlapAdd(window)

    def new_state(self) -> VocoderState:
        """The state of a sequence before its first audio."""
        shape = self._shape
        carried = {BLOCK_STATES: np.zeros((shape.num_layers, 1, shape.dim), np.float32)}
        if shape.input_kernel_size > 1:
            carried[INPUT_STATE] = np.zeros((1, shape.input_channels), np.float32)
        nothing = np.zeros((0, shape.input_channels), np.float32)
        overlap = np.zeros((NUM_CARRIED, HOP_LENGTH), np.float32)
        return VocoderState(last_state=nothing, carried=carried, overlap=overlap)

    def vocode(
        self, vocoder_states: Sequence[VocoderState], new: Sequence[list[States]], *, is_last: bool
    ) -> NDArray[np.float32]:
        """The next piece of audio of several sequences, (rows, samples); moves their states on.

        All are at their start, or none; `is_last` is the end of all. `new` are (hidden,) states of
        each, equally many; at least 4 at the start of a sequence, or 2 if that is also its end; at
        the end there may be none.
        """
        is_first = not len(vocoder_states[0].last_state)
        states = np.array(new, np.float32).reshape(len(new), -1, self._shape.input_channels)
        feed = {
            name: np.stack([one.carried[name] for one in vocoder_states])
            for name in vocoder_states[0].carried
        }
        known = np.stack([one.last_state for one in vocoder_states])
        states = np.concatenate([known, states], axis=1)
        feed["frames"] = interpolate(states, has_first=is_first)
        feed["tail"] = np.zeros((len(new), int(is_last), 1), np.float32)
        names = ["spectra", *(f"new_{name}" for name in vocoder_states[0].carried)]
        spectra, *carried = self._session.run(names, feed)
        overlap = np.stack([one.overlap for one in vocoder_states])
        samples, overlap = self._overlap_add.push(
            spectra, overlap, is_first=is_first, is_last=is_last
        )
        for row, one in enumerate(vocoder_states):
            one.last_state = states[row, -1:].copy()
            one.overlap = overlap[row]
            for name, values in zip(one.carried, carried, strict=True):
                one.carried[name] = values[row]
        return samples


def interpolate(states: States, *, has_first: bool) -> NDArray[np.float32]:
    """Frames on straight lines from state to state, each line in four steps.

    From (rows, n, hidden) to (rows, 4 (n - 1), hidden); `has_first` adds that at the first state.
    """
    before, after = states[:, :-1, np.newaxis], states[:, 1:, np.newaxis]
    parts = np.arange(1, FRAMES_PER_TOKEN + 1, dtype=np.float32) / np.float32(FRAMES_PER_TOKEN)
    weights = parts[:, np.newaxis]
    frames = before * (1 - weights) + after * weights  # (rows, n - 1, 4, hidden)
    joined = frames.reshape(len(states), -1, states.shape[-1])
    return np.concatenate([states[:, :1], joined], axis=1) if has_first else joined


class Sessions(msgspec.Struct, frozen=True, eq=False):
    """What an engine computes with."""

    language_model: LanguageModelSession
    vocoder: VocoderSession
    tokenizer: Any  # a tokenizers.Tokenizer
    eos_token_id: int
    num_slots: int  # of the KV cache
    is_split: bool  # each session may run while the other does, on half of the threads


def open_language_model(
    pool: Executor,
    graphs: Path,
    shape: LanguageModelShape,
    num_slots: int,
    num_threads: int,
    num_beside: int,
) -> LanguageModelSession:
    """The language model of a directory of graphs; what runs beside has `num_beside` threads."""
    names = [LANGUAGE_MODEL_GRAPH, *[DECODE_GRAPH] * (graphs / DECODE_GRAPH).exists()]
    calls = list(product(names, dict.fromkeys([num_threads, num_beside])))
    opened = pool.map(lambda call: open_session(graphs / call[0], call[1]), calls)
    sessions = dict(zip(calls, opened, strict=True))
    prefill, decode = (
        {True: sessions[name, num_threads], False: sessions[name, num_beside]}
        for name in (names[0], names[-1])
    )
    return LanguageModelSession(prefill, decode, shape, num_slots)


def open_sessions(
    checkpoint: Checkpoint,
    precision: Precision,
    max_sentences: int,
    num_threads: int,
    cache: GraphCache,
) -> Sessions:
    """The graphs and the tokenizer of a checkpoint, ready to run; raises ModelLoadError.

    The KV cache has a slot for each of `max_sentences`; 0 threads is one per physical core.
    """
    graphs = cache.get(checkpoint, precision)
    num_threads = num_threads or count_cores()
    # In fp32 nearly all of the time goes to products that all threads share well: a second session
    # gains nothing there (docs/adr/0021).
    is_split = precision != "fp32" and num_threads > 1
    num_beside = num_threads // 2 if is_split else num_threads
    with loading("Soprano cannot be loaded on ONNX Runtime"):
        with ThreadPoolExecutor(3) as pool:  # each session takes 0.1 s of one core
            opening = pool.submit(open_session, graphs / VOCODER_GRAPH, num_beside)
            language_model = open_language_model(
                pool, graphs, checkpoint.language_model, max_sentences, num_threads, num_beside
            )
            window = np.load(graphs / WINDOW_FILE)
            vocoder = VocoderSession(opening.result(), checkpoint.decoder, window)
        tokenizer = load_tokenizer(checkpoint.directory)
        # The runtime allocates the memory of its largest calls now.
        for is_alone in (True, False) if is_split else (True,):
            language_model.prefill(0, [0] * PREFILL_CHUNK, 0, is_alone=is_alone)
            language_model.decode(0, [0], [PREFILL_CHUNK], is_alone=is_alone)
        state = np.zeros(checkpoint.decoder.input_channels, np.float32)
        starts = [vocoder.new_state(), vocoder.new_state()]
        vocoder.vocode(starts, [[state] * MAX_VOCODER_STATES] * 2, is_last=True)
    _log.info(
        "soprano.loaded",
        precision=precision,
        num_threads=num_threads,
        max_sentences=max_sentences,
        max_cache_bytes=language_model.max_cache_bytes,
    )
    eos_token_id = checkpoint.language_model.eos_token_id
    return Sessions(language_model, vocoder, tokenizer, eos_token_id, max_sentences, is_split)
