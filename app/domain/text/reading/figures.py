"""Patterns for numbers in figures.

`re` skips quickly to the place where a match may begin if the pattern begins with a set of
characters; a look-behind in front of it is tried at every character instead. So what must not
stand before a number is checked after its first figure.
"""

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Final

NUMBER: Final = r"(?:[0-9]{1,3}(?:,[0-9]{3})++(?:\.[0-9]++)?|[0-9]++(?:\.[0-9]++)?|\.[0-9]++)"


def not_after(chars: str) -> str:
    """After the first character of a pattern: no letter, figure or one of `chars` before that."""
    return rf"(?<![\w{chars}].)"


def number(condition: str) -> str:
    """NUMBER, with a `condition` on what stands before it, such as `not_after`."""
    return (
        rf"[.0-9]{condition}(?:(?<=\.)[0-9]++|(?<=[0-9])"
        r"(?:[0-9]{0,2}(?:,[0-9]{3})++(?:\.[0-9]++)?|[0-9]*+(?:\.[0-9]++)?))"
    )


def any_of(words: Iterable[str], *, first: str = "{}") -> str:
    """A pattern for one of `words`, the longest that fits; it checks the first character first.

    With `first="(?<={})"` that character was matched before.
    """
    by_first = groupby(sorted(words, key=lambda word: (word[0], -len(word))), lambda word: word[0])
    branches = [first.format(re.escape(char)) + _rest(words) for char, words in by_first]
    return f"(?:{'|'.join(branches)})"


def _rest(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(re.escape(word[1:]) for word in words)})"
