"""The names that callers may give to kept audio. Pure.

A caller chooses the stem only; number and extension come from the store. What is not on the short
list of characters is refused, never mended: a mended name would be another file's.
"""

import re
from typing import Final

from app.domain.audio import AudioFormat
from app.domain.errors import InvalidFileNameError

STEM: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Start of a name; ASCII only, so that no two names look alike."""

DEFAULT_STEM: Final = "speech"


def choose_stem(file_name: str | None, audio_format: AudioFormat) -> str:
    """The stem that a caller means by a stem, one with the extension of `audio_format`, or None.

    Raises:
        InvalidFileNameError: any other character, extension or length.
    """
    if file_name is None:
        return DEFAULT_STEM
    stem = file_name.removesuffix(f".{audio_format}")
    if not STEM.fullmatch(stem):
        raise InvalidFileNameError(
            "A file name has letters, digits, '-' and '_', at most 64 of them; its extension may "
            f"follow, which is '.{audio_format}' here."
        )
    return stem
