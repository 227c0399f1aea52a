"""Documents as books: EPUB, HTML, Markdown and plain text.

An EPUB is divided into chapters by its table of contents, everything else by its headings.
"""

import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from html.parser import HTMLParser
from itertools import compress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from urllib.parse import unquote, urldefrag
from xml.etree import ElementTree as ET

import msgspec

from app.domain.book import Book, Chapter
from app.domain.errors import InvalidRequestError

T = TypeVar("T")

MAX_BYTES: Final = 1024**3  # of an unpacked EPUB

# HTML, standard of WHATWG: elements that begin and end a paragraph, and those that are not text.
BLOCKS: Final = frozenset({
    "address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "dialog",
    "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4",
    "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section", "summary",
    "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
UNSPOKEN: Final = frozenset({
    "head", "math", "noscript", "rp", "rt", "script", "style", "svg", "template",
})  # fmt: skip
VOID: Final = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
    "wbr",
})  # fmt: skip
HEADINGS: Final = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}

# A line that is the heading of a chapter in a plain text: "CHAPTER IV.", "Part One: The Sea".
CHAPTER_LINE: Final = re.compile(
    r"(?i:chapter|part|book|letter|act|scene|volume|canto)\s+(?i:the\s+)?"
    r"(?:[0-9]{1,3}|[IVXLCivxlc]{1,8}"
    r"|(?i:(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[- ](?=[a-z]))?)?"
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|[a-z]+teen"
    r"|first|second|third|[a-z]+th|last)?\b))"
    r"(?:\s*[.:\u2013\u2014-].{0,80}|\s+[A-Z\"'\u201c\u2018].{0,80}(?<![.!?])|\W*)"
    r"|(?i:prologue|epilogue|preface|foreword|introduction|afterword|contents)\W*"
)
_LINE_END: Final = re.compile(r"[.!?:\u2026][\"'\u201d\u2019)]*\s*\Z")
_FRONT_MATTER: Final = re.compile(r"\A---\n(?=[\w-]+[ \t]*:).*?\n(?:---|\.\.\.)\n", re.DOTALL)
_ENCODING: Final = re.compile(rb"\s*<\?xml[^>]*encoding=[\"']([A-Za-z0-9._-]+)[\"']")
HEADING_LEVEL: Final = 2  # headings up to this level begin a chapter


# What reading an archive, or XML in it, may raise.
_DAMAGE: Final = (
    zipfile.BadZipFile, zlib.error, ET.ParseError, EOFError, KeyError, LookupError, RuntimeError,
    ValueError,
)  # fmt: skip


class UnreadableDocumentError(InvalidRequestError):
    """A document cannot be read; the message says which one and why."""


class Block(NamedTuple):
    """A paragraph, or a heading of this level (1 to 6; 0 is none), and the ids before its end."""

    text: str
    level: int
    ids: tuple[str, ...] = ()


