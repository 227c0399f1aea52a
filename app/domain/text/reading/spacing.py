"""Spaces between the words of a rule and the letters that the match touched."""

import re


def touches_word(match: re.Match[str]) -> bool:
    """Whether a letter or a figure stands right before the match."""
    return match.start() > 0 and match.string[match.start() - 1].isalnum()


def apart(match: re.Match[str], words: str) -> str:
    """`words` with a space where the match has a letter or a figure right beside it."""
    text = match.string
    before = " " if touches_word(match) else ""
    after = " " if match.end() < len(text) and text[match.end()].isalnum() else ""
    return f"{before}{words}{after}"
