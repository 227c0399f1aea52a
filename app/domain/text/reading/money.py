"""Amounts of money: the sign before or behind, scales, ranges, cents, a price per something."""

import re
from typing import Final

from app.domain.text.mapped_text import Rule
from app.domain.text.number_words import cardinal, decimal, is_one
from app.domain.text.reading.units import PER_NAMES

_COINS: Final = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "\u20ac": ("euro", "euros", "cent", "cents"),
    "\u00a3": ("pound", "pounds", "penny", "pence"),
    "\u00a5": ("yen", "yen", "", ""),
    "\u20a9": ("won", "won", "", ""),
    "\u20b9": ("rupee", "rupees", "paisa", "paise"),
    "\u20bd": ("ruble", "rubles", "kopeck", "kopecks"),
    "\u20ba": ("lira", "lira", "", ""),
    "\u20aa": ("shekel", "shekels", "", ""),
    "\u20ab": ("dong", "dong", "", ""),
    "\u20b4": ("hryvnia", "hryvnia", "", ""),
    "\u20bf": ("bitcoin", "bitcoins", "", ""),
    "\u0e3f": ("baht", "baht", "", ""),
}
_CODES: Final = {
    "USD": "US $", "EUR": "\u20ac", "GBP": "\u00a3", "JPY": "\u00a5", "KRW": "\u20a9",
    "INR": "\u20b9", "RUB": "\u20bd", "AUD": "Australian $", "CAD": "Canadian $",
    "NZD": "New Zealand $", "HKD": "Hong Kong $", "CHF": "CHF", "CNY": "CNY", "RMB": "CNY",
    "US$": "US $", "A$": "Australian $", "AU$": "Australian $", "C$": "Canadian $",
    "CA$": "Canadian $", "NZ$": "New Zealand $", "HK$": "Hong Kong $", "S$": "Singapore $",
    "R$": "R$", "Rs.": "\u20b9", "Rs": "\u20b9", "SEK": "SEK", "NOK": "NOK", "DKK": "DKK",
    "MXN": "MXN", "BRL": "R$", "ZAR": "ZAR", "PLN": "PLN", "CZK": "CZK",
}  # fmt: skip
_OTHER_COINS: Final = {
    "CHF": ("Swiss franc", "Swiss francs", "", ""), "CNY": ("yuan", "yuan", "", ""),
    "R$": ("real", "reais", "centavo", "centavos"), "SEK": ("krona", "kronor", "", ""),
    "NOK": ("krone", "kroner", "", ""), "DKK": ("krone", "kroner", "", ""),
    "MXN": ("Mexican peso", "Mexican pesos", "", ""), "ZAR": ("rand", "rand", "", ""),
    "PLN": ("zloty", "zlotys", "", ""), "CZK": ("koruna", "koruna", "", ""),
}  # fmt: skip
_SCALES: Final = {
    "k": "thousand", "m": "million", "mn": "million", "mm": "million", "mio": "million",
    "b": "billion", "bn": "billion", "t": "trillion", "tn": "trillion", "tr": "trillion",
}  # fmt: skip

_SIGN: Final = "[" + "".join(_COINS) + "]"
_CODE: Final = "(?:" + "|".join(re.escape(code) for code in sorted(_CODES, key=len, reverse=True)) + ")"
_AMOUNT: Final = r"(?:\d{1,3}(?:,\d{3})++(?:\.\d++)?|\d++(?:\.\d++)?|\.\d++)"
_SCALE: Final = (
    r"(?: ?-?(?:hundred|thousand|million|billion|trillion)\b"
    r"|(?: ?(?i:[kmbt]n?|mio|mm|tr))(?![\w'])(?!/))"
)
_PER: Final = rf"(?: ?/ ?(?P<per>{'|'.join(sorted(PER_NAMES, key=len, reverse=True))})\b)?"
_MINUS: Final = r"(?:(?<![\w)])[-\u2212]|\+)?"


def _coins(sign: str | None) -> tuple[str, tuple[str, str, str, str]]:
    """What goes before the name of the coin, such as US, and its names."""
    sign = _CODES.get(sign or "", sign or "")
    area, _, coin = sign.rpartition(" ")
    return (f"{area} " if area else ""), _COINS.get(coin) or _OTHER_COINS[coin]


def _scale(written: str) -> str:
    name = written.strip(" -")
    return _SCALES.get(name.lower(), name)


