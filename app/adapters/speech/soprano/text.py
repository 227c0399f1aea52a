"""Words as Soprano was trained on them, in sentences: small letters and ``! $ ' , - . ?``.

What each step makes of words is what the package soprano-tts makes of them, because the model knows
only text that went through that. A sentence ends at a mark; one that has no mark within the limit
ends after a word. A short one joins its neighbour.
"""
# ruff: noqa: RUF001 - characters that look like others

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from anyascii import anyascii

from app.domain.segment import TextSegment
from app.domain.text.mapped_text import MappedText, Rule
from app.domain.text.number_words import cardinal
from app.domain.text.reading.matching import JOINT

# Any character by the ASCII ones that stood in its place when the model was trained, where anyascii
# has others: the training text spelled some symbols in a way of its own (a pound sign was "PS", an
# arrow a hyphen), and left others out.
# fmt: off
_SPELLINGS: Final = (
    # dashes, quotes, bullets
    (" - ", "—"), ("--", "―⁃"), (".", "‧"), (",", "‚❟"), (",,", "„❠"),
    ("?", "\N{GREEK QUESTION MARK}"), ("*", "·◖◗◢◣◤◥"), ("*>", "‣"), ("SS", "§"),
    # money
    ("C/", "¢"), ("PS", "£￡"), ("$?", "¤"), ("Y=", "¥￥"), ("W=", "￦"), ("/C", "￠"),
    ("ECU", "₠"), ("CL", "₡"), ("FF", "₣"), ("mil", "₥"), ("NS", "₪"), ("D", "₫"), ("UAH", "₴"),
    ("C|", "₵"), ("L", "₶₺"), ("m", "₼"), ("R", "₽"), ("l", "₾"),
    # signs made of letters
    ("degC", "℃"), ("degF", "℉"), ("ohm", "\N{OHM SIGN}"), ("No. ", "№"), ("(sm)", "℠"),
    ("(tm)", "™"), (" c/o ", "℅"),
    # what multiplies, points or marks
    ("x", "×"), ("-", "←→↔↚↛↞↠↢↣↤↦↩↪↫↬↭↮↼↽⇀⇁⇠⇢⇤⇥⇦⇨⇰"), ("=", "↹⇄⇆⇇⇉⇋⇌⇍⇎⇏⇐⇒⇔⇚⇛"), ("~", "↜↝⇜⇝〰"),
    ("/", "↗↙⇗⇙"), ("\\", "↖↘↸⇖⇘⇱⇲"), ("|", "↑↓↕↟↡↥↧↨↯↰↱↲↳↴↵↶↻↾↿⇂⇃⇅⇈⇊⇑⇓⇕⇞⇟⇡⇣⇧⇩⇪⇫⇬⇭⇮⇯⇳"),
    (">", "▶"), ("} ", "⦄"), ("> ", "\N{RIGHT-POINTING ANGLE BRACKET}"),
    ("<", "◀\N{LEFT-POINTING ANGLE BRACKET}"), ("#", "▪▫◴◵◶◷"), ("V", "↷↺▼▽▾▿"), ("O", "◯"),
    # games
    ("spades", "♠♤"), ("hearts", "♥♡"), ("diamonds", "♦♢"), ("clubs", "♣♧"), ("white king", "♔"),
    ("white queen", "♕"), ("white rook", "♖"), ("white bishop", "♗"), ("white knight", "♘"),
    ("white pawn", "♙"), ("black king", "♚"), ("black queen", "♛"), ("black rook", "♜"),
    ("black bishop", "♝"), ("black knight", "♞"), ("black pawn", "♟"),
    # Latin capitals of two letters, and Greek as science reads it
    ("AE", "ÆǢǼ"), ("OE", "Œ"), ("NG", "Ŋ"), ("k", "ĸ"), ("B", "Β"), ("b", "β"), ("E", "ΗΉ"),
    ("e", "ηή"), ("I", "ΐ"), ("Ks", "Ξ"), ("U", "ΥΎΫ"), ("u", "υύϋΰ"), ("Ph", "Φ"), ("ph", "φ"),
    ("Kh", "Χ"), ("kh", "χ"),
    # punctuation of East Asia, whose spaces are inside the character
    (", ", "、"), (". ", "。"), ("] ", "」』】〕"),
)
# fmt: on
_SPELLING_OF: Final = {char: spelling for spelling, chars in _SPELLINGS for char in chars}

_FRACTIONS: Final = frozenset("⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞↉")