class HtmlBlocks(HTMLParser):
    """The paragraphs and headings of an HTML document, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.blocks: list[Block] = []
        self.title = ""
        self._text: list[str] = []
        self._ids: list[str] = []
        self._level = 0
        self._unspoken: list[str] = []  # elements whose content is not spoken
        self._is_title = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag in BLOCKS:
            self._end_block()
            self._level = HEADINGS.get(tag, 0)
            self._end_elements("head", "rt", "rp")  # their end tags may be left out before it
        elif tag in ("rt", "rp"):
            self._end_elements("rt", "rp")
        elif tag == "br":
            self._text.append("\n")
        if (anchor := attributes.get("id") or attributes.get("name")) and tag != "meta":
            self._ids.append(anchor)
        is_note = (
            attributes.get("epub:type") == "noteref" or attributes.get("role") == "doc-noteref"
        )
        is_within = tag in self._unspoken  # the same element within it ends first
        if (tag in UNSPOKEN or is_note or is_within) and tag not in VOID:
            self._unspoken.append(tag)
        self._is_title = tag == "title"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        self._is_title = False
        if tag == "ruby":
            self._end_elements("rt", "rp")
        if self._unspoken and self._unspoken[-1] == tag:
            self._unspoken.pop()
        if tag in BLOCKS:
            self._end_block()

    def handle_data(self, data: str) -> None:
        if self._is_title:
            self.title += data
        elif not self._unspoken:
            self._text.append(re.sub(r"\s+", " ", data))

    def close(self) -> None:
        super().close()
        self._end_block()
        if self._ids:
            self.blocks.append(Block("", 0, tuple(self._ids)))

    def _end_elements(self, *tags: str) -> None:
        self._unspoken = [each for each in self._unspoken if each not in tags]

    def _end_block(self) -> None:
        text = re.sub(r" *\n *", "\n", re.sub(r"  +", " ", "".join(self._text))).strip()
        self._text.clear()
        if re.search(r"\w", text):  # else a row of asterisks
            self.blocks.append(Block(text, self._level, tuple(self._ids)))
            self._ids.clear()
        self._level = 0


def read_book(paths: Sequence[Path]) -> Book:
    """The chapters of all files, of a directory in order; raises UnreadableDocumentError."""
    books = [_read_file(path) for path in _find_files(paths)]
    chapters = tuple(chapter for book in books for chapter in book.chapters)
    if not chapters:
        names = ", ".join(str(path) for path in paths)
        raise UnreadableDocumentError(f"{names} has no text.")
    title = books[0].title if len(books) == 1 else paths[0].stem
    return msgspec.structs.replace(books[0], title=title, chapters=chapters)


def is_document(path: Path) -> bool:
    """Whether there is a file of this name that `read_book` may be able to read, or holds one."""
    try:
        if path.is_dir():
            return any(_find_files([path]))
        return path.suffix.lower() in READERS and path.is_file()
    except OSError:  # too long for a name
        return False


def _find_files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        try:
            names = list(path.iterdir()) if path.is_dir() else None
        except OSError as error:
            raise UnreadableDocumentError(f"{path} cannot be read: {error.strerror}.") from error
        if names is None:
            yield path
            continue
        is_read = [each.suffix.lower() in READERS and each.name[0] != "." for each in names]
        yield from sorted(compress(names, is_read), key=_name_in_order)


def _name_in_order(path: Path) -> list[str]:
    """For sorting: "chapter 10" behind "chapter 9"."""
    parts = re.split(r"(\d+)", path.name)
    return [part.zfill(12) if part.isdigit() else part.lower() for part in parts]


def _read_file(path: Path) -> Book:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(READERS)
        raise UnreadableDocumentError(f"{path} is none of the known kinds: {known}.")
    try:
        return reader(path)
    except OSError as error:
        raise UnreadableDocumentError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UnreadableDocumentError(f"{path} is not UTF-8.") from error


def _read_text(path: Path) -> Book:
    """Plain text: paragraphs between empty lines, whose lines may be wrapped.

    Where there is no empty line and most lines end as sentences do, each is a paragraph.
    """
    text = path.read_text("utf-8-sig").replace("\r\n", "\n").strip()
    border = r"\n[ \t]*\n"
    if not re.search(border, text):
        lines = text.splitlines()
        whole = [each for each in lines if _LINE_END.search(each) or CHAPTER_LINE.fullmatch(each)]
        border = r"\n" if 2 * len(whole) >= len(lines) else r"\Z"
    paragraphs = (" ".join(each.split()) for each in re.split(border, text))
    blocks = [Block(each, 1 if CHAPTER_LINE.fullmatch(each) else 0) for each in paragraphs if each]
    return Book(title=path.stem, chapters=tuple(_by_heading(blocks, path.stem)))


def _read_markdown(path: Path) -> Book:
    from markdown_it import MarkdownIt

    text = _FRONT_MATTER.sub("", path.read_text("utf-8-sig"), count=1)
    return _book_of_html(MarkdownIt("commonmark").enable("table").render(text), path)


def _read_html(path: Path) -> Book:
    return _book_of_html(path.read_bytes().decode("utf-8-sig"), path)


def _book_of_html(html: str, path: Path) -> Book:
    parser = HtmlBlocks(html)
    headings = [block.text for block in parser.blocks if block.level == 1]
    title = parser.title.strip() or (headings[0] if headings else path.stem)
    return Book(title=title, chapters=tuple(_by_heading(parser.blocks, title)))


def _by_heading(blocks: Sequence[Block], title: str) -> Iterator[Chapter]:
    """Chapters that begin with a heading; what is before the first one has the book's title."""
    paragraphs: list[str] = []
    for block in blocks:
        if 1 <= block.level <= HEADING_LEVEL:
            if len(paragraphs) > 1 or (paragraphs and paragraphs[0] != title):
                yield Chapter(title, tuple(paragraphs))
                paragraphs = []
            title = " ".join(block.text.split())
        if block.text:
            paragraphs.append(block.text)
    if paragraphs:
        yield Chapter(title, tuple(paragraphs))


