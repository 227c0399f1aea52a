"""Paragraphs of words in the sentences that Soprano is given, and the prompt that one becomes."""

from collections.abc import Sequence
from typing import Final

from app.adapters.speech.soprano.text_form import in_soprano_form
from app.adapters.speech.soprano.text_sentences import join_short_sentences, split_sentences
from app.domain.segment import TextSegment
from app.domain.text.mapped_text import MappedText

PROMPT_START: Final = "[STOP][TEXT]"
PROMPT_END: Final = "[START]"


def split_for_soprano(paragraphs: Sequence[MappedText]) -> list[MappedText]:
    """The sentences that are sent to the model; none if there is nothing to pronounce."""
    return join_short_sentences(
        sentence
        for paragraph in paragraphs
        for sentence in split_sentences(in_soprano_form(paragraph))
    )


def prompt_for(segment: TextSegment) -> str:
    """What the language model continues, in the model card's form."""
    return f"{PROMPT_START}{segment.text}{PROMPT_END}"