_SILENT: Final = re.compile(
    "[\u2190-\u243f"  # arrows, mathematical operators, technical signs
    "\u2596-\u259f\u25f8-\u25ff"  # parts of squares and triangles
    "\u2600-\u27ff\u2900-\u2bff"  # weather, planets, dingbats, more arrows and operators
    "\u303d\U0001f000-\U0001f0ff\U0001f1e6-\U0001fbff]"  # a song mark, tiles, cards, flags, emoji
)

# Characters of those blocks that have a spelling all the same.
_NOT_SILENT: Final = frozenset("−∕∖∗∣∶∼≤≥≦≧⌃♯✱❘❜❝❞❢⟦⟨⟩⦃⩴⩵⩶🙰🙱🙲🙳🙴🙵🙶🙷🙸🙹🙺🙻")


@lru_cache(maxsize=1 << 14)
def to_ascii(char: str) -> str:
    """`char` in ASCII; nothing for what has neither a spelling nor a sound."""
    if char in _SPELLING_OF:
        return _SPELLING_OF[char]
    if _SILENT.match(char) and char not in _NOT_SILENT:
        return ""
    # Spaces keep a fraction apart from a number, and a Chinese word from the next.
    before = " " if char in _FRACTIONS or char in "¼½¾" else ""
    is_ideograph = "\u3400" <= char <= "\u9fff"
    after = " " if char in _FRACTIONS or is_ideograph else ""
    return before + anyascii(char) + after


# Words that the package spells in a way of its own.
_AS_THE_MODEL_KNOWS_IT: Final = {"missus": "misess", "miz": "miss"}

_CAPITALIZED: Final = re.compile(r"\b[A-Z][A-Za-z]+\b")
_CAPITAL_AND_TAIL: Final = re.compile(r"[A-Z][a-z]*")

# Signs that are still there, in a text that was not normalized.
_NAMES: Final = {
    "@": " at ", "&": " and ", "%": " percent ", "+": " plus ", "\\": " backslash ",
    "~": " about ", "<": " less than ", ">": " greater than ", "=": " equals ", "/": " slash ",
    "#": " hash ", ":": ".", ";": ",", "_": " ", "*": " ",
}  # fmt: skip

_ELLIPSIS: Final = re.compile(r"\.{3,}")
_LEADING_PAUSE: Final = re.compile(r"^[ ,]+")
_ENDS_WITH_MARK: Final = re.compile(r"[.!?]\Z")
_END: Final = re.compile(r"\Z")


def _split_at_capitals(match: re.Match[str]) -> str | None:
    """Spaces before the capitals inside a word that begins with one; "TVs" becomes "TV's"."""
    word = match[0]
    if word.isupper():
        return None
    if len(word) > 2 and word[-1] == "s" and word[:-1].isupper():  # noqa: PLR2004 - "As" is a word
        return f"{word[:-1]}'s"
    words = _CAPITAL_AND_TAIL.findall(word)
    return " ".join(words) if len(words) > 1 else None


def _strongest_marks(match: re.Match[str]) -> str | None:
    """Of a run of marks the strongest one; an ellipsis stays and parts the run in two."""
    if len(match[0]) == 1:
        return None
    parts = _ELLIPSIS.split(match[0])
    return "...".join(next((mark for mark in "?!.," if mark in part), "") for part in parts)


_BEFORE_BRACKETS: Final[tuple[Rule, ...]] = (
    (re.compile(JOINT), " "),
    (
        re.compile(rf"\b(?:{'|'.join(_AS_THE_MODEL_KNOWS_IT)})\b"),
        lambda word: _AS_THE_MODEL_KNOWS_IT[word[0]],
    ),
    (re.compile(r"[^\x00-\x7f]"), lambda char: to_ascii(char[0])),
    (re.compile(r"(?<=[^\n]) - (?=[^\n])"), ", "),
    (re.compile(r"\d+"), lambda figures: f" {cardinal(figures[0])} "),
)
_AFTER_BRACKETS: Final[tuple[Rule, ...]] = (
    (_CAPITALIZED, _split_at_capitals),
    (re.compile(r"[@&%:;+\\~<>=/_*#]"), lambda sign: _NAMES[sign[0]]),
    (re.compile(r"[A-Z]+"), lambda letters: letters[0].lower()),
    (re.compile(r"\s"), " "),
    (re.compile(r"[^a-z !$',.?-]"), ""),
    (re.compile(r" {2,}"), " "),
    (re.compile(r" (?=[.?!,])"), ""),
    (re.compile(r"[.,!?]+"), _strongest_marks),
    (re.compile(r"([a-z])\1{2,}"), lambda run: run[1] * 2),
)

