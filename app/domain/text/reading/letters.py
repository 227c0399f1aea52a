"""Letters that are named one by one: they are joined by a character that has no width or sound.

A voice that would read "US" as a word finds the joints; who only looks at the text does not.
"""

from typing import Final

JOINT: Final = "\u2060"
"""WORD JOINER."""


def spelled(letters: str) -> str:
    """Such as "USA" with a joint after each letter but the last."""
    return JOINT.join(letters)
