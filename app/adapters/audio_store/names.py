"""The names of the store's files, and which of them belong together. Touches no disk."""

import re
from typing import Final

from app.domain.audio import AudioFormat
from app.domain.errors import InvalidFileNameError
from app.domain.file_name import STEM

_NAME: Final = re.compile(
    rf"{STEM.pattern}_(?P<number>[0-9]{{6}}|[1-9][0-9]{{6,17}})\.(?:{'|'.join(AudioFormat)})"
)
_SIDECAR: Final = re.compile(rf"\.(?P<audio>{_NAME.pattern})\.captions")


def check_name(name: str) -> None:
    """Raises InvalidFileNameError for a name that no audio has."""
    if not is_audio(name):
        raise InvalidFileNameError


def is_audio(name: str) -> bool:
    """Whether the store could have given this name to audio."""
    return _NAME.fullmatch(name) is not None


def number_of(name: str) -> int:
    """The number in a name of audio; 0 of any other name."""
    match = _NAME.fullmatch(name)
    return int(match["number"]) if match else 0


def sidecar_of(name: str) -> str:
    """Where the captions of audio are: a hidden file, which no name of audio can reach."""
    return f".{name}.captions"


def audio_of(sidecar: str) -> str | None:
    """The audio that captions belong to; None if the name is not one of captions."""
    match = _SIDECAR.fullmatch(sidecar)
    return match["audio"] if match else None
