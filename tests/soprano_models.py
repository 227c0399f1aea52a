"""Soprano models over checkpoints of our own, on both backends."""

from pathlib import Path
from typing import Any

from app.adapters.speech.soprano.checkpoint import read_checkpoint
from app.adapters.speech.soprano.language_model import SopranoLanguageModel
from app.adapters.speech.soprano.lmdeploy_model import LmdeployLanguageModel
from app.adapters.speech.soprano.model import SopranoModel
from app.adapters.speech.soprano.sampling import Sampling
from app.adapters.speech.soprano.transformers_model import TransformersLanguageModel
from tests.fakes.speech_observer import FakeSpeechObserver

STANDINS = Path(__file__).parent / "standins"
"""To be put on the module path by tests of lmdeploy."""


def build_soprano(
    backend: str, directory: Path, max_regenerations: int = 1, **sampling: Any
) -> SopranoModel:
    """A model on the CPU; `lmdeploy` is its stand-in."""

    def build_language_model(_: object, device: str) -> SopranoLanguageModel:
        if backend == "lmdeploy":
            return LmdeployLanguageModel(directory, Sampling(**sampling), load_standin)
        return TransformersLanguageModel(directory, device, Sampling(**sampling))

    return SopranoModel(
        model_id="tiny",
        backend=backend,
        find_checkpoint=lambda: read_checkpoint(directory),
        find_device=lambda: "cpu",
        build_language_model=build_language_model,
        max_regenerations=max_regenerations,
        observer=FakeSpeechObserver(),
    )


def load_standin(directory: Path) -> Any:
    """The stand-in's pipeline; STANDINS must be on the module path."""
    import lmdeploy

    assert STANDINS in Path(str(lmdeploy.__file__)).parents
    return lmdeploy.pipeline(str(directory))
