"""A text rewritten from another, whose characters know where in the original they come from.

Knows nothing of what is rewritten, or why.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, Self

Rewrite = Callable[[re.Match[str]], str | tuple[int, int] | None]
"""What a match becomes: another text, a part of the text by its span, or (None) what it is."""

Rule = tuple[re.Pattern[str], Rewrite | str]
"""What is rewritten, and what it becomes: a constant or a function of the match."""


class MappedText:
    """`text`, and for each of its characters the span of the original that it stands for.

    Attributes:
        text: the rewritten text.
        starts: where in the original each character comes from, ascending; as long as `text`.
        ends: where that span ends, ascending; a character that was inserted has an empty span.
    """

    __slots__ = ("ends", "starts", "text")

    def __init__(self, text: str, starts: list[int], ends: list[int]) -> None:
        self.text: Final = text
        self.starts: Final = starts
        self.ends: Final = ends

    @classmethod
    def of(cls, original: str) -> Self:
        """`original` itself."""
        return cls(original, list(range(len(original))), list(range(1, len(original) + 1)))

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, part: slice) -> "MappedText":
        return MappedText(self.text[part], self.starts[part], self.ends[part])

    @staticmethod
    def join(parts: "Iterable[MappedText]", separator: str = "") -> "MappedText":
        """All parts, which come from the same original in this order, one behind the other."""
        texts: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        for part in parts:
            if starts and separator:
                texts.append(separator)
                starts += [ends[-1]] * len(separator)
                ends += [ends[-1]] * len(separator)
            texts.append(part.text)
            starts += part.starts
            ends += part.ends
        return MappedText("".join(texts), starts, ends)

    def strip(self) -> "MappedText":
        """Without white space at both ends."""
        start = len(self.text) - len(self.text.lstrip())
        return self[start : start + len(self.text.strip())]

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
        starts: list[int] = []
        ends: list[int] = []
        for match in pattern.finditer(text):
            new = rewrite if isinstance(rewrite, str) else rewrite(match)
            if new is None or new == match[0]:
                continue
            start, end = match.span()
            if isinstance(new, tuple):
                kept_part = slice(*new)
                texts += text[last:start], text[kept_part]
                starts += self.starts[last:start] + self.starts[kept_part]
                ends += self.ends[last:start] + self.ends[kept_part]
                last = end
                continue
            kept = end if len(new) == end - start else start
            texts += text[last:start], new
            starts += self.starts[last:kept]
            ends += self.ends[last:kept]
            if kept == start and new:
                span_start, span_end = self._span(start, end)
                starts += [span_start] * len(new)
                ends += [span_end] * len(new)
            last = end
        if not texts:
            return self
        texts.append(text[last:])
        starts += self.starts[last:]
        ends += self.ends[last:]
        return MappedText("".join(texts), starts, ends)

    def _span(self, start: int, end: int) -> tuple[int, int]:
        """What the characters from `start` to `end` stand for, without what others stand for."""
        before = self.ends[start - 1] if start else 0
        after = self.starts[end] if end < len(self.text) else self.ends[-1] if self.ends else 0
        if after < before:  # both are of one rewritten match, and so is what lies between
            return after, before
        span_start = max(before, self.starts[start]) if start < end else before
        span_end = min(after, self.ends[end - 1]) if start < end else before
        return span_start, max(span_start, span_end)
