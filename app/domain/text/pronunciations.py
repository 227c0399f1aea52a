"""Words that are said in another way than they are written, by a respelling in plain letters."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from app.domain.errors import InvalidRequestError
from app.domain.text.mapped_text import MappedText

MAX_WORD_CHARS: Final = 100
MAX_RESPELLING_CHARS: Final = 200

_RESPELLING: Final = re.compile(r"[A-Za-z]+(?:[ '-][A-Za-z]+)*")


class Pronunciations:
    """Respellings of whole words.

    A word in small letters is meant in any case; one with a capital only as it is written.

    Args:
        respellings: word to letters, spaces, hyphens and apostrophes.

    Raises:
        InvalidRequestError: a word or its respelling cannot be one.
    """

    def __init__(self, respellings: Mapping[str, str] = {}) -> None:
        for word, respelling in respellings.items():
            check_pronunciation(word, respelling)
        self.respellings: Final = dict(respellings)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pronunciations) and self.respellings == other.respellings

    def __hash__(self) -> int:
        return hash(frozenset(self.respellings.items()))

    def merged(self, other: "Pronunciations") -> "Pronunciations":
        """These and `other`; where both have a word, `other` counts."""
        if not other.respellings:
            return self
        return Pronunciations({**self.respellings, **other.respellings})

    def apply(self, text: MappedText) -> MappedText:
        """`text` with the respellings in the place of the words."""
        return text.sub(self._pattern, self._respell) if self.respellings else text

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        words = sorted(self.respellings, key=len, reverse=True)
        any_case = "|".join(re.escape(word) for word in words)
        return re.compile(rf"(?<!\w)(?:{any_case})(?!\w)", re.IGNORECASE)

    def _respell(self, match: re.Match[str]) -> str | None:
        return self.respellings.get(match[0]) or self.respellings.get(match[0].lower())


def check_pronunciation(word: str, respelling: str) -> None:
    """Return if the two can be a word and its respelling; raises InvalidRequestError."""
    if not word.strip() or word != word.strip() or len(word) > MAX_WORD_CHARS:
        raise InvalidRequestError(
            f"{word[:MAX_WORD_CHARS]!r} is no word: it has 1 to {MAX_WORD_CHARS} characters and no"
            " space at its ends."
        )
    if len(respelling) > MAX_RESPELLING_CHARS or not _RESPELLING.fullmatch(respelling):
        raise InvalidRequestError(
            f"The pronunciation of {word!r} must be letters a to z, spaces, hyphens and apostrophes"
            f" (at most {MAX_RESPELLING_CHARS})."
        )
