"""Short forms of words, by what stands around them; letters with points."""

import re
from collections.abc import Iterable
from typing import Final

from app.domain.text.mapped_text import rule
from app.domain.text.number_words import ordinal
from app.domain.text.reading.matching import (
    JOINT,
    any_of,
    before,
    behind,
    ends_sentence,
    spelled,
    with_point,
    word_rule,
)
from app.domain.text.reading.measures import COMPASS_POINTS, PER_NAMES, UNITS

# With a point, before a name.
_TITLES: Final = {
    "Mr": "mister", "Mrs": "missus", "Ms": "miz", "Mx": "mix", "Dr": "doctor", "Drs": "doctors",
    "Prof": "professor", "Profs": "professors", "St": "saint", "Mt": "mount", "Ft": "fort",
    "Gen": "general", "Gov": "governor", "Sen": "senator", "Rep": "representative",
    "Capt": "captain", "Lt": "lieutenant", "Col": "colonel", "Sgt": "sergeant", "Cmdr": "commander",
    "Rev": "reverend", "Hon": "honorable", "Pres": "president", "Supt": "superintendent",
    "Cpl": "corporal", "Maj": "major", "Adm": "admiral", "Fr": "father", "Msgr": "monsignor",
    "Messrs": "messers", "Insp": "inspector", "Det": "detective",
}  # fmt: skip
_FIRMS: Final = frozenset({"Inc", "Ltd", "Corp", "Esq"})
_OFFICE_FOLLOWS: Final = re.compile(
    r" (?:[A-Z]{2,}|Chief|Chair\w*|President|Vice|Director|Founder|Co|Executive|Senior|Class"
    r"|Spokes\w+|Shares)\b"
)
# Those that are read so only before a name.
_ALSO_WORDS: Final = frozenset({"Fr", "Ft", "Mt", "St", "Gen", "Pres", "Rep", "Det", "Adm"})
# Those that are written without a point, too, and are nothing else.
_WITHOUT_POINT: Final = ("Mr", "Mrs", "Ms", "Dr", "Prof")
_STREETS: Final = {
    "St": "Street", "Dr": "Drive", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Ln": "Lane",
    "Ct": "Court", "Sq": "Square", "Pl": "Place", "Pkwy": "Parkway", "Hwy": "Highway",
    "Ter": "Terrace", "Cres": "Crescent", "Rte": "Route", "Expy": "Expressway",
}  # fmt: skip
_NAMES_AFTER: Final = {
    "Jr": "Junior", "Sr": "Senior", "Inc": "Incorporated", "Ltd": "Limited", "Corp": "Corporation",
    "Co": "Company", "Bros": "Brothers", "Esq": "Esquire", "Bldg": "Building", "Apt": "Apartment",
    "Ste": "Suite", "Assn": "Association", "Dept": "Department", "Univ": "University",
    "Govt": "Government", "Intl": "International", "Natl": "National", "Hosp": "Hospital",
}  # fmt: skip
# Short forms with a point that are read so only before figures, Roman or not.
BEFORE_FIGURES: Final = {
    "no": "number", "nos": "numbers", "vol": "volume", "vols": "volumes", "pp": "pages",
    "pg": "page", "fig": "figure", "figs": "figures", "ch": "chapter", "chap": "chapter",
    "sec": "section", "art": "article", "par": "paragraph", "eq": "equation", "ex": "example",
    "ed": "edition", "tel": "telephone", "ext": "extension", "apt": "apartment", "rm": "room",
    "est": "established", "ca": "circa", "ver": "version", "nr": "number", "app": "appendix",
    "tab": "table", "ph": "phone", "flt": "flight", "rte": "route", "hwy": "highway",
    "op": "opus", "sc": "scene", "dep": "departs", "arr": "arrives",
    "ste": "suite", "p": "page", "c": "circa", "v": "version",
}  # fmt: skip
# Of the Bible, with a point before chapter and verse. "Dan." and "Tim." are more often people.
SHORT_BOOKS: Final = {
    "Gen": "Genesis", "Ex": "Exodus", "Exod": "Exodus", "Lev": "Leviticus", "Deut": "Deuteronomy",
    "Ps": "Psalm", "Prov": "Proverbs", "Eccl": "Ecclesiastes", "Isa": "Isaiah", "Jer": "Jeremiah",
    "Ezek": "Ezekiel", "Matt": "Matthew", "Mt": "Matthew", "Mk": "Mark", "Lk": "Luke",
    "Jn": "John", "Rom": "Romans", "Cor": "Corinthians", "Gal": "Galatians", "Eph": "Ephesians",
    "Col": "Colossians", "Heb": "Hebrews", "Rev": "Revelation",
}  # fmt: skip
# Of the Bible, of which there are two or three.
_NUMBERED_BOOKS: Final = {
    "Cor": "Corinthians", "Tim": "Timothy", "Thess": "Thessalonians", "Pet": "Peter", "Jn": "John",
    "Sam": "Samuel", "Kgs": "Kings", "Chr": "Chronicles", "Chron": "Chronicles", "John": "John",
    "Corinthians": "Corinthians", "Timothy": "Timothy", "Peter": "Peter", "Samuel": "Samuel",
    "Kings": "Kings", "Chronicles": "Chronicles", "Thessalonians": "Thessalonians",
}  # fmt: skip
_ALWAYS: Final = {
    "approx.": "approximately", "vs.": "versus", "vs": "versus", "e.g.": "for example",
    "eg.": "for example", "e.g": "for example", "i.e.": "that is", "ie.": "that is",
    "i.e": "that is", "etc.": "et cetera", "etc": "et cetera", "cf.": "compare", "et al.": "et al",
    "viz.": "namely", "a.k.a.": spelled("AKA"), "w/o": "without", "w/": "with ", "b/c": "because",
    "on/off": "on off", "yes/no": "yes no", "Yes/No": "Yes no", "true/false": "true or false",
    "and/or": "and or", "he/she": "he or she", "she/he": "she or he", "s/he": "she or he",
    "He/she": "He or she", "S/he": "She or he", "his/her": "his or her", "him/her": "him or her",
    "A/C": spelled("AC"), "a/c": spelled("AC"), "w/in": "within", "approx": "approximately",
    "c/o": "care of", "incl.": "including", "excl.": "excluding", "max.": "maximum",
    "min.": "minimum", "avg.": "average", "temp.": "temperature", "dept.": "department",
    "govt.": "government", "misc.": "miscellaneous", "esp.": "especially", "ca.": "circa",
    "tbsp.": "tablespoons", "tsp.": "teaspoons", "Ph.D.": spelled("PhD"), "PhD": spelled("PhD"),
    "Ph.Ds": spelled("PhD") + "s", "Ph.D.s": spelled("PhD") + "s", "PhDs": spelled("PhD") + "s",
    "24/7": "twenty-four seven", "401(k)": f"four oh one{JOINT} K", "y/y": "year over year",
    "q/q": "quarter over quarter", "m/m": "month over month", "req/s": "requests per second",
    "ea.": "each", "24/7/365": "twenty-four seven three sixty-five", "9/11": "nine eleven",
    "50/50": "fifty fifty", "20/20": "twenty twenty", "P.S.": spelled("PS"),
    "R.I.P.": spelled("RIP"), "o'clock": "o'clock", "O'Clock": "o'clock", "fl. oz.": "fluid ounces",
    "sq. ft.": "square feet", "N/A": "not applicable", "n/a": "not applicable", "I/O": f"I{JOINT}O",
    "C++": "C plus plus", "c++": "C plus plus", "C#": "C sharp", "F#": "F sharp", "R&D": "R and D",
    "Q&A": "Q and A", "AT&T": f"A{JOINT}T and T", "B&B": "B and B", "M&A": "M and A",
    "P&L": "P and L", "R&B": "R and B", "S&P": "S and P", "H&M": "H and M", "M&M": "M and M",
    "cont'd": "continued", "int'l": "international", "Rd.": "Road", "Blvd.": "Boulevard",
    "Ave.": "Avenue", "Hwy.": "Highway", "Pkwy.": "Parkway",
}  # fmt: skip

