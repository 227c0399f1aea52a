"""Text as Soprano was trained to read it, and the prompt that a sentence of it becomes.

The rules are in the modules beside this one; they give what the package soprano-tts gives, without
it. docs/text.md has their order and the few differences.
"""

from typing import Final

from app.adapters.speech.soprano.text_cleaning import clean_for_soprano
from app.adapters.speech.soprano.text_sentences import join_short_sentences, split_sentences
from app.domain.segment import TextSegment
from app.domain.text_splitting import is_speakable

PROMPT_START: Final = "[STOP][TEXT]"
PROMPT_END: Final = "[START]"


def split_for_soprano(text: str) -> list[TextSegment]:
    """The sentences of `text` that are sent to the model; none if there is nothing to pronounce."""
    if not is_speakable(text):
        return []
    sentences = join_short_sentences(split_sentences(clean_for_soprano(text)))
    return [TextSegment(index, sentence) for index, sentence in enumerate(sentences)]


def prompt_for(segment: TextSegment) -> str:
    """What the language model continues, in the model card's form."""
    return f"{PROMPT_START}{segment.text}{PROMPT_END}"
