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
    """What a choice depends on."""

    has_cuda: bool  # an NVIDIA driver is there
    has_mps: bool  # this is a Mac with Apple's processor
    has_soprano: bool  # torch, transformers and the package soprano-tts are installed
    has_lmdeploy: bool  # so is lmdeploy
    has_weights: bool  # a checkpoint is on disk, or was named and may be fetched


class Skipped(msgspec.Struct, frozen=True):
    """A backend that was preferred and does not serve, and why."""

    backend: str
    reason: str


class Choice(msgspec.Struct, frozen=True):
    """The backend that serves, and the better ones that do not."""

    backend: str
    skipped: tuple[Skipped, ...] = ()


def choose_backend(asked: str, surroundings: Surroundings) -> Choice:
    """The backend to serve with, "auto" or by name; raises ModelLoadError if it cannot run here."""
    if asked != "auto":
        reason = why_not(asked, surroundings)
        if reason is not None:
            raise ModelLoadError(f"The backend {asked} cannot run here: {reason}.")
        return Choice(asked)
    has_gpu = surroundings.has_cuda or surroundings.has_mps
    skipped: list[Skipped] = []
    for backend in BACKENDS:
        reason = why_not(backend, surroundings)
        if reason is None and backend == "transformers" and not has_gpu:
            reason = "there is no GPU, and on a CPU onnx is several times as fast"
        if reason is None:
            break
        skipped.append(Skipped(backend, reason))
    return Choice(BACKENDS[len(skipped)], tuple(skipped))


def why_not(backend: str, surroundings: Surroundings) -> str | None:
    """Why a backend cannot run in these surroundings, or None if it can."""
    if backend == "lmdeploy":
        missing = []
        if not surroundings.has_cuda:
            missing.append("there is no CUDA device")
        if not surroundings.has_lmdeploy:
            missing.append("lmdeploy is not installed (pip install 'soprano-tts-api[lmdeploy]')")
        if missing:
            return " and ".join(missing)
    if backend == "transformers" and not surroundings.has_soprano:
        return "soprano-tts is not installed (pip install 'soprano-tts-api[soprano]')"
    needs_weights = backend in ("lmdeploy", "transformers", "onnx")
    return HOW_TO_GET_WEIGHTS if needs_weights and not surroundings.has_weights else None