_ALWAYS.update({  # at the beginning of a sentence
    f"{short.capitalize()}.": words.capitalize()
    for short, words in [(key[:-1], words) for key, words in _ALWAYS.items() if key.endswith(".")]
    if short.isalpha() and short.islower()
})  # fmt: skip

# Before no name, as a rule: what follows with a capital begins a sentence.
_LAST: Final = frozenset({"etc.", "Ph.D.", "Ave.", "Blvd.", "Rd.", "Hwy.", "Pkwy."})
_DEGREE_FOLLOWS: Final = re.compile(
    r" (?:Student|Candidate|Program|Thesis|Degree|North|South|East|West|Suite|Apt|Unit|New|San|Los"
    r"|Las|Hotel|Store|Station|Theat\w+|Bridge|Caf\w+|Extension)\b"
)
# Names of the trade that a voice might take for words; with an s for more than one.
_SPELLED: Final = ("API", "CLI", "CPU", "GPU")
# Units without a number.
_WRITTEN_FOR: Final = {
    **{short: UNITS[short][0] for short in ("KB", "MB", "GB", "TB", "kWh")},
    **{f"{short}s": UNITS[short][1] for short in ("KB", "MB", "GB", "TB")},
    **{short: UNITS[short][1] for short in ("Hz", "kHz", "MHz", "GHz", "km/h", "Mbps", "Gbps")},
}


