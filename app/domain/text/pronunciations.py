"""Words that are said in another way than they are written, by a respelling in plain letters."""

import re
from functools import lru_cache
from typing import Final

import msgspec

from app.domain.errors import InvalidPronunciationError
from app.domain.text.mapped_text import MappedText

MAX_WORD_CHARS: Final = 100
MAX_RESPELLING_CHARS: Final = 200

_RESPELLING: Final = re.compile(r"[A-Za-z]+(?:[ '-][A-Za-z]+)*")


class Pronunciations(msgspec.Struct, frozen=True):
    """Respellings of whole words; raises InvalidPronunciationError.

    A word in small letters is meant in any case; one with a capital only as it is written.
    """

    respellings: dict[str, str] = {}  # word to letters, spaces, hyphens and apostrophes

    def __post_init__(self) -> None:
        for word, respelling in self.respellings.items():
            check_pronunciation(word, respelling)

    def merged(self, other: "Pronunciations") -> "Pronunciations":
        """These and `other`; where both have a word, `other` counts."""
        if not other.respellings:
            return self
        return Pronunciations({**self.respellings, **other.respellings})

    def apply(self, text: MappedText) -> MappedText:
        """`text` with the respellings in the place of the words."""
        known = self.respellings
        if not known:
            return text
        pattern = _any_of(frozenset(known))
        return text.sub(pattern, lambda word: known.get(word[0]) or known.get(word[0].lower()))


@lru_cache(maxsize=64)
def _any_of(words: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    alternatives = "|".join(re.escape(word) for word in longest_first)
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)


def check_pronunciation(word: str, respelling: str) -> None:
    """Return if the two can be a word and its respelling; raises InvalidPronunciationError."""
    if not word.strip() or word != word.strip() or len(word) > MAX_WORD_CHARS:
        raise InvalidPronunciationError(
            f"{word[:MAX_WORD_CHARS]!r} is no word: it has 1 to {MAX_WORD_CHARS} characters,"
            " without white space at either end."
        )
    if len(respelling) > MAX_RESPELLING_CHARS or not _RESPELLING.fullmatch(respelling):
        raise InvalidPronunciationError(
            f"The pronunciation of {word!r} must be letters a to z, spaces, hyphens and apostrophes"
            f" (at most {MAX_RESPELLING_CHARS})."
        )
