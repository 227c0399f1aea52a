from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.book import Book, Chapter, ChapterMark, chapter_marks, split_parts
from tests.examples import examples


def book(*chapters: tuple[str, ...]) -> Book:
    named = (Chapter(f"Chapter {number}", each) for number, each in enumerate(chapters, start=1))
    return Book(title="A book", chapters=tuple(named))


def test_parts_are_whole_paragraphs_of_one_chapter() -> None:
    parts = list(split_parts(book(("aaaa", "bb", "cccc"), ("d",)), max_chars=6))
    assert [(part.chapter, part.text) for part in parts] == [
        (0, "aaaa\n\nbb"),
        (0, "cccc"),
        (1, "d"),
    ]


def test_a_paragraph_beyond_the_limit_is_a_part() -> None:
    parts = list(split_parts(book(("a", "b" * 20, "c")), max_chars=6))
    assert [part.text for part in parts] == ["a", "b" * 20, "c"]


@settings(max_examples=examples(100))
@given(
    st.lists(st.lists(st.text("ab", min_size=1, max_size=9), max_size=9).map(tuple), max_size=5),
    st.integers(1, 20),
)
def test_nothing_is_lost_and_parts_are_as_long_as_they_may_be(
    chapters: list[tuple[str, ...]], max_chars: int
) -> None:
    parts = list(split_parts(book(*chapters), max_chars))
    for index, paragraphs in enumerate(chapters):
        texts = [part.text.split("\n\n") for part in parts if part.chapter == index]
        assert tuple(each for text in texts for each in text) == paragraphs
        for text, following in pairwise(texts):
            assert len(text) == 1 or sum(map(len, text)) <= max_chars
            assert sum(map(len, text)) + len(following[0]) > max_chars


def test_a_mark_spans_the_parts_of_its_chapter() -> None:
    one = book(("aaaa", "bbbb"), (), ("c",))
    parts = list(split_parts(one, max_chars=4))
    assert chapter_marks(one, parts, [1.0, 2.5, 0.5]) == [
        ChapterMark("Chapter 1", 0.0, 3.5),
        ChapterMark("Chapter 3", 3.5, 4.0),
    ]
