"""What names something and counts nothing: addresses, telephone numbers, codes, versions."""

import re
from typing import Final

from app.domain.text.mapped_text import rule
from app.domain.text.number_words import cardinal, digits
from app.domain.text.reading.matching import (
    any_of,
    before,
    behind,
    not_after,
    spelled,
    word_rule,
)

# Of a longer path only the name of the server is read; nobody can follow the rest by ear.
MAX_PATH_CHARS: Final = 60
_SIGN_NAMES: Final = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "&": "ampersand", "@": "at",
    ":": "colon", "~": "tilde", "+": "plus", "=": "equals", "?": "question mark", "%": "percent",
    "#": "hash", "!": "exclamation mark", "$": "dollar", "*": "star", ",": "comma",
    ";": "semicolon", "www": spelled("WWW"),
}  # fmt: skip
_PART: Final = re.compile(r"[A-Za-z]+|\d+|[^\w\s]|_|\w")
_QUERY: Final = re.compile("[?#]")

# Without those that are English words, such as "it" and "me".
_TLDS: Final = (
    "com|org|net|edu|gov|mil|int|info|biz|io|ai|app|dev|co|tv|fm|uk|de|fr|es|nl|eu|ca|au|ch|jp|cn|br"
    "|ru|se|dk|fi|pl|pt|cz|gr|ie|nz|kr|mx|za|sm|xyz|online|site|tech|cloud|blog|shop"
)
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})"
_PATH: Final = r"(?:[/?#](?:[^\s<>\"'()\[\]{}]*[^\s<>\"'()\[\]{}.,;:!?*_~`])?)?"


def _read(address: str) -> str:
    parts = [part[0] for part in _PART.finditer(address)]
    return " ".join(
        digits(part) if part.isdecimal() else _SIGN_NAMES.get(part.lower(), part) for part in parts
    )


def _read_url(match: re.Match[str]) -> str:
    host, _, path = match["host"].partition("/")
    host = _QUERY.split(host.rpartition("@")[2].removeprefix("www."))[0]
    path = _QUERY.split(path)[0].strip("/")
    return _read(f"{host}/{path}" if 0 < len(path) <= MAX_PATH_CHARS else host)


def _read_all(match: re.Match[str]) -> str:
    touches = match.start() > 0 and not match.string[match.start() - 1].isspace()
    return (" " if touches else "") + _read(match[0].removeprefix("."))


