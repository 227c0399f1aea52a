"""Whether a quantity is the attribute of a noun: "a 5 km run" is "a five kilometer run"."""

import re
from typing import Final

_ARTICLE: Final = re.compile(r"(?<!\w)[Aa]n? \Z")
_NOUN: Final = re.compile(
    r" (?!(?:of|in|from|to|away|and|or|per|at|on|for|with|by|a|an|the|each|more|less|is|was|are"
    r"|were|than|as|if|but|ago|apart|below|above|under|over)\b)(?:[a-z]{2}|[A-Z]{2,5}\b)"
)


def is_before_noun(match: re.Match[str]) -> bool:
    """Whether "a" stands before the match and a noun behind it."""
    start = match.start()
    has_article = _ARTICLE.search(match.string, max(0, start - 4), start)
    return has_article is not None and _NOUN.match(match.string, match.end()) is not None