def _at_marks(words: Iterable[str]) -> str:
    """A pattern for one of `words` that begins at its first mark, and looks behind for the rest."""
    by_mark: dict[str, list[str]] = {}
    for word in words:
        start = next(index for index, char in enumerate(word) if not char.isalnum())
        by_mark.setdefault(word[start], []).append(
            f"{re.escape(word[start + 1 :])}(?<={re.escape(word)})"
        )
    return "|".join(f"{re.escape(mark)}(?:{'|'.join(by_mark[mark])})" for mark in by_mark)


_WITH_MARKS: Final = [re.sub("[0-9]", "0", word) for word in _ALWAYS if not word.isalpha()]
FIXED_NEEDS: Final = rf"{_at_marks(_WITH_MARKS)}|vs|etc|PhD|\.NET|fl(?<=[0-9].. fl)"
# What all of _ALWAYS have, and few other words.
_MARKED: Final = r"(?=\w{1,6}[./&+#(']|vs|etc|PhD|et al)"
_TITLE_FOLLOWS: Final = re.compile(r" (?:&|and) (?:Mr|Mrs|Ms|Dr|Prof)\b\.? [A-Z]")
_FIGURE_BEFORE: Final = re.compile(r"[0-9][ -]?\Z")
_UNIT_BEFORE: Final = re.compile(r"(?:/|[0-9][ -]?)\Z")
_DETERMINERS: Final = frozenset({
    "The", "This", "That", "These", "A", "An", "My", "Our", "Your", "His", "Her", "Its", "Their",
})  # fmt: skip
_WORLD_WARS: Final = {"WWI": "World War one", "WWII": "World War two"}
_ROAD_BEFORE: Final = re.compile(r"\b(?:I|US|SR|Hwy|Highway|Route|Rte|Interstate)[- ][0-9]{1,3} \Z")
_ADDRESS: Final = re.compile(r"(?<![\w.,])[0-9]{1,5} (?:[NSEW]\.? )?[A-Z][a-z]+\Z")
_SAINTS: Final = re.compile(
    r" (?:Louis|Helens|Lucie|Clair|Andrews|Petersburg|Catherines|Albans|Kitts|Augustine|Croix"
    r"|Moritz)\b"
)
_STREET_NAME: Final = re.compile(r"(?:\b(?P<word>[A-Z][a-z]+)(?:'s)?|\b[0-9]+(?:st|nd|rd|th))\Z")

_NAME_BEFORE: Final = re.compile(
    r"(?<![\w'.])(?P<word>[A-Z0-9][\w'.-]*|(?:[a-z]+-)?(?:one|two|three|first|second|third|twelve"
    r"|twelfth|(?:four|six|seven|ten|eleven|[a-z]+teen|hundred)(?:th)?|five|fifth|eighth?|nine"
    r"|ninth|[a-z]+t(?:y|ieth))) \Z"
)
# Words before "St Louis" that begin a sentence; "Main St Diner" is on a street.
_BEFORE_PLACES: Final = frozenset({"In", "At", "From", "To", "Near", "Visit", "And", "The", "Is"})
_PLACE: Final = re.compile(
    r" (?:Bridge|Station|Baker(?:y|ies)|Caf[e\u00e9]|Theat(?:er|re)|Market|School|Park|Pier|Garage"
    r"|Hotel|Tunnel|Subway|Library|Grill|Deli|Pub|Bar|Exit|Church|Clinic|Branch|Office|Entrance)\b"
)
# Behind "no.", which is the answer then.
_COUNTED: Final = re.compile(
    r"[0-9,]{1,9} (?:people|men|women|children|of (?:us|them|you)|(?:minute|hour|day|week|month"
    r"|year|time|dollar|percent|guest|student|player)s?)\b"
)


