"""Any character by the ASCII ones that stood in its place when Soprano was trained.

anyascii knows the letters of the world. What differs is here: symbols that the training text
spelled in a way of its own (a pound sign was "PS", an arrow a hyphen), and symbols it left out.
"""
# ruff: noqa: RUF001 - these tables are about characters that look like others

import re
from functools import lru_cache
from typing import Final

from anyascii import anyascii

_SPELLINGS: Final = (
    # dashes, quotes, bullets
    (" - ", "—"),
    ("--", "―⁃"),
    (".", "‧"),
    (",", "‚❟"),
    (",,", "„❠"),
    ("?", "\N{GREEK QUESTION MARK}"),
    ("*", "·◖◗◢◣◤◥"),
    ("*>", "‣"),
    ("SS", "§"),
    # money
    ("C/", "¢"),
    ("PS", "£￡"),
    ("$?", "¤"),
    ("Y=", "¥￥"),
    ("W=", "￦"),
    ("/C", "￠"),
    ("ECU", "₠"),
    ("CL", "₡"),
    ("FF", "₣"),
    ("mil", "₥"),
    ("NS", "₪"),
    ("D", "₫"),
    ("UAH", "₴"),
    ("C|", "₵"),
    ("L", "₶₺"),
    ("m", "₼"),
    ("R", "₽"),
    ("l", "₾"),
    # signs made of letters
    ("degC", "℃"),
    ("degF", "℉"),
    ("ohm", "\N{OHM SIGN}"),
    ("No. ", "№"),
    ("(sm)", "℠"),
    ("(tm)", "™"),
    (" c/o ", "℅"),
    # what multiplies, points or marks
    ("x", "×"),
    ("-", "←→↔↚↛↞↠↢↣↤↦↩↪↫↬↭↮↼↽⇀⇁⇠⇢⇤⇥⇦⇨⇰"),
    ("=", "↹⇄⇆⇇⇉⇋⇌⇍⇎⇏⇐⇒⇔⇚⇛"),
    ("~", "↜↝⇜⇝〰"),
    ("/", "↗↙⇗⇙"),
    ("\\", "↖↘↸⇖⇘⇱⇲"),
    ("|", "↑↓↕↟↡↥↧↨↯↰↱↲↳↴↵↶↻↾↿⇂⇃⇅⇈⇊⇑⇓⇕⇞⇟⇡⇣⇧⇩⇪⇫⇬⇭⇮⇯⇳"),
    (">", "▶"),
    ("} ", "⦄"),
    ("> ", "\N{RIGHT-POINTING ANGLE BRACKET}"),
    ("<", "◀\N{LEFT-POINTING ANGLE BRACKET}"),
    ("#", "▪▫◴◵◶◷"),
    ("V", "↷↺▼▽▾▿"),
    ("O", "◯"),
    # games
    ("spades", "♠♤"),
    ("hearts", "♥♡"),
    ("diamonds", "♦♢"),
    ("clubs", "♣♧"),
    ("white king", "♔"),
    ("white queen", "♕"),
    ("white rook", "♖"),
    ("white bishop", "♗"),
    ("white knight", "♘"),
    ("white pawn", "♙"),
    ("black king", "♚"),
    ("black queen", "♛"),
    ("black rook", "♜"),
    ("black bishop", "♝"),
    ("black knight", "♞"),
    ("black pawn", "♟"),
    # Latin capitals of two letters, and Greek as science reads it
    ("AE", "ÆǢǼ"),
    ("OE", "Œ"),
    ("NG", "Ŋ"),
    ("k", "ĸ"),
    ("B", "Β"),
    ("b", "β"),
    ("E", "ΗΉ"),
    ("e", "ηή"),
    ("I", "ΐ"),
    ("Ks", "Ξ"),
    ("U", "ΥΎΫ"),
    ("u", "υύϋΰ"),
    ("Ph", "Φ"),
    ("ph", "φ"),
    ("Kh", "Χ"),
    ("kh", "χ"),
    # punctuation of East Asia, whose spaces are inside the character
    (", ", "、"),
    (". ", "。"),
    ("] ", "」』】〕"),
)
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

_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")


def to_ascii(text: str) -> str:
    """`text` in ASCII; what has neither a spelling nor a sound is left out."""
    return _NOT_ASCII.sub(lambda char: _spell(char[0]), text)


@lru_cache(maxsize=1 << 14)
def _spell(char: str) -> str:
    if char in _SPELLING_OF:
        return _SPELLING_OF[char]
    if _SILENT.match(char) and char not in _NOT_SILENT:
        return ""
    # Spaces keep a fraction apart from a number, and a Chinese word from the next.
    before = " " if char in _FRACTIONS or char in "¼½¾" else ""
    is_ideograph = "\u3400" <= char <= "\u9fff"
    after = " " if char in _FRACTIONS or is_ideograph else ""
    return before + anyascii(char) + after
