"""Amounts of money: the sign before or behind, scales, ranges, cents, a price per something."""

import re
from typing import Final

from app.domain.text.mapped_text import rule
from app.domain.text.number_words import MANY, counted, decimal
from app.domain.text.reading.matching import (
    JOINT,
    any_of,
    apart,
    is_before_noun,
    not_after,
    number,
    touches_word,
)
from app.domain.text.reading.measures import PER_NAMES

# Their names, singular and plural, and those of their hundredth part, if they have one.
_COINS: Final[dict[str, tuple[str, str, str, str]]] = {
    "$": ("dollar", "dollars", "cent", "cents"), "\u20ac": ("euro", "euros", "cent", "cents"),
    "\u00a3": ("pound", "pounds", "penny", "pence"), "\u00a5": ("yen", "yen", "", ""),
    "\u20a9": ("won", "won", "", ""), "\u20b9": ("rupee", "rupees", "paisa", "paise"),
    "\u20bd": ("ruble", "rubles", "kopeck", "kopecks"), "\u20ba": ("lira", "lira", "", ""),
    "\u20aa": ("shekel", "shekels", "", ""), "\u20ab": ("dong", "dong", "", ""),
    "\u20b4": ("hryvnia", "hryvnia", "", ""), "\u20bf": ("bitcoin", "bitcoins", "", ""),
    "\u0e3f": ("baht", "baht", "", ""), "CHF": ("Swiss franc", "Swiss francs", "", ""),
    "CNY": ("yuan", "yuan", "", ""), "R$": ("real", "reais", "centavo", "centavos"),
    "SEK": ("krona", "kronor", "", ""), "NOK": ("krone", "kroner", "", ""),
    "DKK": ("krone", "kroner", "", ""), "MXN": ("Mexican peso", "Mexican pesos", "", ""),
    "ZAR": ("rand", "rand", "", ""), "PLN": ("zloty", "zlotys", "", ""),
    "CZK": ("koruna", "koruna", "", ""),
}  # fmt: skip
# What else is written for a coin; before its sign, whose it is.
_CODES: Final = {
    "USD": f"U{JOINT}S $", "EUR": "\u20ac", "GBP": "\u00a3", "JPY": "\u00a5", "KRW": "\u20a9",
    "INR": "\u20b9", "RUB": "\u20bd", "AUD": "Australian $", "CAD": "Canadian $",
    "NZD": "New Zealand $", "HKD": "Hong Kong $", "CHF": "CHF", "CNY": "CNY", "RMB": "CNY",
    "US$": f"U{JOINT}S $", "A$": "Australian $", "AU$": "Australian $", "C$": "Canadian $",
    "CA$": "Canadian $", "NZ$": "New Zealand $", "HK$": "Hong Kong $", "S$": "Singapore $",
    "R$": "R$", "Rs.": "\u20b9", "Rs": "\u20b9", "SEK": "SEK", "NOK": "NOK", "DKK": "DKK",
    "MXN": "MXN", "BRL": "R$", "ZAR": "ZAR", "PLN": "PLN", "CZK": "CZK",
}  # fmt: skip
_SCALES: Final = {
    "k": "thousand", "m": "million", "mn": "million", "mm": "million", "mio": "million",
    "b": "billion", "bn": "billion", "t": "trillion", "tn": "trillion", "tr": "trillion",
}  # fmt: skip

SIGNS: Final = "".join(sign for sign in _COINS if len(sign) == 1)
SIGN: Final = any_of([*SIGNS, *_CODES])

_AMOUNT: Final = r"(?:[0-9](?:[.,]?[0-9])*+|\.[0-9]++)"
_SCALE: Final = (
    r"(?:[ -]?(?:hundred|thousand|million|billion|trillion|crore|lakh)\b"
    r"|(?: ?(?i:[kmbt]n?|mio\.?|mm|tr))(?![\w']))"
)
_PER: Final = rf"(?:(?: ?/ ?| per )(?P<per>{any_of(PER_NAMES)})\b)?"

_DECIMAL_COMMA: Final = re.compile(r"[0-9]+,[0-9]{1,2}")
_GROUPED_BY_POINTS: Final = re.compile(
    r"[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]{1,2}|[0-9]{1,3}(?:\.[0-9]{3}){2,}"
)


def _plain(written: str) -> str:
    """The figures of an amount with at most a point: 1,234.50, 1.234,50, 1,00,000 or 27,50."""
    if _GROUPED_BY_POINTS.fullmatch(written) or _DECIMAL_COMMA.fullmatch(written):
        return written.replace(".", "").replace(",", ".")
    whole, point, rest = written.replace(",", "").partition(".")
    return whole + point + rest.replace(".", "")


def _scale(written: str) -> str:
    name = written.strip(" -.")
    return _SCALES.get(name.lower(), name)


