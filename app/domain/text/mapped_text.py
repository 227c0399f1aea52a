"""A text rewritten from another, whose characters know where in the original they come from.

Knows nothing of what is rewritten, or why.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, Self

Span = tuple[int, int]  # where in a text something begins and ends

# What a match becomes: another text, a part of the text by its span, or (None) what it is.
Rewrite = Callable[[re.Match[str]], str | Span | None]
Rule = tuple[re.Pattern[str], Rewrite | str]  # what is rewritten, and what it becomes


def rule(pattern: str, rewrite: Rewrite | str) -> Rule:
    """The rule for `pattern`, compiled."""
    return re.compile(pattern), rewrite


_SHIFT: Final = 32
_END: Final = (1 << _SHIFT) - 1
_STEP: Final = (1 << _SHIFT) + 1  # from the span of a character of the original to the next one


class MappedText:
    """`text`, and for each of its characters the span of the original that it stands for.

    The starts of the spans ascend, and so do their ends. A character that was inserted has an empty
    one. Each is packed into one integer: a list of integers is copied quickly, and they are no work
    for the garbage collector.
    """

    __slots__ = ("packed", "text")

    def __init__(self, text: str, packed: list[int]) -> None:
        self.text: Final = text  # the rewritten text
        self.packed: Final = packed  # the span of each character: its start << _SHIFT | its end

    @classmethod
    def of(cls, original: str) -> Self:
        """`original` itself."""
        return cls(original, list(range(1, len(original) * _STEP + 1, _STEP)))

    def span(self) -> Span:
        """What all of it stands for; it has at least one character."""
        return self.packed[0] >> _SHIFT, self.packed[-1] & _END

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, part: slice) -> "MappedText":
        return MappedText(self.text[part], self.packed[part])

    @staticmethod
    def join(parts: "Iterable[MappedText]", separator: str = "") -> "MappedText":
        """All parts, which come from the same original in this order."""
        texts: list[str] = []
        packed: list[int] = []
        for part in parts:
            if texts and separator:
                end = packed[-1] & _END if packed else 0
                texts.append(separator)
                packed += [end << _SHIFT | end] * len(separator)
            texts.append(part.text)
            packed += part.packed
        return MappedText("".join(texts), packed)

    def split(self, separator: str) -> "list[MappedText]":
        """The parts between the separators, without white space at their ends."""
        parts: list[MappedText] = []
        start = 0
        for text in self.text.split(separator):
            parts.append(self[start : start + len(text)].strip())
            start += len(text) + len(separator)
        return parts

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
        text, own, last = self.text, self.packed, 0
        texts: list[str] = []
        packed: list[int] = []
        for match in pattern.finditer(text):
            new = rewrite if isinstance(rewrite, str) else rewrite(match)
            if new is None:
                continue
            start, end = match.span()
            if isinstance(new, tuple):
                kept = slice(*new)
                new, spans = text[kept], own[kept]
            elif new == match[0]:
                continue
            elif end - start == len(new):
                spans = own[start:end]
            else:
                spans = [self._cover(start, end)] * len(new)
            if last < start:
                texts.append(text[last:start])
                packed += own[last:start]
            texts.append(new)
            packed += spans
            last = end
        if not texts:
            return self
        texts.append(text[last:])
        packed += own[last:]
        return MappedText("".join(texts), packed)

    def _cover(self, start: int, end: int) -> int:
        """What the characters from `start` to `end` stand for, without what others stand for."""
        packed = self.packed
        if start < end and packed[start] == packed[end - 1]:  # of one character, or one match
            return packed[start]
        before = packed[start - 1] & _END if start else 0
        after = packed[end] >> _SHIFT if end < len(packed) else packed[-1] & _END if packed else 0
        if after < before:  # both are of one rewritten match, and so is what lies between
            return after << _SHIFT | before
        if start == end:
            return before << _SHIFT | before
        first, last = packed[start] >> _SHIFT, packed[end - 1] & _END
        # `max` and `min` would take half of the time.
        if first < before:  # noqa: PLR1730
            first = before
        if last > after:  # noqa: PLR1730
            last = after
        if last < first:  # noqa: PLR1730
            last = first
        return first << _SHIFT | last
