"""Short forms of words, by what stands around them; letters with points."""

import re
from typing import Final

from app.domain.text.mapped_text import Rule
from app.domain.text.reading.letters import JOINT, spelled
from app.domain.text.reading.sentence_ends import ends_sentence

_TITLES: Final = {
    "Mr": "mister", "Mrs": "missus", "Ms": "miz", "Mx": "mix", "Dr": "doctor", "Drs": "doctors",
    "Prof": "professor", "Profs": "professors", "St": "saint", "Mt": "mount", "Ft": "fort",
    "Gen": "general", "Gov": "governor", "Sen": "senator", "Rep": "representative",
    "Capt": "captain", "Lt": "lieutenant", "Col": "colonel", "Sgt": "sergeant",
    "Cmdr": "commander", "Rev": "reverend", "Hon": "honorable", "Pres": "president",
    "Supt": "superintendent", "Cpl": "corporal", "Maj": "major", "Adm": "admiral",
    "Fr": "father", "Msgr": "monsignor", "Messrs": "messers", "Insp": "inspector", "Det": "detective",
}  # fmt: skip
"""With a point, before a name."""

_ALSO_WORDS: Final = frozenset({"Fr", "Ft", "Mt", "St", "Gen", "Pres", "Rep", "Det", "Adm"})
"""Those that are read so only before a name."""

_WITHOUT_POINT: Final = ("Mr", "Mrs", "Ms", "Dr", "Prof")
"""Those that are written without a point, too, and are nothing else."""

_STREETS: Final = {
    "St": "Street", "Dr": "Drive", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Ln": "Lane",
    "Ct": "Court", "Sq": "Square", "Pl": "Place", "Pkwy": "Parkway", "Hwy": "Highway", "Ter": "Terrace",
    "Cres": "Crescent", "Rte": "Route", "Expy": "Expressway",
}  # fmt: skip
_NAMES_AFTER: Final = {
    "Jr": "Junior", "Sr": "Senior", "Inc": "Incorporated", "Ltd": "Limited", "Corp": "Corporation",
    "Co": "Company", "Bros": "Brothers", "Esq": "Esquire", "Bldg": "Building", "Apt": "Apartment",
    "Ste": "Suite", "Assn": "Association", "Dept": "Department", "Univ": "University",
    "Govt": "Government", "Intl": "International", "Natl": "National", "Hosp": "Hospital",
}  # fmt: skip
_BEFORE_FIGURES: Final = {
    "no": "number", "nos": "numbers", "vol": "volume", "vols": "volumes", "p": "page",
    "pp": "pages", "pg": "page", "fig": "figure", "figs": "figures", "ch": "chapter", "chap": "chapter",
    "sec": "section", "art": "article", "par": "paragraph", "eq": "equation", "ex": "example",
    "ed": "edition", "tel": "telephone", "ext": "extension", "apt": "apartment", "rm": "room",
    "est": "established", "c": "circa", "ca": "circa", "ver": "version", "v": "version", "nr": "number",
    "app": "appendix", "tab": "table", "ph": "phone", "flt": "flight", "rte": "route", "hwy": "highway", "ste": "suite",
}  # fmt: skip
_ALWAYS: Final = {
    "approx.": "approximately", "vs.": "versus", "vs": "versus", "e.g.": "for example",
    "eg.": "for example", "e.g": "for example", "i.e.": "that is", "ie.": "that is", "i.e": "that is",
    "etc.": "et cetera", "etc": "et cetera", "cf.": "compare", "et al.": "et al", "viz.": "namely",
    "a.k.a.": spelled("AKA"), "w/o": "without", "w/": "with ", "b/c": "because", "and/or": "and or",
    "c/o": "care of", "incl.": "including", "excl.": "excluding", "max.": "maximum",
    "min.": "minimum", "avg.": "average", "temp.": "temperature", "dept.": "department",
    "govt.": "government", "misc.": "miscellaneous", "esp.": "especially", "ca.": "circa",
    "tbsp.": "tablespoons", "tsp.": "teaspoons", "Ph.D.": spelled("PhD"), "PhD": spelled("PhD"),
    "Ph.Ds": spelled("PhD") + "s", "24/7": "twenty-four seven", "401(k)": f"four oh one{JOINT} K",
    "24/7/365": "twenty-four seven three sixty-five", "9/11": "nine eleven", "50/50": "fifty fifty", "20/20": "twenty twenty",
    "P.S.": spelled("PS"), "R.I.P.": spelled("RIP"), "o'clock": "o'clock", "O'Clock": "o'clock",
    "fl. oz.": "fluid ounces", "sq. ft.": "square feet", "N/A": "not applicable", "n/a": "not applicable", "I/O": f"I{JOINT}O",
    ".NET": "dot net", "C++": "C plus plus", "c++": "C plus plus", "C#": "C sharp", "F#": "F sharp", "R&D": "R and D", "Q&A": "Q and A", "AT&T": f"A{JOINT}T and T", "B&B": "B and B", "M&A": "M and A", "P&L": "P and L", "R&B": "R and B", "S&P": "S and P", "H&M": "H and M", "M&M": "M and M",
    "cont'd": "continued", "int'l": "international", "Rd.": "Road", "Blvd.": "Boulevard", "Ave.": "Avenue", "Hwy.": "Highway", "Pkwy.": "Parkway",
}  # fmt: skip

