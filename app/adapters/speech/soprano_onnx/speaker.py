"""Soprano on ONNX Runtime: the speaker that batches all sentences on a CPU, without torch."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from app.adapters.speech.cores import count_cores
from app.adapters.speech.onnx_session import open_session
from app.adapters.speech.soprano.checkpoint import Checkpoint
from app.adapters.speech.soprano.sampling import MAX_NEW_TOKENS, Sampling
from app.adapters.speech.soprano.shapes import WINDOW_NAME
from app.adapters.speech.soprano.tokenizer_files import load_tokenizer
from app.adapters.speech.soprano_onnx.decoder_graph import build_decoder_graph
from app.adapters.speech.soprano_onnx.graph import Precision
from app.adapters.speech.soprano_onnx.graph_cache import (
    DECODER_GRAPH,
    LANGUAGE_MODEL_GRAPH,
    WINDOW_FILE,
    GraphCache,
)
from app.adapters.speech.soprano_onnx.language_model_graph import (
    MAX_POSITIONS,
    build_language_model_graph,
)
from app.adapters.speech.soprano_onnx.scheduler import READ_CHUNK
from app.adapters.speech.soprano_onnx.sequence import MAX_CHUNK_TOKENS, Sequence
from app.adapters.speech.soprano_onnx.sessions import (
    DecoderSession,
    LanguageModelSession,
)
from app.adapters.speech.soprano_onnx.step_loop import StepLoop
from app.domain.errors import InstanceDeadError, ModelLoadError, SynthesisError
from app.ports.clock import Clock

SUPPORTED_KERNELS: Final = (1, 3)
"""Of the decoder's input: those of the versions 1.1 and 1.0."""

MAX_PROMPT_TOKENS: Final = MAX_POSITIONS - MAX_NEW_TOKENS
"""Sentences have 400 characters at most, and no character is more than one token."""

_log = structlog.get_logger(__name__)


class EngineLimits(msgspec.Struct, frozen=True):
    """What an engine may take.

    Attributes:
        max_sentences: spoken at the same time; more wait.
        num_threads: of the runtime; 0 is one per physical core.
    """

    max_sentences: int = 32
    num_threads: int = 0


class Sessions(msgspec.Struct, frozen=True, eq=False):
    """All that a checkpoint speaks with.

    Attributes:
        language_model: its first network.
        decoder: its second one.
        tokenizer: a tokenizers.Tokenizer.
        is_split: whether each may run while the other does, on half of the threads.
    """

    language_model: LanguageModelSession
    decoder: DecoderSession
    tokenizer: Any
    is_split: bool


class OnnxSpeaker:
    """SopranoSpeaker on ONNX Runtime.

    Args:
        checkpoint: that speaks.
        precision: of its products.
        limits: on threads and memory.
        cache: of graphs.
        clock: of due times.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        precision: Precision,
        limits: EngineLimits,
        cache: GraphCache,
        clock: Clock,
    ) -> None:
        self._checkpoint = checkpoint
        self._precision = precision
        self._limits = limits
        self._cache = cache
        self._clock = clock
        self._tokenizer: Any = None
        self.step_loop: StepLoop | None = None

    def load(self) -> None:
        sessions = open_sessions(self._checkpoint, self._precision, self._limits, self._cache)
        self._tokenizer = sessions.tokenizer
        self.step_loop = StepLoop(
            sessions.language_model,
            sessions.decoder,
            self._limits.max_sentences,
            self._clock,
            has_helper=sessions.is_split,
        )
        self.step_loop.start()

    def close(self) -> None:
        step_loop, self.step_loop = self.step_loop, None
        if step_loop is not None:
            step_loop.close()

    async def speak(
        self, prompt: str, sampling: Sampling, due_at: float
    ) -> AsyncGenerator[NDArray[np.float32], None]:
        if self.step_loop is None:
            raise InstanceDeadError
        ids = self._tokenizer.encode(prompt).ids
        if len(ids) > MAX_PROMPT_TOKENS:
            raise SynthesisError(f"A sentence has {len(ids)} tokens, more than the model can hold.")
        eos_id = self._checkpoint.language_model.eos_token_id
        async with aclosing(self.step_loop.speak(Sequence(ids, sampling, due_at, eos_id))) as all_:
            async for samples in all_:
                yield samples


def open_sessions(
    checkpoint: Checkpoint, precision: Precision, limits: EngineLimits, cache: GraphCache
) -> Sessions:
    """Both networks and the tokenizer of a checkpoint, ready to run.

    Raises:
        ModelLoadError: they cannot be built or loaded.
    """
    graphs = build_graphs(checkpoint, precision, cache)
    num_threads = limits.num_threads or count_cores()
    # In fp32 nearly all of the time goes to products that all threads share well: splitting them
    # gains nothing there, and the second copy of the weights is four times as large.
    is_split = precision == "int8" and num_threads > 1
    num_beside = num_threads // 2 if is_split else num_threads
    try:
        language_model = LanguageModelSession(
            open_session(graphs / LANGUAGE_MODEL_GRAPH, num_threads),
            checkpoint.language_model,
            limits.max_sentences,
            open_session(graphs / LANGUAGE_MODEL_GRAPH, num_beside) if is_split else None,
        )
        decoder = DecoderSession(
            open_session(graphs / DECODER_GRAPH, num_beside),
            checkpoint.decoder,
            np.load(graphs / WINDOW_FILE),
        )
        tokenizer = load_tokenizer(checkpoint.directory)
        sessions = Sessions(language_model, decoder, tokenizer, is_split)
        _warm_up(sessions, checkpoint.decoder.input_channels)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelLoadError(f"Soprano cannot be loaded on ONNX Runtime: {reason}") from error
    _log.info(
        "soprano.loaded",
        precision=precision,
        num_threads=num_threads,
        max_sentences=limits.max_sentences,
        max_cache_bytes=language_model.max_cache_bytes,
    )
    return sessions


def _warm_up(sessions: Sessions, num_channels: int) -> None:
    """Have the runtime take the memory of its largest calls now, rather than while it speaks."""
    for is_alone in (True, False) if sessions.is_split else (True,):
        sessions.language_model.read(0, [0] * READ_CHUNK, 0, is_alone=is_alone)
    states = [[np.zeros(num_channels, np.float32)] * MAX_CHUNK_TOKENS] * 2
    sessions.decoder.decode([sessions.decoder.start() for _ in states], states, is_last=True)


def build_graphs(checkpoint: Checkpoint, precision: Precision, cache: GraphCache) -> Path:
    """The directory with the graphs of a checkpoint; they are built if they are not there.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ModelLoadError: the decoder is of an unknown kind, or the graphs cannot be kept.
    """
    kernel_size = checkpoint.decoder.input_kernel_size
    if kernel_size not in SUPPORTED_KERNELS:
        raise ModelLoadError(
            f"The backend onnx knows no decoder with an input kernel {kernel_size}."
        )

    def build(directory: Path) -> None:
        build_language_model_graph(
            checkpoint.language_model, checkpoint.load_language_model(), precision
        ).save(directory / LANGUAGE_MODEL_GRAPH)
        tensors = checkpoint.load_decoder()
        build_decoder_graph(checkpoint.decoder, tensors, precision).save(directory / DECODER_GRAPH)
        np.save(directory / WINDOW_FILE, tensors[WINDOW_NAME])

    return cache.get(checkpoint, precision, build)
