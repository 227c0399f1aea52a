"""A piece of text that the model speaks in one go."""

import msgspec

from app.domain.errors import InvalidRequestError


class TextSegment(msgspec.Struct, frozen=True):
    """A sentence or part of one: `index` counts from 0 within its text, `text` is not blank."""

    index: int
    text: str

    def __post_init__(self) -> None:
        if self.index < 0 or not self.text.strip():
            raise InvalidRequestError("A text segment has an index from 0 on and some text.")
