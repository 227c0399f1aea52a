"""The sessions of the ONNX engine over checkpoints of our own."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from app.adapters.clock import SystemClock
from app.adapters.speech.onnx_session import open_session
from app.adapters.speech.soprano.checkpoint.checkpoint import read_checkpoint
from app.adapters.speech.soprano.checkpoint.shapes import WINDOW_NAME
from app.adapters.speech.soprano.onnx.graph import Precision
from app.adapters.speech.soprano.onnx.graph_cache import (
    DECODE_GRAPH,
    LANGUAGE_MODEL_GRAPH,
    VOCODER_GRAPH,
    GraphCache,
)
from app.adapters.speech.soprano.onnx.model_graphs import LanguageModelGraph
from app.adapters.speech.soprano.onnx.sessions import (
    LanguageModelSession,
    VocoderSession,
    open_language_model,
)

NUM_THREADS = 2


def graphs_of(directory: Path, precision: Precision) -> Path:
    """The graphs of a checkpoint, built once beside it."""
    cache = GraphCache(directory.with_name(f"{directory.name}-graphs"), 0, SystemClock())
    return cache.get(read_checkpoint(directory), precision)


def vocoder_session(directory: Path, precision: Precision) -> VocoderSession:
    checkpoint = read_checkpoint(directory)
    session = open_session(graphs_of(directory, precision) / VOCODER_GRAPH, NUM_THREADS)
    return VocoderSession(session, checkpoint.decoder, checkpoint.load_decoder()[WINDOW_NAME])


def language_model_session(
    directory: Path, precision: Precision, num_slots: int, *, in_blocks: bool
) -> LanguageModelSession:
    """Steps in blocks or not, whatever this processor prefers."""
    checkpoint = read_checkpoint(directory)
    shape, tensors = checkpoint.language_model, checkpoint.load_language_model()
    with TemporaryDirectory() as graphs, ThreadPoolExecutor(1) as pool:
        path = Path(graphs)
        LanguageModelGraph(shape, tensors, precision).save(path / LANGUAGE_MODEL_GRAPH)
        if in_blocks:
            graph = LanguageModelGraph(shape, tensors, precision, in_blocks=True)
            graph.save(path / DECODE_GRAPH)
        return open_language_model(pool, path, shape, num_slots, NUM_THREADS, NUM_THREADS // 2)
