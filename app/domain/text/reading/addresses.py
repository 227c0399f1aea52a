"""Addresses of the web, of mail and of the network, by the names of their signs."""

import re
from typing import Final

from app.domain.text.mapped_text import rule
from app.domain.text.number_words import digits
from app.domain.text.reading.matching import spelled, touches_word

MAX_PATH_CHARS: Final = 60
"""Of a longer path only the name of the server is read; nobody can follow the rest by ear."""

_NAMES: Final = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "&": "ampersand", "@": "at",
    ":": "colon", "~": "tilde", "+": "plus", "=": "equals", "?": "question mark", "%": "percent",
    "#": "hash", "!": "exclamation mark", "$": "dollar", "*": "star", ",": "comma",
    ";": "semicolon", "www": spelled("WWW"),
}  # fmt: skip
_PART: Final = re.compile(r"[A-Za-z]+|\d+|[^\w\s]|_|\w")
_QUERY: Final = re.compile("[?#]")

_TLDS: Final = (
    "com|org|net|edu|gov|mil|int|info|biz|io|ai|app|dev|co|tv|fm|uk|de|fr|es|nl|eu|ca|au|ch|jp|cn|br"
    "|ru|se|dk|fi|pl|pt|cz|gr|ie|nz|kr|mx|za|sm|xyz|online|site|tech|cloud|blog|shop"
)
"""Without those that are English words, such as "it" and "me"."""

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})"
_PATH: Final = r"(?:[/?#](?:[^\s<>\"'()\[\]{}]*[^\s<>\"'()\[\]{}.,;:!?*_~`])?)?"


def _read(address: str) -> str:
    parts = [part[0] for part in _PART.finditer(address)]
    return " ".join(
        digits(part) if part.isdecimal() else _NAMES.get(part.lower(), part) for part in parts
    )


def _read_url(match: re.Match[str]) -> str | None:
    if touches_word(match):
        return None
    host, _, path = match["host"].partition("/")
    host = _QUERY.split(host.rpartition("@")[2].removeprefix("www."))[0]
    path = _QUERY.split(path)[0].strip("/")
    return _read(f"{host}/{path}" if 0 < len(path) <= MAX_PATH_CHARS else host)


def _read_all(match: re.Match[str]) -> str:
    touches = match.start() > 0 and not match.string[match.start() - 1].isspace()
    return (" " if touches else "") + _read(match[0].removeprefix("."))


URLS: Final = (
    rule(
        r"(?:http|https|HTTP|HTTPS|Http|Https|ftp|ftps|ws|wss)://"
        r"(?P<host>[^\s<>\"'()\[\]{}]*[^\s<>\"'()\[\]{}.,;:!?*_~`])",
        _read_url,
    ),
    rule(
        r"(?:file|mailto|tel|data):(?://)?[^\s<>\"]*[^\s<>\".,;:!?]",
        lambda match: None if touches_word(match) else _read_all(match),
    ),
)
MAIL: Final = rule(
    r"(?<![A-Za-z0-9._%+&-])\.?[A-Za-z0-9][A-Za-z0-9._%+&-]{0,63}@"
    rf"{_LABEL}(?:\.{_LABEL})+(?![\w]){_PATH}",
    _read_all,
)
HOSTS: Final = (
    rule(rf"www\.(?<![\w@.-]www\.){_LABEL}(?:\.{_LABEL})*{_PATH}", _read_all),
    rule(
        rf"\b(?<![@.-])(?:{_LABEL}\.){{1,8}}(?:{_TLDS})"
        rf"(?![\w-]|\.\w){_PATH}",
        _read_all,
    ),
)
