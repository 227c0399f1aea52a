"""The two graphs on ONNX Runtime, and the memory that their calls share.

Knows tensors and rows, and nothing of sentences or of whose turn it is.
"""

import math
import mmap
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.shapes import DecoderShape, LanguageModelShape
from app.adapters.speech.soprano_onnx.decoder_graph import BLOCK_STATES, INPUT_STATE
from app.adapters.speech.soprano_onnx.language_model_graph import MAX_POSITIONS
from app.adapters.speech.soprano_onnx.overlap_add import Blocks, OverlapAdd

FRAMES_PER_TOKEN: Final = 4
"""The decoder interpolates to four frames for each hidden state after the first."""

States = NDArray[np.float32]


class LanguageModelSession:
    """The language model with the keys and values of several rows.

    A step takes rows that follow each other; so whoever leaves is replaced by the last. Two calls
    may run at the same time if they take different rows.

    Args:
        session: of the graph.
        shape: of the model.
        num_rows: that exist.
        half: a session of the same graph on half of the threads, for calls beside which something
            else is computed; without one, `session`.
    """

    def __init__(
        self, session: Any, shape: LanguageModelShape, num_rows: int, half: Any = None
    ) -> None:
        self._session = session
        self._half = half or session
        self._num_layers = shape.num_layers
        cache_shape = (num_rows, shape.num_kv_heads, MAX_POSITIONS, shape.head_dim)
        self._caches = [_lazy_zeros(cache_shape) for _ in range(2 * shape.num_layers)]
        self._ids = np.zeros((num_rows, 1), np.int64)
        self._last_positions = np.zeros(num_rows, np.int32)
        self._total_length = np.zeros((), np.int32)
        self._states = np.zeros((num_rows, shape.hidden_size), np.float32)
        self._logits = np.zeros((num_rows, shape.vocab_size), np.float32)
        self._steps: dict[tuple[int, bool], Any] = {}

    @property
    def max_cache_bytes(self) -> int:
        """Memory of keys and values when every row is as long as can be."""
        return sum(cache.nbytes for cache in self._caches)

    def read(
        self, row: int, ids: Sequence[int], start: int, *, is_alone: bool = True
    ) -> tuple[States, States]:
        """Read `ids` into a row, after the `start` ids that it holds.

        Args:
            row: the row.
            ids: what is read.
            start: how many ids the row holds before.
            is_alone: whether nothing else is computed at the same time.

        Returns:
            State (1, hidden) and logits (1, vocabulary) of the last id.
        """
        self._last_positions[row] = start + len(ids) - 1
        rows = slice(row, row + 1)
        session = self._session_for(is_alone=is_alone)
        total_length = np.array(start + len(ids), np.int32)
        binding = self._bind(session, np.array([ids], np.int64), total_length, rows)
        session.run_with_iobinding(binding)
        return self._states[rows].copy(), self._logits[rows].copy()

    def step(
        self,
        first_row: int,
        ids: Sequence[int],
        lengths: Sequence[int],
        *,
        is_alone: bool = True,
    ) -> tuple[States, States]:
        """Read one id more into each of some rows that follow each other.

        Args:
            first_row: of them.
            ids: one a row.
            lengths: how many ids each row holds before.
            is_alone: whether nothing else is computed at the same time.

        Returns:
            States (rows, hidden) and logits (rows, vocabulary); valid until the next step.
        """
        rows = slice(first_row, first_row + len(ids))
        self._ids[rows, 0] = ids
        self._last_positions[rows] = lengths
        self._total_length[...] = max(lengths) + 1
        session = self._session_for(is_alone=is_alone)
        session.run_with_iobinding(self._step_binding(session, rows))
        return self._states[rows], self._logits[rows]

    def _session_for(self, *, is_alone: bool) -> Any:
        return self._session if is_alone else self._half

    def _step_binding(self, session: Any, rows: slice) -> Any:
        """The call of a step; of those from row 0 on, which are the most, it is kept."""
        if rows.start:
            return self._bind(session, self._ids[rows], self._total_length, rows)
        key = rows.stop, session is self._session
        if key not in self._steps:
            self._steps[key] = self._bind(session, self._ids[rows], self._total_length, rows)
        return self._steps[key]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy what row `source` holds, `length` ids, into row `target`."""
        for cache in self._caches:
            cache[target, :, :length] = cache[source, :, :length]

    def _bind(
        self, session: Any, ids: NDArray[np.int64], total_length: NDArray[np.int32], rows: slice
    ) -> Any:
        """A call on `rows` whose inputs and outputs are our own memory; nothing is copied."""
        from onnxruntime import OrtValue

        binding = session.io_binding()
        binding.bind_ortvalue_input("ids", OrtValue.ortvalue_from_numpy(ids))
        last = OrtValue.ortvalue_from_numpy(self._last_positions[rows])
        binding.bind_ortvalue_input("last_positions", last)
        total = OrtValue.ortvalue_from_numpy(total_length)
        binding.bind_ortvalue_input("total_length", total)
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

    Small pages: with huge ones, one position written takes 2 MB, which is several rows.
    """
    memory = mmap.mmap(-1, math.prod(shape) * np.dtype(np.float32).itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.float32).reshape(shape)


