"""What the listeners ask for: texts of ordinary length, none of them twice."""

import random
from collections.abc import Iterator

WORDS = [
    "river", "stone", "garden", "window", "morning", "letter", "silver", "music", "winter",
    "bridge", "candle", "forest", "harbour", "island", "journey", "kitchen", "lantern", "meadow",
    "mountain", "ocean", "paper", "quiet", "road", "summer",
]  # fmt: skip


def texts(seed: int, max_sentences: int = 3) -> Iterator[str]:
    """One to `max_sentences` sentences of 6 to 12 words each, without end."""
    chance = random.Random(seed)
    number = 0
    while True:
        number += 1
        sentences = [
            " ".join(chance.choices(WORDS, k=chance.randint(6, 12))).capitalize()
            for _ in range(chance.randint(1, max_sentences))
        ]
        yield f"Number {number}. " + " ".join(f"The {sentence}." for sentence in sentences)
