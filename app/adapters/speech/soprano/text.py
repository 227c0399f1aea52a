"""Text as Soprano was trained to read it: the package's own cleaning, splitting and merging."""

import re
from typing import Final

import structlog

from app.adapters.speech.sentences import find_sentences
from app.domain.segment import TextSegment
from app.domain.text_splitting import clean_text, is_speakable, split_text

MAX_SEGMENT_CHARS: Final = 300
"""Longest sentence the package sends to the model."""

MAX_WORD_LETTERS: Final = 60
"""The package's splitter steps back through a longer word letter by letter."""

MAX_NUMBER_DIGITS: Final = 30
"""The package cannot spell out longer numbers; they are read digit by digit."""

_LONG_NUMBER: Final = re.compile(rf"\d[\d,]{{{MAX_NUMBER_DIGITS},}}")
_LONG_WORD: Final = re.compile(rf"(\S{{{MAX_WORD_LETTERS}}})(?=\S)")

_log = structlog.get_logger(__name__)


def split_for_soprano(text: str) -> list[TextSegment]:
    """The sentences that the package would send to the model for `text`.

    Where the package's cleaning fails on a text, its plain sentences are taken instead.
    """
    if not is_speakable(text):
        return []
    text = _LONG_NUMBER.sub(lambda run: " ".join(run[0].replace(",", "")), clean_text(text))
    text = _LONG_WORD.sub(r"\1 ", text)
    try:
        sentences = _preprocess(text)
    except Exception as error:  # noqa: BLE001 - whatever it raises, the text is spoken
        _log.warning("soprano.text_not_cleaned", error=type(error).__name__)
        return split_text(text, MAX_SEGMENT_CHARS, find_sentences)
    return [TextSegment(index, sentence) for index, sentence in enumerate(sentences)]


def _preprocess(text: str) -> list[str]:
    from soprano.tts import SopranoTTS

    # The method reads nothing of its object; making one would load another model.
    prompts = SopranoTTS._preprocess_text(None, [text])  # noqa: SLF001
    texts = (prompt.removeprefix(PROMPT_START).removesuffix(PROMPT_END) for prompt, *_ in prompts)
    return [text for text in texts if text.strip()]


PROMPT_START: Final = "[STOP][TEXT]"
PROMPT_END: Final = "[START]"


def prompt_for(segment: TextSegment) -> str:
    """What the language model continues, in the model card's form."""
    return f"{PROMPT_START}{segment.text}{PROMPT_END}"
