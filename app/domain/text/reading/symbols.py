"""Signs between the words that have a name. Brackets, quotes and marks stay."""

import re
from typing import Final

from app.domain.text.mapped_text import rule
from app.domain.text.reading.matching import apart, touches_word

_NAMES: Final = {
    "&": "and", "%": "percent", "+": "plus", "=": "equals", "<": "less than", ">": "greater than",
    "@": "at", "/": "slash", "\\": "backslash", "#": "hash", "$": "dollar", "\u20ac": "euro",
    "\u00a3": "pound", "\u00a5": "yen", "\u20a9": "won", "\u20b9": "rupee", "\u20bf": "bitcoin",
    "\u00a2": "cents", "\u00b0": "degrees", "\u00a7": "section", "\u00b6": "paragraph",
    "\u00a9": "copyright", "\u2030": "per mille", "\u221e": "infinity", "\u221a": "square root of",
    "\u2192": "to", "\u2248": "approximately", "\u2260": "is not equal to",
    "\u2264": "less than or equal to", "\u2265": "greater than or equal to", "\u00d7": "times",
    "\u00f7": "divided by", "\u00b1": "plus or minus", "\u2211": "sum of", "\u20bd": "rubles",
    "\u20ba": "lira", "\u20aa": "shekels", "\u20ab": "dong", "\u20b4": "hryvnia", "\u0e3f": "baht",
}  # fmt: skip
_SILENT: Final = "*~^|`_\u00ac\u00a1\u00bf"
_GREEK: Final = {
    "\u03b1": "alpha", "\u03b2": "beta", "\u03b3": "gamma", "\u03b4": "delta", "\u0394": "delta",
    "\u03b5": "epsilon",
    "\u03b6": "zeta", "\u03b7": "eta", "\u03b8": "theta", "\u03ba": "kappa", "\u03bb": "lambda",
    "\u03bc": "mu",
    "\u03bd": "nu", "\u03be": "xi", "\u03c0": "pi", "\u03c1": "rho", "\u03c3": "sigma",
    "\u03a3": "sigma", "\u03c4": "tau",
    "\u03c6": "phi", "\u03a6": "phi", "\u03c7": "chi", "\u03c8": "psi", "\u03c9": "omega",
    "\u03a9": "omega", "\u0393": "gamma",
}  # fmt: skip


_OPERATORS: Final = {
    "<=": "less than or equal to", ">=": "greater than or equal to", "!=": "is not equal to",
    "==": "equals", "=>": "to", "->": "to", "-->": "to", "<-": "", "--": "\u2013",
    "&&": "and", "||": "or",
}  # fmt: skip


def _apart(match: re.Match[str], words: str) -> str:
    """`words` with a space to what stands before, and to a word that follows."""
    text, start, end = match.string, match.start(), match.end()
    before = " " if start and not text[start - 1].isspace() else ""
    after = text[end : end + 1]
    return before + words + (" " if after.isalnum() or (after and after in "([{'\"") else "")


SIGN: Final = (
    rf"[{re.escape(''.join([*_NAMES, *_GREEK, _SILENT]))}!-]"
    r"(?:(?<![!-])|(?<=-)[->]|(?<=!)=|(?<= -) )"
)
RULES: Final = (
    rule(r"#(?=\w)", lambda match: " " if touches_word(match) else "hashtag "),
    rule("\u00a9(?<=opyright .) ?", ""),
    rule("\u00a7\u00a7", "sections "),
    rule(r"~(?<![\w)].) ?(?=\w)", "about "),
    rule(r"\+\+(?<=[A-Za-z]..)", lambda match: apart(match, "plus plus")),
    rule(rf"[{''.join(_GREEK)}](?<![^\W\d_].)(?![^\W\d_])", lambda match: _GREEK[match[0]]),
    rule(r" - (?<=[\w)] - )(?=[\w(])", " \u2013 "),
    rule(r"\*(?<=\b\w.)(?=\w\b)", " times "),
    rule(
        "|".join(re.escape(sign) for sign in sorted(_OPERATORS, key=len, reverse=True)),
        lambda match: _apart(match, _OPERATORS[match[0]]),
    ),
    rule(rf"[{re.escape(''.join(_NAMES))}]", lambda match: _apart(match, _NAMES[match[0]])),
    rule(f"[{_SILENT}]", " "),
)
MARKS: Final = (
    rule(r"\.\.(?=\w)", ".. "),
    # a file, a host, a method: "main.py", ".config"
    rule(
        r"\.(?:(?<![\w.].)(?=[a-z])|(?<=[A-Za-z].)(?=[a-z]|NET\b))",
        lambda match: " dot " if touches_word(match) else "dot ",
    ),
    rule(r"[.!?,;:](?<=[a-z].)(?=[A-Za-z])", lambda match: f"{match[0]} "),
)
