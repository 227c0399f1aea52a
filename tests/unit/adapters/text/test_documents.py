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
    (tmp_path / "empty").mkdir()
    assert is_document(tmp_path)
    assert not is_document(tmp_path / "empty")
    assert is_document(tmp_path / "a.TXT")
    assert not is_document(tmp_path / "a.png")
    assert not is_document(tmp_path / "b.txt")


@pytest.mark.parametrize(
    ("html", "paragraphs"),
    [
        ("<html><head><title>T</title><body><h1>A</h1><p>plain", ("A", "plain")),
        (
            "<p>One <ruby>a<rt>b</ruby> two<p><ruby>c<rp>(<rt>d<rp>)</ruby> three<p>four",
            ("One a two", "c three", "four"),
        ),
        ("<table><tr><td>1<td>2<tr><td>3</table>", ("1", "2", "3")),
    ],
)
def test_tags_that_html_may_leave_out_lose_no_text(
    tmp_path: Path, html: str, paragraphs: tuple[str, ...]
) -> None:
    (chapter,) = read_book([written(tmp_path / "a.html", html.encode())]).chapters
    assert chapter.paragraphs == paragraphs


def test_a_text_without_empty_lines_has_a_paragraph_in_each_line(tmp_path: Path) -> None:
    text = b"Chapter 1\nIt was so.\nChapter 2\nAct now before it is late, they said!\n"
    chapters = read_book([written(tmp_path / "a.txt", text)]).chapters
    assert [chapter.title for chapter in chapters] == ["Chapter 1", "Chapter 2"]
    assert chapters[1].paragraphs == ("Chapter 2", "Act now before it is late, they said!")


def test_a_text_that_is_wrapped_without_empty_lines_is_one_paragraph(tmp_path: Path) -> None:
    text = b"The quick brown fox\njumps over the lazy\ndog and is gone.\n"
    (chapter,) = read_book([written(tmp_path / "a.txt", text)]).chapters
    assert chapter.paragraphs == ("The quick brown fox jumps over the lazy dog and is gone.",)


@pytest.mark.parametrize(
    "line",
    [
        "Chapter I The Cyclone", "Chapter 1 The Beginning", "BOOK FOURTH", "Chapter Twenty One",
        "CHAPTER SIXTY", "Part Twenty-Two: The End", "Chapter XIV.", "Epilogue",
    ],
)  # fmt: skip
def test_lines_that_are_headings(tmp_path: Path, line: str) -> None:
    text = f"{line}\n\nIt was so.\n".encode()
    (chapter,) = read_book([written(tmp_path / "a.txt", text)]).chapters
    assert chapter.title == line


def test_sentences_are_no_headings(tmp_path: Path) -> None:
    text = b"Book two tickets for me, please.\n\nPart of it is lost.\n\nCHAPTER XII. THE SEA\n\nx"
    chapters = read_book([written(tmp_path / "a.txt", text)]).chapters
    assert [chapter.title for chapter in chapters] == ["a", "CHAPTER XII. THE SEA"]


def test_the_front_matter_of_markdown_is_not_spoken(tmp_path: Path) -> None:
    text = b"---\ntitle: X\n---\n# Real\n\nText.\n"
    (chapter,) = read_book([written(tmp_path / "a.md", text)]).chapters
    assert chapter.paragraphs == ("Real", "Text.")
    broken = b"---\n\n# One\n\nIt was dark.\n\n---\n\nThe end.\n"
    (chapter,) = read_book([written(tmp_path / "a.md", broken)]).chapters
    assert chapter.paragraphs == ("One", "It was dark.", "The end.")


def rewrite(path: Path, changes: dict[str, bytes | None]) -> Path:
    """An archive with other files, or without those that are None."""
    with zipfile.ZipFile(path) as archive:
        content: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in (content | changes).items():
            if body is not None:
                archive.writestr(name, body)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"OEBPS/cover.jpg": None},
        {"OEBPS/nav.xhtml": None},
        {"OEBPS/nav.xhtml": b"<html><nav>&nbsp;</nav></html>"},
        {"OEBPS/nav.xhtml": b'<html><nav><a href="text/one.xhtml#gone">Gone</a></nav></html>'},
    ],
)
def test_a_book_can_do_without_a_cover_and_contents(
    tmp_path: Path, changes: dict[str, bytes | None]
) -> None:
    path = write_epub(tmp_path / "a.epub", DOCUMENTS, CONTENTS, cover=b"a picture")
    chapters = read_book([rewrite(path, changes)]).chapters
    assert sum(len(chapter.paragraphs) for chapter in chapters) == 10
    assert len(chapters) == 3


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1"])
def test_a_document_has_the_encoding_that_it_names(tmp_path: Path, encoding: str) -> None:
    path = write_epub(tmp_path / "a.epub", DOCUMENTS, [])
    text = f'<?xml version="1.0" encoding="{encoding}"?><html><body><p>Caf\xe9</p></body></html>'
    changes: dict[str, bytes | None] = {"OEBPS/text/one.xhtml": text.encode(encoding)}
    assert read_book([rewrite(path, changes)]).chapters[0].paragraphs[0] == "Caf\xe9"


def test_names_within_a_book_may_have_any_character(tmp_path: Path) -> None:
    path = write_epub(tmp_path / "a.epub", {"a%23b.xhtml": "<p>Here.</p>"}, [])
    with zipfile.ZipFile(path) as archive:
        body = archive.read("OEBPS/text/a%23b.xhtml")
    changes: dict[str, bytes | None] = {
        "OEBPS/text/a%23b.xhtml": None, "OEBPS/text/a#b.xhtml": body
    }  # fmt: skip
    assert read_book([rewrite(path, changes)]).chapters[0].paragraphs == ("Here.",)


def damaged(path: Path) -> Path:
    """An EPUB whose first document cannot be unpacked."""
    text = b"<p>" + b"It was a long and quiet day by the sea. " * 200
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("OEBPS/text/packed.xhtml", text)
    body = bytearray(path.read_bytes())
    start = body.index(b"OEBPS/text/packed.xhtml") + len("OEBPS/text/packed.xhtml")
    body[start : start + 20] = bytes(20)
    path.write_bytes(body)
    return path


def test_a_damaged_archive_is_one_clear_line(tmp_path: Path) -> None:
    path = write_epub(tmp_path / "a.epub", {"packed.xhtml": ""}, [])
    rewrite(path, {"OEBPS/text/packed.xhtml": None})
    with pytest.raises(UnreadableDocumentError, match="damaged"):
        read_book([damaged(path)])
    package = b'<?xml version="1.0" encoding="x-unknown"?><a/>'
    unknown = write_epub(tmp_path / "b.epub", DOCUMENTS, [])
    rewrite(unknown, {"OEBPS/book.opf": package})
    with pytest.raises(UnreadableDocumentError, match="damaged"):
        read_book([unknown])


def test_a_name_that_is_too_long_is_no_document(tmp_path: Path) -> None:
    assert not is_document(Path("x" * 300))
    with pytest.raises(UnreadableDocumentError):
        read_book([Path("x" * 300), tmp_path])


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
