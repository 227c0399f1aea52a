"""Which backend serves, and why. Pure: the surroundings come in as facts."""

from typing import Final, Literal

import msgspec

from app.domain.errors import ModelLoadError

Backend = Literal["lmdeploy", "transformers", "onnx", "embedded"]
BACKENDS: Final[tuple[Backend, ...]] = ("lmdeploy", "transformers", "onnx", "embedded")
"""Best first: the order in which `auto` tries them. Others must be asked for by name."""

HOW_TO_GET_WEIGHTS: Final = (
    "Soprano's weights are not on this machine (`soprano-api models pull`, or name them: --model)"
)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a choice depends on.

    Attributes:
        has_cuda: an NVIDIA driver is there.
        has_mps: this is a Mac with Apple's processor.
        has_soprano: torch, transformers and the package soprano-tts are installed.
        has_lmdeploy: so is lmdeploy.
        has_weights: a checkpoint is on disk, or was named and may be fetched.
    """

    has_cuda: bool
    has_mps: bool
    has_soprano: bool
    has_lmdeploy: bool
    has_weights: bool


class StepDown(msgspec.Struct, frozen=True):
    """A backend that was not taken, and why."""

    backend: Backend
    reason: str


class Choice(msgspec.Struct, frozen=True):
    """The backend that serves, and the better ones that do not."""

    backend: str
    steps_down: tuple[StepDown, ...] = ()


def choose_backend(asked: str, surroundings: Surroundings) -> Choice:
    """The backend to serve with.

    Args:
        asked: a backend by name, or "auto".
        surroundings: of the machine.

    Raises:
        ModelLoadError: the backend asked for cannot run here.
    """
    if asked != "auto":
        return _take_named(asked, surroundings)
    steps_down: list[StepDown] = []
    for backend in BACKENDS:
        reason = why_not(backend, surroundings) or _why_not_best(backend, surroundings)
        if reason is None:
            break
        steps_down.append(StepDown(backend, reason))
    return Choice(BACKENDS[len(steps_down)], tuple(steps_down))


def _take_named(asked: str, surroundings: Surroundings) -> Choice:
    for backend in BACKENDS:
        if backend == asked and (reason := why_not(backend, surroundings)):
            raise ModelLoadError(f"The backend {asked} cannot run here: {reason}.")
    return Choice(asked)


def why_not(backend: Backend, surroundings: Surroundings) -> str | None:
    """Why a backend cannot run in these surroundings, or None if it can."""
    match backend:
        case "lmdeploy":
            return _why_not_lmdeploy(surroundings)
        case "transformers":
            return _why_not_transformers(surroundings)
        case "onnx":
            return None if surroundings.has_weights else HOW_TO_GET_WEIGHTS
        case "embedded":
            return None


def _why_not_best(backend: Backend, surroundings: Surroundings) -> str | None:
    """Why a backend that can run is not the one to choose."""
    if backend == "transformers" and not (surroundings.has_cuda or surroundings.has_mps):
        return "there is no GPU, and on a CPU onnx is several times as fast"
    return None


def _why_not_lmdeploy(surroundings: Surroundings) -> str | None:
    missing = []
    if not surroundings.has_cuda:
        missing.append("there is no CUDA device")
    if not surroundings.has_lmdeploy:
        missing.append("lmdeploy is not installed (pip install 'soprano-tts-api[lmdeploy]')")
    if not missing and not surroundings.has_weights:
        missing.append(HOW_TO_GET_WEIGHTS)
    return " and ".join(missing) or None


def _why_not_transformers(surroundings: Surroundings) -> str | None:
    if not surroundings.has_soprano:
        return "soprano-tts is not installed (pip install 'soprano-tts-api[soprano]')"
    if not surroundings.has_weights:
        return HOW_TO_GET_WEIGHTS
    return None
