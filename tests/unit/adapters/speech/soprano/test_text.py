"""What is sent to the model is what the package would send."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.speech.soprano.text import prompt_for, split_for_soprano

TEXTS = (
    "Hello there.",
    "Dr. Smith paid $3.50 for 12 apples on Jan. 5th, 2024, at 7:30 pm.",
    "One. Two. Three. Four. Five.",
    "A short one. And then a sentence that is long enough to stand on its own.",
    "A sentence that is long enough to stand on its own. Short.",
    "It cost 1,234,567 dollars; 50% of that went to the U.S. government.",
    "See https://example.com/path?q=1 or write to someone@example.com.",
    'He said "Stop! Now." and left. "Why?" she asked.',
    "Temperatures of -5°C to 40°C, 3 km away, in the 21st century.",
    "The 1st, 2nd, 3rd and 100th. 3/4 of them. 10-12 people.",
    "Call 555-123-4567 & ask for #42 @ noon, i.e. 12:00.",
    "Café naïve résumé, Zoë and Çelik. Ünïcödé tëxt.",
    "“Curly quotes” and ‘single ones’ — and a dash… and an ellipsis.",
    "First line\nSecond line\n\nA new paragraph follows here.",
    "What?! No way... Really?",
    "word " * 120,
    "A very long sentence, with many commas, " * 12 + "and an end.",
    "MixedCase WORDS and iPhones, e.g. the NASA HQ.",
)


def package_prompts(text: str) -> list[str]:
    from soprano.tts import SopranoTTS

    return [prompt for prompt, *_ in SopranoTTS._preprocess_text(None, [text])]


@pytest.mark.parametrize("text", TEXTS)
def test_the_prompts_are_the_packages(text: str) -> None:
    assert [prompt_for(segment) for segment in split_for_soprano(text)] == package_prompts(text)


WORDS = st.from_regex(r"[A-Za-z]{1,14}", fullmatch=True)
SENTENCES = st.lists(WORDS, min_size=1, max_size=30).map(" ".join)
PROSE = st.lists(
    st.tuples(SENTENCES, st.sampled_from([".", "!", "?", ",", ";"])), min_size=1, max_size=8
)


@settings(max_examples=200, deadline=None)
@given(PROSE)
def test_the_prompts_are_the_packages_for_plain_prose(prose: list[tuple[str, str]]) -> None:
    text = " ".join(sentence + mark for sentence, mark in prose)
    assert [prompt_for(segment) for segment in split_for_soprano(text)] == package_prompts(text)


@pytest.mark.parametrize("text", ["1" * 300, "9," * 200])
def test_a_number_the_package_cannot_read_is_read_digit_by_digit(text: str) -> None:
    """The package raises an error on it."""
    segments = split_for_soprano(text)
    assert " ".join(segment.text for segment in segments).split()[:3] in (
        ["one", "one", "one"],
        ["nine", "nine", "nine"],
    )


def test_prompt_marks_in_a_text_are_words() -> None:
    (segment,) = split_for_soprano("[START] and [STOP] and [TEXT] are words here.")
    assert "[" not in segment.text
    assert "start" in segment.text