URLS: Final = (
    word_rule(
        r"(?:http|https|HTTP|HTTPS|Http|Https|ftp|ftps|ws|wss)://"
        r"(?P<host>[^\s<>\"'()\[\]{}]*[^\s<>\"'()\[\]{}.,;:!?*_~`])",
        _read_url,
    ),
    word_rule(r"(?:file|mailto|tel|data):(?://)?[^\s<>\"]*[^\s<>\".,;:!?]", _read_all),
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

_FREE_OF_CHARGE: Final = frozenset({"800", "900"})
# Words before a number that is said figure by figure.
_BEFORE_CODES: Final = [
    case(word)
    for case in (str.lower, str.capitalize, str.upper)
    for word in (
        "call", "dial", "text", "phone", "pin", "otp", "passcode", "zip", "postcode", "isbn",
        "code", "password", "card", "account", "ext", "extension", "ending in", "ending with",
        "ends in", "ends with", "port",
    )
]  # fmt: skip
_GROUP: Final = re.compile(r"[0-9]+|[A-Za-z]+")
_CODE_PART: Final = re.compile(r"[0-9]+|[^0-9]+")


def _read_groups(match: re.Match[str]) -> str:
    groups = [
        digits(group) if group.isdecimal() and group not in _FREE_OF_CHARGE else group.lower()
        for group in _GROUP.findall(match[0])
    ]
    words = ", ".join(cardinal(group) if group.isdecimal() else group for group in groups)
    return f"plus {words}" if match[0].startswith("+") else words


def _read_after_word(match: re.Match[str]) -> str | None:
    if match["word"].startswith("port") and match["code"].endswith("000"):  # a count
        return None
    parts = _CODE_PART.findall(match["code"])
    return match["word"] + " ".join(digits(part) if part.isdecimal() else part for part in parts)


def _read_account(match: re.Match[str]) -> str:
    """Letter by letter and figure by figure; spaces and hyphens only group them."""
    groups = _GROUP.findall(match[0])
    return " ".join(digits(one) if one.isdecimal() else spelled(one) for one in groups)


def _read_version(match: re.Match[str]) -> str:
    letter = "v " if match[0][0] in "vV" else ""
    return letter + " point ".join(
        digits(part) if part[0] == "0" and len(part) > 1 else cardinal(part)
        for part in match[0].lstrip("vV").split(".")
    )


def _read_hexadecimal(match: re.Match[str]) -> str:
    """Letter by letter and figure by figure, with a pause between the groups."""
    groups = re.split("[:-]", match[0])
    return ", ".join(" ".join(digits(c) if c.isdecimal() else c for c in one) for one in groups)


HARDWARE_ADDRESSES: Final = rule(
    r"[0-9A-Fa-f](?<![\w:-].)[0-9A-Fa-f](?P<sign>[:-])(?:[0-9A-Fa-f]{2}(?P=sign)){4}"
    r"[0-9A-Fa-f]{2}(?![\w:-])",
    _read_hexadecimal,
)
UNIQUE_IDS: Final = rule(
    r"[0-9A-Fa-f](?<![\w-].)[0-9A-Fa-f]{7}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![\w-])",
    _read_hexadecimal,
)
HEXADECIMAL: Final = rule(r"0(?<!\w.)x[0-9A-Fa-f]{1,16}(?!\w)", _read_hexadecimal)
# case no. 12-345
CASES: Final = rule(
    r"[0-9](?<=number .)[0-9]{0,3}-[0-9]{3,8}(?![\w-]|[.,:]\d)",
    lambda match: None if match[0].find("-") * 2 + 1 == len(match[0]) else _read_groups(match),
)
# +1 (212) 555-0100, 212.555.0100, (212) 555-0100, with an extension
TELEPHONE_NUMBERS: Final = rule(
    r"[+(0-9](?<![\w.+].)(?:(?<=\()[0-9]{3}\) ?|(?<=[0-9])[0-9]{2}[-. ]"
    r"|(?:(?<=\+)[0-9]{1,3}|(?<=[0-9])[0-9]{0,2})[-. ]?"
    r"(?:\([0-9]{3}\) ?|(?<![0-9])[0-9]{3}[-. ]))"
    r"[0-9]{3}[-. ][0-9]{4}(?:-[0-9]{1,4})?(?![\w]|-\d)",
    _read_groups,
)
# 020 7946 0958
NUMBERS_FROM_ZERO: Final = rule(
    rf"[(0]{not_after('.,-')}(?<![0-9] .)(?:(?<=\()0[0-9]{{1,4}}\) ?[0-9]{{3,8}}"
    r"|(?<=0)[0-9]{1,4}[ -][0-9]{3,8})(?:[ -][0-9]{3,8}){0,2}"
    r"(?![\w]|[.,-]\d)",
    _read_groups,
)
# a social security number
SOCIAL_SECURITY_NUMBERS: Final = rule(
    rf"[0-9]{not_after('.-')}[0-9]{{2}}-[0-9]{{2}}-[0-9]{{4}}(?![\w]|-\d)", _read_groups
)
# a telephone number without its area
LOCAL_NUMBERS: Final = rule(
    rf"[0-9]{not_after('.$€£-')}[0-9]{{2}}-[0-9]{{4}}(?![\w%]|-\d|\.\d| ?=)", _read_groups
)
# the number of a card, of an account
CARD_NUMBERS: Final = rule(
    rf"[0-9]{not_after('.,')}[0-9]{{3}}(?:[ -][0-9]{{4}}){{2,5}}(?![\w]|[.,-]\d)", _read_account
)
# 1-800-FLOWERS
NAMED_NUMBERS: Final = rule(
    rf"[+1]{not_after('-')}1?-8[0-9][0-9]-(?=[0-9A-Z-]{{0,30}}[A-Z])"
    r"[0-9A-Z]+(?:-[0-9A-Z]+){0,3}(?![\w-])",
    _read_groups,
)
# +44 20 7946 0958, +442079460958
INTERNATIONAL_NUMBERS: Final = rule(
    rf"\+{not_after('.')}(?:[0-9]{{1,3}}(?:[ .-][0-9]{{1,8}}){{2,5}}|[0-9]{{7,15}})"
    r"(?![\w]|[.-]\d)",
    _read_groups,
)
BANK_ACCOUNTS: Final = rule(
    rf"[A-Z]{not_after('')}[A-Z][0-9]{{2}}(?: ?[0-9A-Z]{{4}}){{2,7}}"
    r"(?: ?[0-9]{1,3})?(?!\w)",
    _read_account,
)
BOOK_NUMBERS: Final = rule(r"(?<=ISBN )(?:[0-9]{1,7}-){3,4}[0-9X]\b", _read_account)
CODES: Final = word_rule(
    rf"(?P<word>{any_of(_BEFORE_CODES)}(?i: code| number| no\.?| is|\.|:| #){{0,3}} )"
    r"(?P<code>[A-Za-z]{0,4}[0-9]{3,12})(?!\w|[.,:/-]\d|\.\w| ?%)"
    r"(?! (?i:people|times|men|women|lines))",
    _read_after_word,
)
# behind the short name of a state: NY 10118
ZIP_CODES: Final = rule(
    r"[0-9](?<=\b[A-Z]{2} .)[0-9]{4}(?:-[0-9]{4})?(?<!000)(?![\w]|[.,-]\d)", _read_groups
)
NETWORK_ADDRESSES: Final = rule(
    rf"[0-9]{not_after('.')}[0-9]{{0,2}}(?:\.[0-9]{{1,3}}){{3}}(?![\w]|\.\d)",
    lambda match: " dot ".join(digits(part) for part in match[0].split(".")),
)
_SOFTWARE: Final = (
    "Python", "Node", "Django", "Java", "Go", "Ruby", "PHP", "Rust", "Kubernetes", "Postgres",
)  # fmt: skip
_SOFTWARE_BEFORE: Final = "|".join(rf"(?<=\b{name} .)" for name in _SOFTWARE)
SOFTWARE: Final = rule(  # Python 3.12
    rf"[0-9](?:{_SOFTWARE_BEFORE})[0-9]?\.[1-9][0-9]?(?!\w|\.\d)", _read_version
)
VERSIONS: Final = rule(
    rf"[vV0-9]{not_after('.')}(?:(?<=\d)[0-9]{{0,5}}(?:\.[0-9]{{1,6}}){{2,5}}"
    r"|(?<=[vV])[0-9]{1,6}(?:\.[0-9]{1,6}){0,5})(?![\w]|\.\d)",
    _read_version,
)
# Words that begin an aside behind two dashes, rather than name an option.
_ASIDE_BEGINS: Final = frozenset({
    "ah", "alas", "an", "and", "as", "at", "because", "but", "even", "for", "he", "her", "his",
    "how", "if", "in", "is", "it", "its", "just", "like", "my", "no", "not", "of", "oh", "on", "or",
    "our", "perhaps", "she", "so", "such", "that", "the", "their", "then", "there", "these", "they",
    "this", "those", "though", "to", "was", "we", "well", "what", "when", "where", "which", "while",
    "who", "why", "with", "you", "your",
})  # fmt: skip
# Two dashes in the same sentence that begin no option.
_ASIDE_ENDS: Final = re.compile(
    r"(?:(?![.!?] [A-Z])[^\n]){0,200}?(?:[^\s(\[\"'|/-]--|--(?![A-Za-z-]))"
)
_BEFORE_MINUS: Final = re.compile(r"\b(?:equals|plus|minus|times|cos|sin|tan|exp) \Z")
_SUFFIXES: Final = re.compile(r"\b(?:(?:suf|pre)fix(?:es)?|endings?|plurals?) \Z")


def _read_long_option(match: re.Match[str]) -> str | None:
    is_aside = match["name"] in _ASIDE_BEGINS or behind(_ASIDE_ENDS, match)
    return None if is_aside else f"dash dash {match['name']}"


def _read_short_option(match: re.Match[str]) -> str | None:
    if before(_SUFFIXES, match, 10):
        return None
    sign = "minus" if before(_BEFORE_MINUS, match, 8) else "dash"
    return f"{sign} {' '.join(match[0][1:])}"


# Of a command: --dry-run, -v, -rf. What a single dash sets off is only read where it can hardly be
# prose or mathematics: a letter, or letters without a vowel, behind a word or another option.
OPTIONS: Final = (
    rule(
        r"-(?<![^\s(\[\"'|/]-)-(?P<name>[a-z][A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*)(?![\w-])",
        _read_long_option,
    ),
    rule(
        r"-(?:(?<=[A-Za-z]{2} -)|(?<= -[A-Za-z] -)|(?<= -[A-Za-z], -)|(?<=[a-z][\"'] -)"
        r"|(?<=\s\(-)(?=\w+\))|(?<=[\s(]\"-)(?=\w+\")|(?<![^\n]-)(?=[A-Za-z][,:] ))"
        r"(?:[A-Za-z](?!(?<=[AaI]) [a-z])(?!(?<=[A-Z])(?:\n|$))|[b-df-hj-np-tv-xz]{2,4})(?![\w'-])",
        _read_short_option,
    ),
)
EMERGENCY: Final = rule(
    r"911(?<![\w.,$\u20ac\u00a3:/-]...)(?<!Porsche 911)(?![\w%]|[.,:/-]\d| [a-z]+s\b"
    r"| people)",
    "nine one one",
)
FROM_ZERO: Final = (
    # the '05 one
    rule(r"0(?<=[\s(]'.)(?=[1-9]\b)", "oh "),
    # What begins with zero is a code, wherever it stands.
    rule(rf"0{not_after('.,:/')}[0-9]+(?![\w]|[.:/,]\d)", lambda match: digits(match[0])),
)