class _Epub:
    """A package of EPUB 2 or 3 (W3C, EPUB 3.3), read from its archive."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
            raise UnreadableDocumentError("it has more than 1 GiB unpacked")
        self._archive = archive
        root = self._xml("META-INF/container.xml").find(".//{*}rootfile")
        if root is None:
            raise UnreadableDocumentError("its container names no package")
        self._path = root.get("full-path", "")
        self.package = self._xml(self._path)
        self._encrypted: set[str] = set()
        if "META-INF/encryption.xml" in archive.namelist():
            encryption = self._xml("META-INF/encryption.xml")
            for reference in encryption.iterfind(".//{*}CipherReference"):
                self._encrypted.add(unquote(reference.get("URI", "")))
        items = self.package.iterfind("{*}manifest/{*}item")
        self.items = {item.get("id", ""): item for item in items}

    def text(self, name: str) -> str:
        """Of the package: the first element of this name, or nothing."""
        return " ".join((self.package.findtext(f".//{{*}}{name}") or "").split())

    def path_of(self, item: ET.Element) -> str:
        return _join(self._path, item.get("href", ""))[0]

    def read(self, path: str) -> bytes:
        if path in self._encrypted:
            raise UnreadableDocumentError("it is encrypted (DRM)")
        return self._archive.read(path)

    def spine(self) -> Iterator[str]:
        """The paths of its documents in reading order."""
        for reference in self.package.iterfind("{*}spine/{*}itemref"):
            item = self.items.get(reference.get("idref", ""))
            is_read = item is not None and "nav" not in item.get("properties", "").split()
            if item is not None and is_read and reference.get("linear") != "no":
                yield self.path_of(item)

    def titles(self) -> dict[tuple[str, str], str]:
        """What the table of contents calls a document, or a place in it: (path, id) to title."""
        titles: dict[tuple[str, str], str] = {}
        for item in self.items.values():
            if "nav" in item.get("properties", "").split():
                path = self.path_of(item)
                for anchor in self._anchors_of_nav(path):
                    titles.setdefault(_join(path, anchor.get("href", "")), _title_of(anchor))
                return titles
        spine = self.package.find("{*}spine")
        ncx = self.items.get(spine.get("toc", "") if spine is not None else "")
        if ncx is not None:
            path = self.path_of(ncx)
            for point in self._xml(path).iterfind(".//{*}navPoint"):
                label, content = point.find("{*}navLabel/{*}text"), point.find("{*}content")
                if label is not None and content is not None:
                    titles.setdefault(_join(path, content.get("src", "")), _title_of(label))
        return titles

    def cover(self) -> bytes:
        """The picture that the package calls its cover, or nothing."""
        names = [meta.get("content") for meta in self.package.iterfind(".//{*}meta[@name='cover']")]
        for item in self.items.values():
            is_cover = "cover-image" in item.get("properties", "") or item.get("id") in names
            if is_cover and item.get("media-type", "").startswith("image/"):
                return self.read(self.path_of(item))
        return b""

    def _anchors_of_nav(self, path: str) -> Iterable[ET.Element]:
        navs = list(self._xml(path).iterfind(".//{*}nav"))
        is_toc = [
            nav for nav in navs if "toc" in (value for key, value in nav.items() if "type" in key)
        ]
        return (is_toc or navs)[0].iterfind(".//{*}a[@href]") if navs else ()

    def _xml(self, path: str) -> ET.Element:
        # Expat bounds what entities expand to.
        return ET.fromstring(self._archive.read(path))  # noqa: S314


def _optional(read: Callable[[], T], default: T) -> T:
    """What a book can do without."""
    try:
        return read()
    except (*_DAMAGE, UnreadableDocumentError):
        return default


def _decode(content: bytes) -> str:
    """XHTML in the encoding that it names, else UTF-8 (XML 1.0, section 4.3.3)."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    named = _ENCODING.match(content)
    return content.decode(named[1].decode() if named else "utf-8-sig", "replace")


def _join(path: str, reference: str) -> tuple[str, str]:
    """The document and the id that a reference within `path` names."""
    address, fragment = map(unquote, urldefrag(reference))
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), address)), fragment


def _title_of(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _read_epub(path: Path) -> Book:
    try:
        with zipfile.ZipFile(path) as archive:
            epub = _Epub(archive)
            title, cover = epub.text("title") or path.stem, _optional(epub.cover, b"")
            blocks = list(_blocks_of(epub))
            # a table of contents may be missing, or name other documents
            divide = _by_title if any(block.level < 0 for block in blocks) else _by_heading
            chapters = tuple(divide(blocks, title))
            return Book(title=title, author=epub.text("creator"), cover=cover, chapters=chapters)
    except UnreadableDocumentError as error:
        raise UnreadableDocumentError(f"{path} cannot be read: {error}.") from error
    except _DAMAGE as error:
        raise UnreadableDocumentError(f"{path} is no EPUB, or damaged: {error}.") from error


def _blocks_of(epub: _Epub) -> Iterator[Block]:
    """In reading order; one of level -1 is the title of a chapter that begins there."""
    titles = _optional(epub.titles, dict[tuple[str, str], str]())
    for path in epub.spine():
        blocks = HtmlBlocks(_decode(epub.read(path))).blocks
        for block in (Block("", 0, ("",)), *blocks):  # "" is the id of the document itself
            for each in block.ids:
                if (path, each) in titles:
                    yield Block(titles[path, each], -1)
            yield block


def _by_title(blocks: Sequence[Block], title: str) -> Iterator[Chapter]:
    paragraphs: list[str] = []
    for block in (*blocks, Block("", -1)):
        if block.level >= 0:
            paragraphs += [block.text] if block.text else []
            continue
        if paragraphs:
            yield Chapter(title, tuple(paragraphs))
        title, paragraphs = block.text, []


READERS: Final = {
    ".epub": _read_epub,
    ".html": _read_html,
    ".htm": _read_html,
    ".xhtml": _read_html,
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".txt": _read_text,
}