class DecoderState(msgspec.Struct, eq=False, kw_only=True):
    """What the decoder carries of one sentence from piece to piece.

    Attributes:
        is_first: whether nothing has been decoded yet.
        last_state: (1, hidden), from which the next frames are interpolated; (0, hidden) at first.
        carried: by names of inputs, without the dimension of rows.
        overlap: (3, 512).
    """

    is_first: bool
    last_state: States
    carried: dict[str, NDArray[np.float32]]
    overlap: Blocks


class DecoderSession:
    """The decoder. Two calls may run at the same time if they are for different sentences.

    Args:
        session: of the graph.
        shape: of the decoder.
        window: (2048,) of the checkpoint.
    """

    def __init__(self, session: Any, shape: DecoderShape, window: NDArray[np.float32]) -> None:
        self._session = session
        self._shape = shape
        self._overlap_add = OverlapAdd(window)

    def start(self) -> DecoderState:
        """The state of a sentence before its first sound."""
        shape = self._shape
        carried = {BLOCK_STATES: np.zeros((shape.num_layers, 1, shape.dim), np.float32)}
        if shape.input_kernel_size > 1:
            carried[INPUT_STATE] = np.zeros((1, shape.input_channels), np.float32)
        nothing = np.zeros((0, shape.input_channels), np.float32)
        return DecoderState(
            is_first=True, last_state=nothing, carried=carried, overlap=self._overlap_add.start()
        )

    def decode(
        self, decoder_states: Sequence[DecoderState], new: Sequence[list[States]], *, is_last: bool
    ) -> NDArray[np.float32]:
        """The next piece of several sentences; moves their states on.

        Args:
            decoder_states: of sentences that all are at their start, or all are not.
            new: states of each, (hidden,), as many for all; at least 4 at the start of a sentence,
                or 2 if that is its end, too; at an end there may be none.
            is_last: whether these are the last of all these sentences.

        Returns:
            (rows, samples) float32.
        """
        is_first = decoder_states[0].is_first
        states = np.array(new, np.float32).reshape(len(new), -1, self._shape.input_channels)
        feed = {
            name: np.stack([one.carried[name] for one in decoder_states])
            for name in decoder_states[0].carried
        }
        known = np.stack([one.last_state for one in decoder_states])
        states = np.concatenate([known, states], axis=1)
        feed["frames"] = interpolate(states, has_first=is_first)
        feed["tail"] = np.zeros((len(new), int(is_last), 1), np.float32)
        names = ["spectra", *(f"new_{name}" for name in decoder_states[0].carried)]
        spectra, *carried = self._session.run(names, feed)
        overlap = np.stack([one.overlap for one in decoder_states])
        samples, overlap = self._overlap_add.push(
            spectra, overlap, is_first=is_first, is_last=is_last
        )
        for row, one in enumerate(decoder_states):
            one.is_first = False
            one.last_state = states[row, -1:].copy()
            one.overlap = overlap[row]
            for name, values in zip(one.carried, carried, strict=True):
                one.carried[name] = values[row]
        return samples


def interpolate(states: States, *, has_first: bool) -> NDArray[np.float32]:
    """Frames on straight lines from state to state, each line in four steps.

    Args:
        states: (rows, n, hidden).
        has_first: whether the frame at the first state is wanted.

    Returns:
        (rows, 4 (n - 1), hidden), one frame more with the first.
    """
    before, after = states[:, :-1, np.newaxis], states[:, 1:, np.newaxis]
    parts = np.arange(1, FRAMES_PER_TOKEN + 1, dtype=np.float32) / np.float32(FRAMES_PER_TOKEN)
    weights = parts[:, np.newaxis]
    frames = before * (1 - weights) + after * weights  # (rows, n - 1, 4, hidden)
    joined = frames.reshape(len(states), -1, states.shape[-1])
    return np.concatenate([states[:, :1], joined], axis=1) if has_first else joined
