"""A text rewritten from another, whose characters know where in the original they come from.

Knows nothing of what is rewritten, or why.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, Self

Span = tuple[int, int]
"""Where in a text something begins and ends."""

Rewrite = Callable[[re.Match[str]], str | Span | None]
"""What a match becomes: another text, a part of the text by its span, or (None) what it is."""

Rule = tuple[re.Pattern[str], Rewrite | str]
"""What is rewritten, and what it becomes: a constant or a function of the match."""


class MappedText:
    """`text`, and for each of its characters the span of the original that it stands for.

    Attributes:
        text: the rewritten text.
        spans: of each character; their starts ascend, and so do their ends. A character that was
            inserted has an empty one.
    """

    __slots__ = ("spans", "text")

    def __init__(self, text: str, spans: list[Span]) -> None:
        self.text: Final = text
        self.spans: Final = spans

    @classmethod
    def of(cls, original: str) -> Self:
        """`original` itself."""
        return cls(original, list(zip(range(len(original)), range(1, len(original) + 1))))

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, part: slice) -> "MappedText":
        return MappedText(self.text[part], self.spans[part])

    @staticmethod
    def join(parts: "Iterable[MappedText]", separator: str = "") -> "MappedText":
        """All parts, which come from the same original in this order, one behind the other."""
        texts: list[str] = []
        spans: list[Span] = []
        for part in parts:
            if spans and separator:
                end = spans[-1][1]
                texts.append(separator)
                spans += [(end, end)] * len(separator)
            texts.append(part.text)
            spans += part.spans
        return MappedText("".join(texts), spans)

    def strip(self) -> "MappedText":
        """Without white space at both ends."""
        stripped = self.text.strip()
        if len(stripped) == len(self.text):
            return self
        start = len(self.text) - len(self.text.lstrip())
        return self[start : start + len(stripped)]

    def apply(self, rules: Iterable[Rule]) -> "MappedText":
        """Every match of every rule rewritten; a rule sees what the rules before have written."""
        mapped = self
        for pattern, rewrite in rules:
            mapped = mapped.sub(pattern, rewrite)
        return mapped

    def sub(self, pattern: re.Pattern[str], rewrite: Rewrite | str) -> "MappedText":
        """Every match of `pattern` rewritten.

        What is as long as before keeps its spans; else all of it stands for all of the match.
        """
        text, last = self.text, 0
        texts: list[str] = []
        spans: list[Span] = []
        for match in pattern.finditer(text):
            new = rewrite if isinstance(rewrite, str) else rewrite(match)
            if new is None or new == match[0]:
                continue
            start, end = match.span()
            if last < start:
                texts.append(text[last:start])
                spans += self.spans[last:start]
            if isinstance(new, tuple):
                kept = slice(*new)
                texts.append(text[kept])
                spans += self.spans[kept]
            else:
                texts.append(new)
                is_as_long = len(new) == end - start
                spans += self.spans[start:end] if is_as_long else [self._span(start, end)] * len(new)
            last = end
        if not last:
            return self
        texts.append(text[last:])
        spans += self.spans[last:]
        return MappedText("".join(texts), spans)

    def _span(self, start: int, end: int) -> Span:
        """What the characters from `start` to `end` stand for, without what others stand for."""
        spans = self.spans
        before = spans[start - 1][1] if start else 0
        after = spans[end][0] if end < len(spans) else spans[-1][1] if spans else 0
        if after < before:  # both are of one rewritten match, and so is what lies between
            return after, before
        if start == end:
            return before, before
        span_start = max(before, spans[start][0])
        return span_start, max(span_start, min(after, spans[end - 1][1]))
