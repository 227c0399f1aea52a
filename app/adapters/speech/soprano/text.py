"""Text as Soprano was trained to read it, and the prompt that a sentence of it becomes.

The rules are in the modules beside this one; they give what the package soprano-tts gives, without
it. docs/text.md has their order and the few differences.
"""

import traceback
from collections.abc import Callable
from typing import Final

import structlog

from app.adapters.speech.soprano.text_cleaning import clean_for_soprano
from app.adapters.speech.soprano.text_sentences import join_short_sentences, split_sentences
from app.adapters.speech.soprano.text_spelling import spell_out
from app.domain.segment import TextSegment
from app.domain.text_splitting import is_speakable

PROMPT_START: Final = "[STOP][TEXT]"
PROMPT_END: Final = "[START]"

_log = structlog.get_logger(__name__)


def split_for_soprano(text: str) -> list[TextSegment]:
    """The sentences of `text` that are sent to the model; none if there is nothing to pronounce."""
    if not is_speakable(text):
        return []
    return _segments(join_short_sentences(split_sentences(clean_for_soprano(text))))


def split_or_spell(
    text: str, split: Callable[[str], list[TextSegment]] = split_for_soprano
) -> list[TextSegment]:
    """What `split` gives; where it fails, whatever the error, `text` is spelled. Never raises."""
    try:
        return split(text)
    except Exception as error:  # noqa: BLE001 - a text is no reason to fail
        place = traceback.extract_tb(error.__traceback__)[-1]
        _log.warning(
            "soprano.text_spelled", error=type(error).__name__, place=f"{place.name}:{place.lineno}"
        )
        return _segments(spell_out(text))


def _segments(sentences: list[str]) -> list[TextSegment]:
    return [TextSegment(index, sentence) for index, sentence in enumerate(sentences)]


def prompt_for(segment: TextSegment) -> str:
    """What the language model continues, in the model card's form."""
    return f"{PROMPT_START}{segment.text}{PROMPT_END}"
