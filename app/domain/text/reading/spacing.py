"""Spaces between the words of a rule and the letters that the match touched."""

import re


def apart(match: re.Match[str], words: str) -> str:
    """`words` with a space where the match has a letter or a figure right beside it."""
    text = match.string
    before = " " if match.start() and text[match.start() - 1].isalnum() else ""
    after = " " if match.end() < len(text) and text[match.end()].isalnum() else ""
    return f"{before}{words}{after}"
