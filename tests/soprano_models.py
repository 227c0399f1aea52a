"""Soprano models over checkpoints of our own, on both backends."""

from pathlib import Path
from typing import Any

from app.adapters.clock import SystemClock
from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint, read_checkpoint
from app.adapters.speech.soprano.engine import Engine, Sampling
from app.adapters.speech.soprano.model import SopranoModel
from app.adapters.speech.soprano.onnx.engine import OnnxEngine
from app.adapters.speech.soprano.onnx.graph import Precision
from app.adapters.speech.soprano.onnx.graph_cache import GraphCache
from app.adapters.speech.soprano.onnx.sessions import open_sessions
from app.adapters.speech.soprano.torch.engine import load_torch_engine
from app.adapters.speech.soprano.torch.lmdeploy import LmdeployLanguageModel
from app.adapters.speech.soprano.torch.transformers import load_transformers
from tests.fakes.speech_observer import FakeSpeechObserver

STANDINS = Path(__file__).parent / "standins"
"""To be put on the module path by tests of lmdeploy."""


def build_soprano(
    backend: str, directory: Path, max_regenerations: int = 1, **sampling: Any
) -> SopranoModel:
    """A model on the CPU; `lmdeploy` is its stand-in, `onnx int8` a precision."""

    def load_engine(checkpoint: Checkpoint) -> Engine:
        if backend.startswith("onnx"):
            return build_onnx_engine(checkpoint, "int8" if "int8" in backend else "fp32")
        load = load_lmdeploy if backend == "lmdeploy" else load_transformers
        return load_torch_engine(checkpoint, "cpu", 0, load)

    return SopranoModel(
        model_id="tiny",
        backend=backend,
        find_checkpoint=lambda: read_checkpoint(directory),
        load_engine=load_engine,
        sampling=Sampling(**sampling),
        max_regenerations=max_regenerations,
        num_streams=16,
        observer=FakeSpeechObserver(),
    )


def build_onnx_engine(
    checkpoint: Checkpoint, precision: Precision = "fp32", max_sentences: int = 16
) -> OnnxEngine:
    """One that runs, with its graphs beside the checkpoint's directory."""
    clock = SystemClock()
    graphs = checkpoint.directory.with_name(f"{checkpoint.directory.name}-graphs")
    cache = GraphCache(graphs, max_bytes=0, clock=clock)
    engine = OnnxEngine(open_sessions(checkpoint, precision, max_sentences, 2, cache), clock)
    engine.start()
    return engine


def load_lmdeploy(directory: Path, _device: str) -> LmdeployLanguageModel:
    """Over the stand-in."""
    return LmdeployLanguageModel(load_standin(directory))


def load_standin(directory: Path) -> Any:
    """The stand-in's pipeline; STANDINS must be on the module path."""
    import lmdeploy

    assert STANDINS in Path(str(lmdeploy.__file__)).parents
    return lmdeploy.pipeline(str(directory))
