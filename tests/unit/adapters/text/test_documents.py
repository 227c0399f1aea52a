import zipfile
from pathlib import Path

import pytest

from app.adapters.text.documents import UnreadableDocumentError, is_document, read_book
from app.domain.book import Book, Chapter
from tests.epub import write_epub

DOCUMENTS = {
    "one.xhtml": (
        "<h2>The Harbour</h2><p>It was <b>ca</b>lm.<a epub:type='noteref' href='#n'>1</a></p>"
        "<hr/><p>* * *</p><p>A boat<br/>came in.</p>"
    ),
    "two.xhtml": (
        "<h2>The Storm</h2><p>It rained.</p><h2 id='calm'>The Calm</h2>"
        "<div>Then<p>it was &amp; is quiet.</p></div><ul><li>One</li><li>Two</li></ul>"
    ),
}
CONTENTS = [
    ("I. The Harbour", "one.xhtml"),
    ("II. The Storm", "two.xhtml"),
    ("III. The Calm", "two.xhtml#calm"),
]
CHAPTERS = (
    Chapter("I. The Harbour", ("The Harbour", "It was calm.", "A boat\ncame in.")),
    Chapter("II. The Storm", ("The Storm", "It rained.")),
    Chapter("III. The Calm", ("The Calm", "Then", "it was & is quiet.", "One", "Two")),
)


@pytest.mark.parametrize("is_old", [False, True])
def test_an_epub_has_the_chapters_of_its_table_of_contents(tmp_path: Path, *, is_old: bool) -> None:
    path = write_epub(tmp_path / "a.epub", DOCUMENTS, CONTENTS, is_old=is_old, cover=b"a picture")
    assert read_book([path]) == Book(
        title="The Calm Sea", author="A. Writer", cover=b"a picture", chapters=CHAPTERS
    )


def test_an_epub_without_a_table_of_contents_is_divided_by_its_headings(tmp_path: Path) -> None:
    path = write_epub(tmp_path / "a.epub", DOCUMENTS, [])
    titles = [chapter.title for chapter in read_book([path]).chapters]
    assert titles == ["The Harbour", "The Storm", "The Calm"]


def test_what_is_before_the_first_chapter_is_spoken(tmp_path: Path) -> None:
    documents = {"front.xhtml": "<p>For Ann.</p>", **DOCUMENTS}
    book = read_book([write_epub(tmp_path / "a.epub", documents, CONTENTS)])
    assert book.chapters == (Chapter("The Calm Sea", ("For Ann.",)), *CHAPTERS)


@pytest.mark.parametrize(
    ("name", "text", "chapters"),
    [
        (
            "a.md",
            "# A Book\n\nFor *Ann*.\n\n## First\n\n- one\n\n```py\nx = 1\n```\n\n## Second\n\nEnd.",
            (
                Chapter("A Book", ("A Book", "For Ann.")),
                Chapter("First", ("First", "one", "x = 1")),
                Chapter("Second", ("Second", "End.")),
            ),
        ),
        (
            "a.html",
            "<title>Page</title><script>no</script><p>Hello<p>World.<h1>Next</h1>Text",
            (Chapter("Page", ("Hello", "World.")), Chapter("Next", ("Next", "Text"))),
        ),
        (
            "a.txt",
            "\ufeffChapter I.\r\n\r\nIt was a long,\r\nlong day.\r\n\r\nPART TWO\r\n\r\nDark.",
            (
                Chapter("Chapter I.", ("Chapter I.", "It was a long, long day.")),
                Chapter("PART TWO", ("PART TWO", "Dark.")),
            ),
        ),
        ("a.txt", "Only this.", (Chapter("a", ("Only this.",)),)),
    ],
)
def test_other_documents_are_divided_by_their_headings(
    tmp_path: Path, name: str, text: str, chapters: tuple[Chapter, ...]
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert read_book([path]).chapters == chapters


def test_the_files_of_a_directory_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        (tmp_path / f"part {number}.txt").write_text(f"Text {number}.")
    (tmp_path / "picture.png").write_bytes(b"")
    book = read_book([tmp_path])
    assert book.title == tmp_path.stem
    assert [chapter.title for chapter in book.chapters] == ["part 1", "part 9", "part 10"]


def test_what_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.TXT").write_text("x")
    (tmp_path / "a.png").write_text("x")
    assert is_document(tmp_path)
    assert is_document(tmp_path / "a.TXT")
    assert not is_document(tmp_path / "a.png")
    assert not is_document(tmp_path / "b.txt")


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty.epub"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
    locked = write_epub(
        tmp_path / "locked.epub", DOCUMENTS, CONTENTS, encrypted="OEBPS/text/one.xhtml"
    )
    for path, problem in (
        (written(tmp_path / "no.epub", b"PK\3\4 no"), "no EPUB, or damaged"),
        (empty, "no EPUB, or damaged"),
        (locked, "encrypted"),
        (written(tmp_path / "a.txt", b"\xff\xfe"), "not UTF-8"),
        (written(tmp_path / "b.txt", b" \n"), "has no text"),
        (tmp_path / "c.txt", "No such file"),
        (tmp_path / "c.pdf", ".epub, .html"),
    ):
        with pytest.raises(UnreadableDocumentError, match=problem):
            read_book([path])