def _words(amount: str, scale: str | None, sign: str) -> str:
    area, (one, many, cent, cents) = _coins(sign)
    if scale:
        return f"{decimal(amount)} {_scale(scale)} {area}{many}"
    whole, _, rest = amount.partition(".")
    rest = rest.rstrip("0")
    if not rest or not cent or len(rest) > 2:  # noqa: PLR2004 - cents have two figures
        number = amount if rest else whole
        return f"{decimal(number)} {area}{one if is_one(number) else many}"
    num_cents = int(rest.ljust(2, "0"))
    minor = f"{cardinal(str(num_cents))} {cent if num_cents == 1 else cents}"
    if not whole.strip("0,"):
        return minor
    return f"{cardinal(whole)} {area}{one if is_one(whole) else many} {minor}"


def _read(match: re.Match[str]) -> str:
    groups = match.groupdict()
    sign = groups.get("sign") or groups["behind"]
    amount = groups["amount"]
    if re.fullmatch(r"\d+,\d\d", amount):  # 27,50 with the sign behind
        amount = amount.replace(",", ".")
    words = _words(amount, groups["scale"], sign)
    if groups.get("from"):
        words = f"{_first(match, sign)} to {words}"
    if groups.get("per"):
        words += f" per {PER_NAMES[groups['per']]}"
    signs = groups.get("minus") or groups.get("minus2") or ""
    glue = " " if _touches_word(match) else ""
    return f"{glue}{'minus ' if signs in ('-', chr(0x2212)) and signs else ''}{words}"


def _first(match: re.Match[str], sign: str) -> str:
    """The lower end of a range; it takes the scale and the coin of the upper one, if it has none."""
    if match["sign2"]:
        return _words(match["from"], match["scale1"], sign)
    if match["scale1"]:
        return f"{decimal(match['from'])} {_scale(match['scale1'])}"
    return decimal(match["from"])


def _touches_word(match: re.Match[str]) -> bool:
    return match.start() > 0 and match.string[match.start() - 1].isalnum()


RULES: Final[tuple[Rule, ...]] = (
    # $5-10 million, $250-$300
    (
        re.compile(
            rf"(?<![\w$])(?P<minus>{_MINUS})(?P<sign>{_CODE} ?|{_SIGN} ?)(?P<from>{_AMOUNT})"
            rf"(?P<scale1>{_SCALE})? ?[-\u2013\u2014] ?(?P<sign2>{_CODE} ?|{_SIGN} ?)?(?P<amount>{_AMOUNT})"
            rf"(?P<scale>{_SCALE})?(?![\w-]|[.,]\d){_PER}"
        ),
        lambda match: _read(_Stripped(match)),  # type: ignore[arg-type]
    ),
    (
        re.compile(
            rf"(?P<minus>{_MINUS})(?:(?<![A-Za-z])(?P<sign>{_CODE}) ?|(?P<sign_>{_SIGN}) ?)"
            rf"(?P<minus2>[-\u2212])?(?P<amount>{_AMOUNT})(?P<scale>{_SCALE})?{_PER}"
        ),
        lambda match: _read(_Stripped(match)),  # type: ignore[arg-type]
    ),
    # 5 EUR, 20 euro sign, 27,50 euro sign
    (
        re.compile(
            rf"(?<![\w.,])(?P<minus>{_MINUS})(?P<amount>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:[.,]\d\d)?(?!\d)|\d+\.\d+)"
            rf"(?P<scale>{_SCALE})? ?(?:(?P<behind>{_SIGN})(?![\d.])|(?P<sign_>(?!Rs)[A-Z]{{3}})\b)"
        ),
        lambda match: _read(_Stripped(match)) if _is_money(match) else None,  # type: ignore[arg-type]
    ),
    (
        re.compile(rf"(?<![\w.,])(?P<amount>{_AMOUNT}) ?\u00a2"),
        lambda match: f"{decimal(match[1])} {'cent' if is_one(match[1]) else 'cents'}",
    ),
)  # fmt: skip


def _is_money(match: re.Match[str]) -> bool:
    return bool(match["behind"]) or match["sign_"] in _CODES


class _Stripped:
    """A match whose sign is in one group, without the space behind it."""

    def __init__(self, match: re.Match[str]) -> None:
        self._match = match
        self.string = match.string
        self.start = match.start

    def groupdict(self) -> dict[str, str]:
        groups = self._match.groupdict()
        groups["sign"] = (groups.get("sign") or groups.get("sign_") or "").strip()
        groups["sign2"] = (groups.get("sign2") or "").strip()
        return groups

    def __getitem__(self, name: str) -> str:
        return self.groupdict()[name]
