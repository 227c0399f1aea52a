"""What all stores of finished audio have in common: names, owners, numbers and limits."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from app.domain.audio import STEM, AudioFormat
from app.domain.errors import InvalidFileNameError, StoreError
from app.domain.segment import Caption
from app.ports.audio_store import StoredAudio

MAX_NUMBER: Final = 10**18 - 1

# What belongs to no audio for so long will belong to none: its writer is gone.
LEFTOVER_MAX_AGE_S: Final = 3600.0

NAME: Final = re.compile(
    rf"{STEM.pattern}_(?P<number>[0-9]{{6}}|[1-9][0-9]{{6,17}})\.(?:{'|'.join(AudioFormat)})"
)

_HINT: Final = re.compile(rb"[0-9]{1,18}")
_OWNER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_OWNER_PREFIX: Final = "owner-"
_decoder: Final = msgspec.json.Decoder(tuple[Caption, ...])


class StoreLimits(msgspec.Struct, frozen=True):
    """What `clean_up` keeps; 0 means no limit."""

    max_files: int = 0  # how many files
    max_bytes: int = 0  # of all files together
    max_age_s: float = 0.0  # of each file, in seconds


def check_stem(stem: str) -> None:
    """Raises InvalidFileNameError for what no name can begin with."""
    if not STEM.fullmatch(stem):
        raise InvalidFileNameError


def check_name(name: str) -> None:
    """Raises InvalidFileNameError for a name that no audio has."""
    if not is_audio(name):
        raise InvalidFileNameError


def is_audio(name: str) -> bool:
    """Whether the store could have given this name to audio."""
    return NAME.fullmatch(name) is not None


def number_of(name: str) -> int:
    """The number in a name of audio; 0 of any other name."""
    match = NAME.fullmatch(name)
    return int(match["number"]) if match else 0


def last_number(hint: bytes) -> int | None:
    """The number last given, as it was written down; None if it is damaged or was lost."""
    return int(hint) if _HINT.fullmatch(hint) else None


def directory_of(owner: str) -> str:
    """Where the audio of an owner is; raises ValueError for what cannot be the name of one."""
    if not _OWNER.fullmatch(owner):
        raise ValueError(f"{owner!r} cannot be the name of an owner")
    return f"{_OWNER_PREFIX}{owner}"


def owner_of(directory: str) -> str | None:
    """Whose audio is there; None if it is not a directory of an owner."""
    owner = directory.removeprefix(_OWNER_PREFIX)
    return owner if owner != directory and _OWNER.fullmatch(owner) else None


def decode_captions(data: bytes) -> Sequence[Caption]:
    """What was stored beside audio; raises StoreError."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreError("The captions of a stored file are damaged.") from error


def find_surplus(
    files: Sequence[StoredAudio], limits: StoreLimits, now: datetime
) -> Sequence[StoredAudio]:
    """The fewest of the oldest files without which the limits hold."""
    oldest_first = sorted(files, key=lambda file: (file.created_at, number_of(file.name)))
    num_bytes = sum(file.num_bytes for file in files)
    for index, file in enumerate(oldest_first):
        age_s = (now - file.created_at).total_seconds()
        is_too_old = 0 < limits.max_age_s < age_s
        is_too_many = 0 < limits.max_files < len(files) - index
        if not (is_too_old or is_too_many or 0 < limits.max_bytes < num_bytes):
            return oldest_first[:index]
        num_bytes -= file.num_bytes
    return oldest_first