_SPELLED: Final = ("API", "CLI", "CPU", "GPU", "URL", "USB", "HTML", "HTTP", "HTTPS", "SQL", "SDK", "AAA")
"""Names of the trade that a voice might take for words; with an s for more than one."""

_WRITTEN_FOR: Final = {
    "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "KB": "kilobyte",
    "KBs": "kilobytes", "MB": "megabyte", "MBs": "megabytes", "GB": "gigabyte", "GBs": "gigabytes",
    "TB": "terabyte", "TBs": "terabytes", "kWh": "kilowatt hour", "km/h": "kilometers per hour",
    "Mbps": "megabits per second", "Gbps": "gigabits per second",
}  # fmt: skip
"""Units without a number."""

_INITIALS: Final = re.compile(r"[A-Za-z]")


def _alternatives(words: "dict[str, str] | tuple[str, ...]") -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def _with_point(words: str, match: re.Match[str]) -> str:
    """`words`, and the point of the abbreviation where it also ends the sentence."""
    return f"{words}." if match[0].endswith(".") and ends_sentence(match) else words


def _read_initialism(match: re.Match[str]) -> str | None:
    letters = "".join(_INITIALS.findall(match["letters"]))
    tail = match["tail"] or ""
    return _with_point(spelled(letters.upper()) + tail, match)


def _read_street(match: re.Match[str]) -> str | None:
    rest = match.string[match.end() : match.end() + 2]
    is_before_name = rest[:1] == " " and rest[1:].isupper() and not ends_sentence(match)
    if match["short"] in ("Dr", "St") and is_before_name:
        return None
    return _with_point(f"{match['name']} {_STREETS[match['short']]}", match)


RULES: Final[tuple[Rule, ...]] = (
    (
        re.compile(rf"(?<![\w./&'-])(?:{_alternatives(_ALWAYS)})(?![\w/&+#])"),
        lambda match: _with_point(_ALWAYS[match[0]], match),
    ),
    (
        re.compile(rf"(?<![\w.])(?P<short>(?i:{_alternatives(_BEFORE_FIGURES)}))\. ?(?=\d|[IVX]+\b|[A-Z]\b)"),
        lambda match: _BEFORE_FIGURES[match["short"].lower()] + " ",
    ),
    (
        re.compile(rf"(?P<name>\b(?:[A-Z][a-z]+|\d+(?:st|nd|rd|th))) (?P<short>{_alternatives(_STREETS)})\b\.?(?!\w)(?! ?[&/])"),
        _read_street,
    ),
    (
        re.compile(rf"\b(?P<short>{_alternatives(_TITLES)})\. ?(?=[A-Z])"),
        lambda match: _TITLES[match["short"]] + " ",
    ),
    (
        re.compile(rf"\b(?P<short>{_alternatives(_WITHOUT_POINT)})(?= [A-Z])"),
        lambda match: _TITLES[match["short"]],
    ),
    (
        re.compile(rf"\b(?P<short>{_alternatives(tuple(set(_TITLES) - _ALSO_WORDS))})\.(?!\w)"),
        lambda match: _with_point(_TITLES[match["short"]], match),
    ),
    (re.compile(rf"\b({_alternatives(_SPELLED)})('?s)?\b"), lambda match: spelled(match[1]) + ("'s" if match[2] else "")),
    (re.compile(rf"(?<![\w/])({_alternatives(_WRITTEN_FOR)})(?![\w/])"), lambda match: _WRITTEN_FOR[match[1]]),
    (
        re.compile(rf"\b(?P<short>{_alternatives(_NAMES_AFTER)})\.(?!\w)"),
        lambda match: _with_point(_NAMES_AFTER[match["short"]], match),
    ),
    (
        re.compile(r"(?<![\w.@])(?P<letters>(?:[A-Za-z]\.){1,12}[A-Za-z]\b)(?P<tail>'?s\b)?\.?(?!\w)"),
        _read_initialism,
    ),
    (  # an initial before a name: George C. Marshall
        re.compile(r"(?<![\w.])([A-Z])\.(?= ?[A-Z][\w.])"),
        lambda match: None if ends_sentence(match) else match[1],
    ),
    # Letters that are no word: AAA, WWW.
    (re.compile(r"\b([A-Z])\1{2,5}\b"), lambda match: None if set(match[0]) & set("IXCM") else spelled(match[0])),
    (re.compile(r"\bwww\b"), spelled("WWW")),
    (re.compile(r"(?<=\w)\((\w{1,3})\)(?=\w|\b)|(?<!\w)\((\w{1,3})\)(?=[a-z])"), lambda match: match[1] or match[2]),
)  # fmt: skip