def _read_street(match: re.Match[str]) -> str | None:
    name = before(_STREET_NAME, match, 24)
    if not name or name["word"] in _DETERMINERS:
        return None
    text, end, words = match.string, match.end(), f" {_STREETS[match['short']]}"
    is_place = behind(_PLACE, match) is not None
    is_before_name = text[end : end + 1] == " " and text[end + 1 : end + 2].isupper()
    is_address = match[0].endswith(".") and before(_ADDRESS, match, 32)
    if is_before_name and is_address and not behind(_SAINTS, match):
        return words if is_place else f"{words}."
    is_title = match["short"] in ("Dr", "St") and is_before_name and not is_place
    return None if is_title and not ends_sentence(match) else with_point(words, match)


def _read_title(match: re.Match[str]) -> str | None:
    short, title = match["short"], _TITLES[match["short"]]
    if match[0] == "St " and match.string[match.end() + 1 : match.end() + 2].islower():
        name = before(_NAME_BEFORE, match, 24)
        return None if name and name["word"] not in _BEFORE_PLACES else "saint "
    if short in _WITHOUT_POINT and behind(_TITLE_FOLLOWS, match):
        return title  # Mr & Mrs Lee
    if match["space"] is not None:  # before a name
        return f"{title} " if match["point"] or short in _WITHOUT_POINT else None
    return with_point(title, match) if match["point"] and short not in _ALSO_WORDS else None


def _read_fixed(match: re.Match[str]) -> str | None:
    is_unit = match[0] in UNITS and before(_FIGURE_BEFORE, match, 2)
    is_path = match.string.endswith(("slash ", "dot "), 0, match.start())
    if is_unit or is_path:
        return None
    is_last = match[0] in _LAST and not behind(_DEGREE_FOLLOWS, match)
    return with_point(_ALWAYS[match[0]], match, before_names=not is_last)


def _read_name_after(match: re.Match[str]) -> str:
    short = match["short"]
    if short == "Ste" and match.string.endswith("Sault ", 0, match.start()):
        return "Saint"
    is_firm = short in _FIRMS and not behind(_OFFICE_FOLLOWS, match)
    return with_point(_NAMES_AFTER[short], match, before_names=not is_firm)


def _read_before_figures(match: re.Match[str]) -> str | None:
    short = match["short"]
    is_part = match.string.endswith(".", 0, match.start())
    is_answer = short in ("no", "No") and behind(_COUNTED, match)
    is_cups = short == "c" and before(_FIGURE_BEFORE, match, 2)
    words = BEFORE_FIGURES.get(short if len(short) == 1 else short.lower())
    return None if is_part or is_answer or is_cups or not words else f"{words} "