def _words(written: str, scale: str | None, sign: str, *, is_attribute: bool = False) -> str:
    """The amount; as an attribute ("a fifty dollar bill") its coins are in the singular."""
    area, _, symbol = _CODES.get(sign, sign).rpartition(" ")
    one, many, cent, cents = _COINS[symbol]
    if is_attribute:
        many, cents = one, cent
    one, many = f"{area} {one}".lstrip(), f"{area} {many}".lstrip()
    amount = _plain(written)
    if scale:
        return f"{decimal(amount)} {_scale(scale)} {many}"
    whole, _, rest = amount.partition(".")
    rest = rest.rstrip("0")
    if not rest or not cent or len(rest) > 2:  # noqa: PLR2004 - cents have two figures
        return counted(amount if rest else whole or "0", one, many)
    minor = counted(rest.ljust(2, "0"), cent, cents)
    return f"{counted(whole, one, many)} {minor}" if whole.strip("0") else minor


def _read_sign_before(match: re.Match[str]) -> str | None:
    sign, amount, scale = match["sign"], match["amount"], match["scale"]
    touches = touches_word(match)
    if touches and sign[0].isalpha():
        return None
    if not match["high"]:
        words = _words(amount, scale, sign, is_attribute=is_before_noun(match))
    else:  # "$5-10 million": the lower end takes the coin and the scale of the upper one
        words = _words(match["high"], match["high_scale"], sign)
        if match["sign2"]:
            words = f"{_words(amount, scale, sign)} to {words}"
        else:
            low_scale = f" {_scale(scale)}" if scale else ""
            words = f"{decimal(_plain(amount))}{low_scale} to {words}"
    if match["per"]:
        words += f" per {PER_NAMES[match['per']]}"
    return apart(match, f"{'minus ' if match['minus'] else ''}{words}")


def _read_sign_behind(match: re.Match[str]) -> str:
    low = f"{decimal(_plain(match['first']))} to " if match["second"] else ""
    amount, is_attribute = match["second"] or match["first"], is_before_noun(match)
    return low + _words(amount, match["scale"], match["sign"], is_attribute=is_attribute)


def _read_many(match: re.Match[str]) -> str | None:
    amount = MANY.get(match["amount"].replace(",", ""))
    return amount and f"{amount}{match['scale'] or ''} of {_COINS[match['sign']][1]}"


# $100s of dollars, $10s of millions
PLURALS: Final = rule(
    rf"(?P<sign>[{SIGNS}])(?P<amount>1[0,]+)s\b"
    r"(?P<scale> of (?:thousand|million|billion)s\b)?(?: of (?:dollars|euros|pounds|yen)\b)?",
    _read_many,
)
# $5, US$ 5 million, $-5, $5-10 million, $250-$300
RULES: Final = rule(
    rf"(?P<sign>{SIGN}) ?(?P<minus>[-\u2212])?(?P<amount>{_AMOUNT})(?P<scale>{_SCALE})?"
    rf"(?: ?[-\u2013\u2014] ?(?P<sign2>{SIGN} ?)?(?P<high>{_AMOUNT})"
    rf"(?P<high_scale>{_SCALE})?(?![\w-]|[.,]\d))?{_PER}",
    _read_sign_before,
)
# $(1,200), as bookkeepers write it
LOSSES: Final = rule(
    rf"(?P<sign>[{SIGNS}])\((?P<amount>{_AMOUNT})(?P<scale>{_SCALE})?\)",
    lambda match: f"minus {_words(match['amount'], match['scale'], match['sign'])}",
)
SIGN_BEHIND: Final = SIGN + r"(?!\.?[0-9])"
# 5 EUR, 20 euro sign, 27,50 euro sign
BEHIND: Final = rule(
    rf"(?P<first>[0-9]{not_after('.,')}(?:[.,]?[0-9])*+)"
    rf"(?: ?[-\u2013] ?(?P<second>{_AMOUNT}))?(?P<scale>{_SCALE})? ?"
    rf"(?P<sign>[{SIGNS}](?!\.?[0-9])|(?!Rs)(?:{any_of(_CODES)})\b)",
    _read_sign_behind,
)
PER_PERSON: Final = rule(
    r"pp(?:(?<=dollars ..)|(?<=euros ..)|(?<=pounds ..)|(?<=pence ..)|(?<=cents ..))"
    r"\b(?!\.)",
    "per person",
)
PAIRS: Final = rule(
    rf"/(?:{'|'.join(f'(?<={code}.)' for code in _CODES if code.isalpha())})"
    r"(?=[A-Z]{3}\b)",
    " ",
)
CENTS: Final = rule(
    rf"({number(not_after('.,'))}) ?\u00a2",
    lambda match: counted(match[1], "cent", "cents"),
)
