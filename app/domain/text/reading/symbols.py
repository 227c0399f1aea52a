"""Signs between the words that have a name. Brackets, quotes and marks stay."""

import re
from typing import Final

from app.domain.text.mapped_text import Rule

_NAMES: Final = {
    "&": "and", "%": "percent", "+": "plus", "=": "equals", "<": "less than", ">": "greater than",
    "@": "at", "/": "slash", "\\": "backslash", "#": "hash", "$": "dollar", "\u20ac": "euro",
    "\u00a3": "pound", "\u00a5": "yen", "\u20a9": "won", "\u20b9": "rupee", "\u20bf": "bitcoin",
    "\u00a2": "cent", "\u00b0": "degrees", "\u00a7": "section", "\u00b6": "paragraph",
    "\u00a9": "copyright", "\u2030": "per mille", "\u221e": "infinity", "\u221a": "square root of",
    "\u2192": "to", "\u2248": "approximately", "\u2260": "is not equal to",
    "\u2264": "less than or equal to", "\u2265": "greater than or equal to", "\u00d7": "times",
    "\u00f7": "divided by", "\u00b1": "plus or minus", "\u2211": "sum of",
    "<=": "less than or equal to", ">=": "greater than or equal to", "!=": "is not equal to",
    "==": "equals", "=>": "to", "->": "to", "-->": "to", "...": "...", "\u20bd": "rubles",
    "\u20ba": "lira", "\u20aa": "shekels", "\u20ab": "dong", "\u20b4": "hryvnia", "\u0e3f": "baht",
}  # fmt: skip
_SILENT: Final = r"[*~^|`_\u00ac]"
_GREEK: Final = {
    "\u03b1": "alpha", "\u03b2": "beta", "\u03b3": "gamma", "\u03b4": "delta", "\u0394": "delta", "\u03b5": "epsilon",
    "\u03b6": "zeta", "\u03b7": "eta", "\u03b8": "theta", "\u03ba": "kappa", "\u03bb": "lambda", "\u03bc": "mu",
    "\u03bd": "nu", "\u03be": "xi", "\u03c0": "pi", "\u03c1": "rho", "\u03c3": "sigma", "\u03a3": "sigma", "\u03c4": "tau",
    "\u03c6": "phi", "\u03a6": "phi", "\u03c7": "chi", "\u03c8": "psi", "\u03c9": "omega", "\u03a9": "omega", "\u0393": "gamma",
}  # fmt: skip


def _read(match: re.Match[str]) -> str:
    return f" {_NAMES[match[0]]} "


RULES: Final[tuple[Rule, ...]] = (
    (re.compile(r"#(?=\w)"), lambda match: "hashtag " if not match.string[max(0, match.start() - 1) : match.start()].isalnum() else " "),
    (re.compile(r"~ ?(?=\w)(?<=[\s(]..)|^~ ?(?=\w)|(?<=\s)~ ?(?=[a-z])"), "about "),
    (re.compile(r"(?<=[A-Za-z])\+\+"), " plus plus"),
    (re.compile(r"(?<![^\W\d_])[" + "".join(_GREEK) + r"](?![^\W\d_])"), lambda match: _GREEK[match[0]]),
    (re.compile(r"(?<=[\w)]) - (?=[\w(])"), " \u2013 "),
    (re.compile(r"(?<!\w)\.(?=[a-z])"), "dot "),
    (re.compile(r"(?<=[A-Za-z])\.(?=[a-z])"), " dot "),
    (re.compile(r"(?<=[a-z])([.!?])(?=[A-Z][a-z' ])"), lambda match: f"{match[1]} "),
    (re.compile(r"(?<=[.!?,;:])(?=[A-Za-z])(?<=[a-z][.!?,;:])"), " "),
    (re.compile(r"<=|>=|!=|==|-{1,2}>|=>|[" + re.escape("".join(name for name in _NAMES if len(name) == 1)) + "]"), _read),
    (re.compile(_SILENT), " "),
)  # fmt: skip