# 1 Cor. 13
NUMBERED_BOOKS: Final = rule(
    rf"(?P<number>[1-3])(?<![\w.,:/-].) (?P<book>{any_of(_NUMBERED_BOOKS)})\.? ?(?=[0-9])",
    lambda match: f"{ordinal(match['number'])} {_NUMBERED_BOOKS[match['book']]} ",
)
# Rev. 21:4, Ps. 23
BOOKS: Final = word_rule(
    rf"(?P<short>{any_of(SHORT_BOOKS)})\.(?: ?(?=[0-9]{{1,3}}:[1-9])|(?<=Ps\.) ?(?=[0-9]))",
    lambda match: f"{SHORT_BOOKS[match['short']]} ",
)
FIGURES_FOLLOW: Final = word_rule(
    r"(?P<short>[A-Za-z](?<!\w.)[A-Za-z]{0,3}+)\. ?"
    r"(?=[+(]?[0-9]|[A-Z]{1,4}-?[0-9]|(?:[IVXLC]{2,9}|[VX])\b)",
    _read_before_figures,
)
FIXED: Final = (
    rule(rf"\b{_MARKED}(?<![./&']){any_of(_ALWAYS)}(?![\w/&+#])", _read_fixed),
    rule(r"fl(?<=[0-9](?:st|nd|rd|th) fl)\b\.?(?!\w)", "floor"),
    rule(r"\.NET(?<![\w./&'].NET)(?![\w/&+#])", "dot net"),
)
# a B- grade; "A- and B-" may be halves of words
GRADES: Final = rule(
    r"-(?:(?<=\ba [BCD]-)|(?<=\ban [AF]-)|(?<=\bgot [A-D]-)|(?<=: [A-D]-))"
    r"(?![\w-]| and| or)",
    " minus",
)
_SHORT_PER: Final = {short: name for short, name in PER_NAMES.items() if short != name}
# cells per mL
RATES: Final = rule(
    rf"per (?<!\w....)({any_of(_SHORT_PER)})\b(?!['\u2019/])",
    lambda match: f"per {_SHORT_PER[match[1]]}",
)
UNITS_ALONE: Final = word_rule(
    rf"({any_of(_WRITTEN_FOR)})(?![\w/])",
    lambda match: None if before(_UNIT_BEFORE, match, 2) else _WRITTEN_FOR[match[1]],
)
SIDES: Final = (
    # I-95 N
    rule(
        r"[NSEW](?<=[0-9] .)(?![\w.'-])",
        lambda match: COMPASS_POINTS[match[0]] if before(_ROAD_BEFORE, match, 16) else None,
    ),
    # 35 W. 4th St.
    rule(
        r"(?P<side>[NSEW])(?<=[0-9] .)\.? "
        r"(?=[0-9]{1,3}(?:st|nd|rd|th)\b|[A-Z][a-z]+ (?:St|Ave|Blvd|Rd|Dr|Ln|Street|Avenue)\b)",
        lambda match: f"{COMPASS_POINTS[match['side']].capitalize()} ",
    ),
)
# W 42nd St
SIDES_OF_STREETS: Final = rule(
    r"(?P<side>[NSEW])(?<!\w.)\.? "
    r"(?=[0-9]{1,3}(?:st|nd|rd|th) (?:St|Ave|Street|Avenue|Pl)\b)",
    lambda match: f"{COMPASS_POINTS[match['side']].capitalize()} ",
)
WINDS: Final = rule(  # winds NW 10 mph
    r"[NSEW](?:(?<=[Ww]ind .)|(?<=[Ww]inds .))[NSEW]?\b",
    lambda match: "".join(COMPASS_POINTS[letter] for letter in match[0]),
)
HIGHWAYS: Final = rule(r"Hwy(?<!\w...)(?= [0-9])", "Highway")
CAPITALIZED: Final = (
    rule(r"WWI(?<!\w...)I?\b", lambda match: _WORLD_WARS[match[0]]),
    rule(rf" (?P<short>{any_of(_STREETS)})\b\.?(?!\w)(?! ?[&/])", _read_street),
    word_rule(
        rf"(?P<short>{any_of(_TITLES)})\b(?P<point>\.)?"
        r"(?:(?P<space> ?)(?<=[. ])(?=[A-Z])|(?!\w))",
        _read_title,
    ),
    word_rule(
        rf"({any_of(_SPELLED)})('?s)?\b",
        lambda match: spelled(match[1]) + ("'s" if match[2] else ""),
    ),
    word_rule(rf"(?P<short>{any_of(_NAMES_AFTER)})\.(?!\w)", _read_name_after),
    # letters that are no word, such as AAA; not III
    rule(
        r"([A-Z])(?=\1)(?<!\w.)\1{2,5}\b",
        lambda match: None if match[1] in "IXCM" else spelled(match[0]),
    ),
)
# U.S., e.U.
INITIALS: Final = rule(
    r"(?P<letters>[A-Za-z](?<![\w.@].)(?:\.[A-Za-z]\b)++)(?P<tail>'?s\b)?\.?(?!\w)",
    lambda match: with_point(
        spelled(match["letters"].replace(".", "").upper()) + (match["tail"] or ""), match
    ),
)
# Before a letter that is no initial: "vitamin C.".
_LETTERED: Final = re.compile(
    r"(?:\b(?:[Vv]itamin|[Pp]lan|[Oo]ption|[Gg]rade|[Aa]ppendix|[Ee]xhibit|[Hh]epatitis|[Tt]erminal"
    r"|[Gg]ate|[Tt]ype|[Ss]ection|[Gg]roup)"
    # 4K, H2O, and AT&T
    rf"|\b(?:[Hh]|in|is|on) (?:two|three|four|five|eight)|A{JOINT}T and) \Z"
)
# an initial before a name: George C. Marshall
INITIALS_OF_NAMES: Final = rule(
    rf"([A-Z])(?<![\w.{JOINT}\u00b0-].)(?<![0-9] .)\.(?= ?[A-Z][\w.])",
    lambda match: None if ends_sentence(match) or before(_LETTERED, match, 16) else match[1],
)
BARE_WWW: Final = rule(r"w(?<!\w.)ww\b", spelled("WWW"))
# (s)he, cat(s)
OPTIONAL_LETTERS: Final = rule(
    r"\((?:(?<=\w.)\w{1,3}\)(?=\w)|(?<=[a-z].)(?:e?[sd]|r|n)\)|(?<!\w.)\w{1,3}\)(?=[a-z]))",
    lambda match: match[0][1:-1],
)
