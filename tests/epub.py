"""Makes small EPUB files, of both versions."""

import zipfile
from pathlib import Path
from typing import Final

CONTAINER: Final = (
    '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>'
    "</rootfiles></container>"
)
PACKAGE: Final = (
    '<package xmlns="http://www.idpf.org/2007/opf" version="{version}">'
    '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Calm Sea</dc:title>'
    "<dc:creator>A. Writer</dc:creator>{metadata}</metadata>"
    "<manifest>{items}</manifest><spine {toc}>{spine}</spine></package>"
)
XHTML: Final = "application/xhtml+xml"


def write_epub(
    path: Path,
    documents: dict[str, str],
    contents: list[tuple[str, str]],
    *,
    is_old: bool = False,
    cover: bytes = b"",
    encrypted: str = "",
) -> Path:
    """Of XHTML bodies by name, with a table of contents (title, address) of EPUB 2 or 3."""
    items = "".join(
        f'<item id="d{number}" href="text/{name}" media-type="{XHTML}"/>'
        for number, name in enumerate(documents)
    )
    items += (
        '<item id="toc" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
        if is_old
        else f'<item id="toc" href="nav.xhtml" properties="nav" media-type="{XHTML}"/>'
    )
    if cover:
        properties = "" if is_old else 'properties="cover-image"'
        items += f'<item id="picture" href="cover.jpg" media-type="image/jpeg" {properties}/>'
    spine = "".join(f'<itemref idref="d{number}"/>' for number in range(len(documents)))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr(
            "OEBPS/book.opf",
            PACKAGE.format(
                version="2.0" if is_old else "3.0",
                metadata='<meta name="cover" content="picture"/>' if cover and is_old else "",
                items=items,
                toc='toc="toc"' if is_old else "",
                spine=spine if is_old else f'<itemref idref="toc"/>{spine}',
            ),
        )
        archive.writestr(*(_ncx(contents) if is_old else _nav(contents)))
        if cover:
            archive.writestr("OEBPS/cover.jpg", cover)
        if encrypted:
            archive.writestr(
                "META-INF/encryption.xml",
                '<encryption xmlns:enc="http://www.w3.org/2001/04/xmlenc#">'
                f'<enc:CipherReference URI="{encrypted}"/></encryption>',
            )
        for name, body in documents.items():
            archive.writestr(f"OEBPS/text/{name}", f"{HTML}{HEAD}<body>{body}</body></html>")
    return path


HTML: Final = (
    '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">'
)
HEAD: Final = "<head><title>Not spoken</title><style>p { color: red }</style></head>"


def _nav(contents: list[tuple[str, str]]) -> tuple[str, str]:
    entries = "".join(f'<li><a href="text/{at}">{title}</a></li>' for title, at in contents)
    html = (
        f'{HTML}<body><nav epub:type="toc"><ol>{entries}</ol></nav>'
        '<nav epub:type="landmarks"><a href="text/one.xhtml">Beginning</a></nav></body></html>'
    )
    return "OEBPS/nav.xhtml", html


def _ncx(contents: list[tuple[str, str]]) -> tuple[str, str]:
    points = "".join(
        f'<navPoint><navLabel><text>{title}</text></navLabel><content src="text/{at}"/></navPoint>'
        for title, at in contents
    )
    names = 'xmlns="http://www.daisy.org/z3986/2005/ncx/"'
    return "OEBPS/toc.ncx", f"<ncx {names}><navMap>{points}</navMap></ncx>"
