"""The port to the pronunciations that the operator of the server has set."""

from typing import Protocol

from app.domain.text.pronunciations import Pronunciations


class LexiconSource(Protocol):
    """Knows how some words are said."""

    @property
    def pronunciations(self) -> Pronunciations:
        """As they are now; they may change while the server runs."""
        ...
