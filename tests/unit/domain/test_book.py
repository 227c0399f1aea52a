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


def test_a_paragraph_beyond_the_limit_is_cut_at_a_sentence_else_at_a_space() -> None:
    long = "One two. Three four five. Six seven eight nine"
    parts = list(split_parts(book(("a", long, "b")), max_chars=12))
    assert [part.text for part in parts] == [
        "a\n\nOne two.", "Three four", "five.", "Six seven", "eight nine\n\nb"
    ]  # fmt: skip
    parts = list(split_parts(book(("x" * 30,)), max_chars=12))
    assert "".join(part.text for part in parts) == "x" * 30


@settings(max_examples=examples(100))
@given(
    st.lists(st.lists(st.text("ab. ", min_size=1, max_size=30), max_size=9).map(tuple), max_size=5),
    st.integers(1, 20),
)
def test_no_word_is_lost_and_parts_are_as_long_as_they_may_be(
    chapters: list[tuple[str, ...]], max_chars: int
) -> None:
    parts = list(split_parts(book(*chapters), max_chars))
    for index, paragraphs in enumerate(chapters):
        texts = [part.text for part in parts if part.chapter == index]
        letters = "".join("".join(text.split()) for text in texts)
        assert letters == "".join("".join(each.split()) for each in paragraphs)
        assert all(len(text.replace("\n\n", "")) <= max_chars for text in texts)


def test_a_mark_spans_the_parts_of_its_chapter() -> None:
    one = book(("aaaa", "bbbb"), (), ("c",))
    parts = list(split_parts(one, max_chars=4))
    assert chapter_marks(one, parts, [1.0, 2.5, 0.5]) == [
        ChapterMark("Chapter 1", 0.0, 3.5),
        ChapterMark("Chapter 3", 3.5, 4.0),
    ]
