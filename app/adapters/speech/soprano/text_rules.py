"""A text rewritten by rules, one after the other; knows no rule itself."""

import re
from collections.abc import Callable, Iterable

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]
"""What is rewritten, and what it becomes."""


def apply_rules(text: str, rules: Iterable[Rule]) -> str:
    """Every match of every rule rewritten; a rule sees what the rules before it have written."""
    for pattern, reading in rules:
        text = pattern.sub(reading, text)
    return text
