"""Where English sentences end, by a rule-based segmenter that knows abbreviations and quotes."""

from collections.abc import Iterable


def find_sentences(paragraph: str) -> Iterable[str]:
    """The sentences of a paragraph; joined they are the paragraph."""
    import sentencex

    sentences: list[str] = sentencex.segment("en", paragraph)
    return sentences