_OPENING: Final = re.compile(r"[(\[{]")
_CLOSING: Final = re.compile(r"[)\]}](?P<next>[^$.!?,])?")


def in_soprano_form(paragraph: MappedText) -> MappedText:
    """`paragraph` in one line of letters a to z, spaces and the marks ``! $ ' , - . ?``."""
    text = paragraph.apply(_BEFORE_BRACKETS).strip()
    if not _ENDS_WITH_MARK.search(text.text):
        text = text.sub(_END, ".")
    # Commas for all brackets between the first that opens and the last that closes. The character
    # after a bracket that closes is taken along, as it was in the training text, unless it is a
    # mark; mostly it is a space.
    opening = _OPENING.search(text.text)
    closing = max(text.text.rfind(bracket) for bracket in ")]}")
    if opening is not None and closing > opening.start():
        inside = text[opening.start() : closing + 2].sub(_OPENING, ", ")
        inside = inside.sub(_CLOSING, lambda bracket: ", " if bracket["next"] else "")
        text = MappedText.join([text[: opening.start()], inside, text[closing + 2 :]])
    return text.apply(_AFTER_BRACKETS).sub(_LEADING_PAUSE, "").strip()


MAX_SENTENCE_CHARS: Final = 300  # longest sentence, before short ones join it
MIN_SENTENCE_CHARS: Final = 30  # a shorter sentence is joined to a neighbour if it has one
MAX_JOINED_CHARS: Final = 400  # longest sentence, with the short ones that joined it
MAX_WORD_CHARS: Final = 60  # length of the pieces of a word that no sentence could hold

_LONG_WORD: Final = re.compile(rf"[^ .!?]{{{MAX_SENTENCE_CHARS},}}")
_WORD_PIECE: Final = re.compile(rf".{{{MAX_WORD_CHARS}}}(?=.)")

_SENTENCE: Final = re.compile(
    rf".{{0,{MAX_SENTENCE_CHARS - 2}}}?"
    r"(?:[!?]|\.(?= |.?\Z))"  # a point inside a word ends nothing
    r"[!?.]*(?:.\Z)?"  # a last character does not stand apart
)


def split_sentences(text: MappedText) -> list[MappedText]:
    """The sentences of a `text` in Soprano's form, of at most MAX_SENTENCE_CHARS characters."""
    text = text.sub(_LONG_WORD, lambda word: _WORD_PIECE.sub(r"\g<0> ", word[0]))
    sentences: list[MappedText] = []
    start = 0
    while start < len(text):
        # Two characters more than the longest sentence show whether its last point ends it.
        rest = text.text[start : start + MAX_SENTENCE_CHARS + 2]
        sentence = _SENTENCE.match(rest)
        if sentence:
            length = min(sentence.end(), MAX_SENTENCE_CHARS)
        elif len(rest) < MAX_SENTENCE_CHARS:
            length = len(rest)
        else:  # it ends after a word
            length = 1 + max(rest.rfind(gap, 0, MAX_SENTENCE_CHARS) for gap in " .!?")
        piece = text[start : start + length].strip()
        if piece.text.strip(" .,!?-'"):
            sentences.append(piece)
        start += length
    return sentences


def join_short_sentences(sentences: Iterable[MappedText]) -> list[MappedText]:
    """The same with every short one joined to the one before; at the beginning, to the next."""
    joined: list[MappedText] = []
    for sentence in sentences:
        is_short = bool(joined) and min(len(joined[-1]), len(sentence)) < MIN_SENTENCE_CHARS
        if is_short and len(joined[-1]) + 1 + len(sentence) <= MAX_JOINED_CHARS:
            joined[-1] = MappedText.join([joined[-1], sentence], " ")
        else:
            joined.append(sentence)
    return joined


def split_for_soprano(paragraphs: Sequence[MappedText]) -> list[MappedText]:
    """The sentences that are sent to the model; none if there is nothing to pronounce."""
    return join_short_sentences(
        sentence
        for paragraph in paragraphs
        for sentence in split_sentences(in_soprano_form(paragraph))
    )


def prompt_for(segment: TextSegment) -> str:
    """What the language model continues, in the model card's form."""
    return f"[STOP][TEXT]{segment.text}[START]"
