"""The sentences that are spoken."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

from app.adapters.speech.soprano.text import prompt_for, split_for_soprano
from app.domain.text.front_end import segment_text
from app.entrypoints.cli.bench.texts import MAX_CHARS, MIN_CHARS, iterate_sentences

NUM = 5_000
"""More than a contestant is asked for in a run."""


def test_sentences_differ_and_have_the_length_they_should() -> None:
    sentences = list(islice(iterate_sentences(), NUM))
    assert len(set(sentences)) == NUM
    assert all(MIN_CHARS <= len(sentence) <= MAX_CHARS for sentence in sentences)


def test_they_are_the_same_every_time() -> None:
    assert list(islice(iterate_sentences(), 9)) == list(islice(iterate_sentences(), 9))


def test_none_is_joined_or_split_or_changed_in_length() -> None:
    sentences = list(islice(iterate_sentences(), 40))
    segments = segment_text(" ".join(sentences), split_for_soprano)
    assert [len(segment.text) for segment in segments] == [len(one) for one in sentences]


def test_their_prompts_have_about_55_tokens(make_checkpoint: Callable[..., Path]) -> None:
    tokenizer = Tokenizer.from_file(str(make_checkpoint() / "tokenizer.json"))
    segments = segment_text(" ".join(islice(iterate_sentences(), 40)), split_for_soprano)
    counts = [len(tokenizer.encode(prompt_for(segment)).ids) for segment in segments]
    assert min(counts) >= 45
    assert max(counts) <= 60
