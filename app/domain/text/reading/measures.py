"""Numbers with units: their names, powers, rates, ranges, percents, feet and inches."""

import re
from typing import Final

from app.domain.text.mapped_text import rule
from app.domain.text.number_words import cardinal, counted, decimal, fraction, is_one, power
from app.domain.text.reading.characters import SMALL
from app.domain.text.reading.matching import (
    NUMBER,
    any_of,
    apart,
    before,
    behind,
    is_before_noun,
    not_after,
    number,
    spelled,
    with_point,
)

# By the name of one, how it is written.
_WRITTEN: Final = {
    # length, area, volume
    "nanometer": "nm", "micrometer": "\u03bcm", "millimeter": "mm", "centimeter": "cm",
    "decimeter": "dm", "meter": "m", "kilometer": "km|KM|Km", "inch": "in.", "foot": "ft|ft.",
    "yard": "yd|yds", "mile": "mi|mi.", "nautical mile": "nmi", "hectare": "ha", "acre": "ac",
    "milliliter": "ml|mL", "microliter": "\u03bcL|\u03bcl", "cup": "c.", "centiliter": "cl",
    "deciliter": "dl", "liter": "l|L", "hectoliter": "hl", spelled("CC"): "cc",
    "gallon": "gal|gal.",
    "pint": "pt|pt.", "point": "pts|pts.", "quart": "qt|qts|qt.|qts.",
    "fluid ounce": "fl oz|fl. oz.", "teaspoon": "tsp|tsp.", "tablespoon": "tbsp|tbsp.|Tbsp|Tbsp.",
    # mass
    "microgram": "\u03bcg|mcg", "milligram": "mg", "gram": "g", "kilogram": "kg|KG|Kg|kgs",
    "ounce": "oz|oz.", "pound": "lb|lb.|lbs|lbs.",
    # time
    "nanosecond": "ns", "microsecond": "\u03bcs", "millisecond": "ms", "second": "s|sec|sec.|secs",
    "minute": "min|min.|mins", "hour": "h|hr|hr.|hrs|hrs.", "year": "yr|yrs|yrs.|yr.",
    "week": "wk|wks|wks.", "month": "mos|mos.",
    # count
    "dozen": "doz|doz.",
    # temperature, angle
    "degree Celsius": "\u00b0C|\u00b0 C", "degree Fahrenheit": "\u00b0F|\u00b0 F",
    "degree": "\u00b0", "kelvin": "\u00b0K",
    # speed
    "mile per hour": "mph|MPH", "kilometer per hour": "kph|kmh|km/h", "mile per gallon": "mpg",
    "knot": "kn", "revolution per minute": "rpm|RPM", "beat per minute": "bpm|BPM",
    "frame per second": "fps|FPS", "dot per inch": "dpi|DPI", "part per million": "ppm",
    "part per billion": "ppb",
    # data
    "kilobyte": "KB|kB", "megabyte": "MB", "gigabyte": "GB", "terabyte": "TB", "petabyte": "PB",
    "kibibyte": "KiB", "mebibyte": "MiB", "gibibyte": "GiB", "tebibyte": "TiB",
    "kilobit": "kbit|Kb|kb", "megabit": "Mbit|Mb", "gigabit": "Gbit|Gb", "bit per second": "bps",
    "kilobit per second": "kbps|Kbps", "megabit per second": "mbps|Mbps",
    "gigabit per second": "gbps|Gbps",
    # frequency, power, energy, electricity, pressure, sound
    "hertz": "Hz", "kilohertz": "kHz", "megahertz": "MHz", "gigahertz": "GHz", "terahertz": "THz",
    "milliwatt": "mW", "watt": "W", "kilowatt": "kW", "megawatt": "MW", "gigawatt": "GW",
    "terawatt": "TW", "watt hour": "Wh", "kilowatt hour": "kWh", "megawatt hour": "MWh",
    "gigawatt hour": "GWh", "terawatt hour": "TWh", "horsepower": "hp|HP", spelled("BTU"): "BTU",
    "joule": "J", "kilojoule": "kJ", "megajoule": "MJ", "calorie": "cal", "kilocalorie": "kcal",
    "volt": "V", "millivolt": "mV", "kilovolt": "kV", "milliamp": "mA", "milliamp hour": "mAh",
    "amp hour": "Ah", "ohm": "\u03a9", "kiloohm": "k\u03a9", "pascal": "Pa", "hectopascal": "hPa",
    "milliohm": "m\u03a9", "megaohm": "M\u03a9", "microamp": "\u03bcA", "microvolt": "\u03bcV",
    "microfarad": "\u03bcF", "nanofarad": "nF", "picofarad": "pF", "millihenry": "mH",
    "microhenry": "\u03bcH", "microwatt": "\u03bcW", "kilopascal": "kPa", "megapascal": "MPa",
    "millibar": "mbar", "atmosphere": "atm", "millimeter of mercury": "mmHg",
    "inch of mercury": "inHg", spelled("PSI"): "psi",
    "newton": "N", "kilonewton": "kN", "newton meter": "Nm", "decibel": "dB", "pixel": "px",
    "megapixel": "MP", "mole": "mol", "millimole": "mmol", "lumen": "lm",
}  # fmt: skip
_PLURALS: Final = {
    "dozen": "dozen",
    "inch": "inches", "foot": "feet", spelled("CC"): spelled("CC"),
    "degree Celsius": "degrees Celsius",
    "degree Fahrenheit": "degrees Fahrenheit", "hertz": "hertz", "kilohertz": "kilohertz",
    "megahertz": "megahertz", "gigahertz": "gigahertz", "terahertz": "terahertz",
    "horsepower": "horsepower", "millimeter of mercury": "millimeters of mercury",
    "inch of mercury": "inches of mercury", spelled("PSI"): spelled("PSI"),
    "millihenry": "millihenries", "microhenry": "microhenries",
}  # fmt: skip


def _plural(name: str) -> str:
    head, per, rest = name.partition(" per ")
    return _PLURALS.get(name, f"{head}s{per}{rest}")


# What stands behind a number: singular and plural.
UNITS: Final = {
    short: (name, _plural(name)) for name, shorts in _WRITTEN.items() for short in shorts.split("|")
}
_LENGTHS: Final = {
    **{name: UNITS[name] for name in ("mm", "cm", "dm", "m", "km", "ft", "yd", "mi", "nm")},
    "\u03bcm": UNITS["\u03bcm"], "in": ("inch", "inches"),
}  # fmt: skip
# Of lengths: what stands before it, what then stands behind, or what stands behind instead.
_POWERS: Final = {
    "square": (("sq ", "sq. "), ("", "."), ("2", "\u00b2", "^2")),
    "cubic": (("cu ", "cu. "), ("", "."), ("3", "\u00b3", "^3")),
}

for _power, (_befores, _points, _behinds) in _POWERS.items():
    for _length, (_one, _many) in _LENGTHS.items():
        _names = (f"{_power} {_one}", f"{_power} {_many}")
        UNITS.update({before + _length + point: _names for before in _befores for point in _points})
        UNITS.update({_length + behind: _names for behind in _behinds})

COMPASS_POINTS: Final = {"N": "north", "S": "south", "E": "east", "W": "west"}

# Those that must touch the number: with a space between them they may be something else.
ONLY_TOUCHING: Final = frozenset({"N", "J", "MP", "HP"})
# Those that must not, unless the number has a point and they are seconds: "80s" is a decade.
ONLY_APART: Final = frozenset({"s", "ac"})
# Those that mean something else if they touch the number: the size of a font.
TOUCHING_NAMES: Final = {"pt": ("point", "points")}
_PER_UNITS: Final = (
    "yr", "wk", "hr", "h", "min", "s", "sec", "ms", "kg", "g", "lb", "oz", "m", "cm", "mm", "km",
    "mi", "ft", "sq ft", "ha", "l", "L", "ml", "mL", "\u03bcL", "\u03bcl", "dl", "gal", "kWh",
    "MWh", "GB", "MB",
)  # fmt: skip
_PER_WORDS: Final = (
    "month", "year", "week", "day", "hour", "minute", "second", "night", "mile", "acre", "hectare",
    "person", "user", "seat", "unit", "item", "ticket", "page", "word", "piece", "room", "share",
    "barrel",
)  # fmt: skip
# What a rate may be per.
PER_NAMES: Final = {
    **{short: UNITS[short][0] for short in _PER_UNITS},
    **{word: word for word in _PER_WORDS},
    "mo": "month", "mth": "month", "y": "year", "week.": "week", "d": "day", "dL": "deciliter",
}  # fmt: skip
_SCALE: Final = r"(?: (?:hundred|thousand|million|billion|trillion))?"
_PER: Final = (
    rf"(?:(?: ?/ ?| per )(?P<per>{any_of(PER_NAMES)})(?P<per_power>[\u00b2\u00b3]|\^[23])?)?"
)
_END: Final = r"(?![\w\u00b0]|'[a-z])"
_EXPONENT: Final = r"\^-?[0-9]{1,3}|\u207b?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]{1,4}"

_MULTIPLIED: Final = re.compile(
    r"(?<![A-Za-wyz0-9_.])(?!0x)[0-9][0-9.,]{0,12}(?: ?(?:[ckm]?m|in\.?|ft\.?|yd|px|['\"]))? ?\Z"
)
_OPEN_DOUBLE_QUOTE: Final = re.compile(r"(?:^|[\s(\[])\"(?=\S)[^\"\n]*\Z")
_OPEN_QUOTE: Final = re.compile(r"(?:^|[\s(])'[^\n]*\Z")
_BLOOD_BEFORE: Final = re.compile(r"(?:\bBP|ressure)(?: was| is| of|:)? [0-9]{2,3}\Z")
_SUM_FOLLOWS: Final = re.compile(
    rf" ?{NUMBER}(?: ?[=\u00f7+*]|\^|[\u207b\u00b9\u00b2\u00b3\u2070\u2074-\u2079])"
)


def _read_times(match: re.Match[str]) -> str | None:
    """Such as "2 x 4" is by, unless it is a sum."""
    if not before(_MULTIPLIED, match, 20):
        return None
    gap = "" if match.string[match.start() - 1] == " " else " "
    return f"{gap}times " if behind(_SUM_FOLLOWS, match) else f"{gap}by "


def _name(match: re.Match[str], *, is_single: bool) -> str:
    """Of the unit, and of what it is per."""
    unit, square, cubic = match["unit"], ("square", "squared"), ("cubic", "cubed")
    names = TOUCHING_NAMES.get(unit) if not match["gap"] else None
    name = (names or UNITS[unit])[0 if is_single else 1]
    if not match["per"]:
        return name
    per, per_power = PER_NAMES[match["per"]], match["per_power"]
    if per_power:
        before, behind = square if per_power[-1] in "2\u00b2" else cubic
        per = f"{before} {per}" if per.endswith("meter") else f"{per} {behind}"
    return f"{name} per {per}"


def _read(match: re.Match[str]) -> str | None:
    first, second, unit, part = match["first"], match["second"], match["unit"], match["part"]
    if (unit in ONLY_TOUCHING and match["gap"]) or (part and not first.isdecimal()):
        return None
    if unit in ONLY_APART and not (match["gap"] or match["per"] or (unit == "s" and "." in first)):
        return None
    if unit == "bps" and match["gap"] and len(first) < 4:  # noqa: PLR2004 - of an interest rate
        return counted(first, "basis point", "basis points")
    is_attribute = match["gap"] == "-" or is_before_noun(match)
    if part:
        is_single = is_attribute or part[0] == "/"
        words = fraction(first + part)
    else:
        is_single = is_attribute or (is_one(first) and not match["scale"] and not second)
        words = decimal(first) + (f" to {decimal(second)}" if second else "")
    if part and len(part) > len("/9") and part[0] == "/" and UNITS[unit][0] == "second":
        return f"{words} of a second"  # an exposure of 1/250 s
    if match["exponent"]:
        words += " " + power(match["exponent"].lstrip("^").translate(SMALL))
    words += f"{match['scale']} {_name(match, is_single=is_single)}"
    return with_point(words, match, before_names=unit == "in.")


def _read_feet(match: re.Match[str]) -> str:
    feet = counted(match["feet"], "foot", "feet")
    return f"{feet} {counted(match['inches'], 'inch', 'inches')}"


def _read_angle(match: re.Match[str]) -> str:
    words = [
        counted(match[unit], unit.removesuffix("s"), unit)
        for unit in ("degrees", "minutes", "seconds")
        if match[unit]
    ]
    return " ".join([*words, COMPASS_POINTS[match["side"]]] if match["side"] else words)


def _read_only_feet(match: re.Match[str]) -> str | None:
    if _OPEN_QUOTE.search(match.string, max(0, match.start() - 60), match.start() + 1):
        return None
    is_single = is_one(match[1]) or is_before_noun(match)
    return f"{cardinal(match[1])} {'foot' if is_single else 'feet'}"


def _read_inches(match: re.Match[str]) -> str | None:
    first, part = match["first"], match["part"]
    closes_quotation = before(_OPEN_DOUBLE_QUOTE, match, 300)
    if closes_quotation or (part and not first.isdecimal()):
        return None
    is_single = is_one(first) or is_before_noun(match)
    words = fraction(first + part) if part else decimal(first)
    if match["low"]:
        words, is_single = f"{decimal(match['low'])} to {words}", False
    return f"{words} {'inch' if is_single else 'inches'}"


PRODUCTS: Final = (
    # 3x faster
    rule(
        r"[x\u00d7](?:(?<=[0-9].)|(?<=[0-9] .))(?= (?:as|more|less|the|than|an?|per"
        r"|daily|weekly|monthly|yearly|year|month|week|in|since|over|this|last|[a-z]+er)\b"
        r"|/(?:day|week|month|year|hour)\b)",
        lambda match: apart(match, "times"),
    ),
    rule(r"[x\u00d7](?:(?<![A-Za-z].)(?= ?\.?[0-9])|(?<=[mntd.]x)(?=[0-9])) ?", _read_times),
)
# 40 degrees 26'46"N
ANGLES: Final = rule(
    rf"(?P<degrees>[0-9]{not_after('.,')}[0-9]{{0,2}})\u00b0 ?(?P<minutes>[0-9]{{1,2}})'"
    r"(?: ?(?P<seconds>[0-9]{1,2}(?:\.[0-9]{1,4})?)(?:\"|''))?(?: ?(?P<side>[NSEW])\b)?",
    _read_angle,
)
# 45 degrees N
SIDES: Final = rule(
    r"(?<=[0-9]\u00b0) ?[NSEW]\b", lambda match: f" {COMPASS_POINTS[match[0].strip()]}"
)
# 5'11"
QUOTED_FEET: Final = rule(
    rf"(?P<feet>[0-9]{not_after('.,')}[0-9]{{0,2}})' ?(?P<inches>[0-9]{{1,2}}(?:\.[0-9])?)"
    r"(?:\"|''|(?![\w'/]|\.[0-9]))",
    _read_feet,
)
# 8' by 10', a 12' ladder
ONLY_FEET: Final = rule(
    rf"([0-9]{not_after('.,')}[0-9]{{0,2}})'(?= +[a-z]|[.,;)\n]|$)", _read_only_feet
)
FEET_BY_FEET: Final = rule(r"([0-9](?:(?<=feet by .)|(?<=feet by [0-9].))[0-9]?)'", _read_only_feet)
INCHES: Final = rule(
    r"(?:(?P<low>[0-9](?<![\w.,'/-].)[0-9]{0,2}) ?[-\u2013] ?(?=[0-9.]{1,6}\"))?"
    r"(?P<first>[0-9](?<![\w.,'/].)[0-9]*+(?:,[0-9]{3})*+(?:\.[0-9]++)?)"
    r"(?P<part>(?:[ -][0-9]{1,2})?/[1-9][0-9]?)?"
    r"\"(?= *(?:[a-z,.;x)]|TV|LED)|\n|$)",
    _read_inches,
)
# of the blood: BP 120/80, 120/80 mmHg
PRESSURES: Final = rule(
    r"/(?<=[0-9]{2}.)(?=[0-9]{2,3}(?P<unit> ?mm ?Hg\b)?)",
    lambda match: " over " if match["unit"] or before(_BLOOD_BEFORE, match, 20) else None,
)
PERCENTS: Final = rule(
    rf"(?P<first>{number(not_after('.,$'))})"
    rf"(?:%? ?(?:[-\u2013\u2014]| to ) ?(?P<second>{NUMBER})"
    rf"(?:%?[-\u2013](?P<third>{NUMBER}))?)? ?%",
    lambda match: apart(
        match, f"{' to '.join(decimal(one) for one in match.groups() if one)} percent"
    ),
)
# 1/4%, 5 1/4%
PARTS_OF_PERCENTS: Final = rule(
    rf"(?P<first>[0-9]{not_after('.,/:-')}[0-9]{{0,2}}(?: [0-9]{{1,2}})?/[1-9][0-9]?) ?%",
    lambda match: apart(match, f"{fraction(match['first'])} percent"),
)
# 5 ft 10 in
FEET: Final = rule(
    rf"(?P<feet>[0-9]{not_after('.,')}[0-9]{{0,2}}) ?(?:ft|feet|foot)\.?,? "
    r"(?P<inches>[0-9]{1,2}(?:\.[0-9])?) ?(?:in\b\.?|inch(?:es)?\b)",
    _read_feet,
)
_PERIODS: Final = r"(?:day|night|week|month|year|hour|hr|min|sec|person|user)\b"
RATES: Final = (
    # 10^9/L
    rule(
        rf"/(?:(?<=\^[0-9].)|(?<=\^[0-9]{{2}}.))({any_of(PER_NAMES)})\b",
        lambda match: f" per {PER_NAMES[match[1]]}",
    ),
    # 350 cells/mL
    rule(r"/(?<=[a-z]s.)([m\u03bcd]?L)\b", lambda match: f" per {PER_NAMES[match[1]]}"),
    # 7 days/week, 5 mg/kg/day
    rule(rf"/(?:(?<=[a-z]s.)|(?<=gram.)|(?<=liter.)|(?<=meter.))(?={_PERIODS})", " per "),
    rule(r"/(?<=[a-z]{2}.)s\b", " per second"),
    rule(r"/(?:(?<=gram.)|(?<=liter.)|(?<=meter.))h\b", " per hour"),
    rule(
        rf"({number(not_after('.,/^'))})/({any_of(PER_NAMES)})\b(?!/)",
        lambda match: f"{decimal(match[1])} per {PER_NAMES[match[2]]}",
    ),
)
RULES: Final = rule(
    rf"(?P<first>{number(not_after('.$/^') + '(?<![0-9],.)')})"
    r"(?:(?P<part>(?:[ -][0-9]{1,2})?/(?:[1-9][0-9]{2,3}(?= s(?:ec)?\b)|[1-9][0-9]?))"
    rf"|(?: ?\u00b0[CF]?)? ?[-\u2013] ?(?P<second>{NUMBER}))?+"
    rf"(?P<exponent>{_EXPONENT})?+(?P<scale>{_SCALE})(?P<gap> |-|)"
    rf"(?P<unit>{any_of(UNITS)}){_PER}{_END}",
    _read,
)
# 3,5 kg
DECIMAL_COMMAS: Final = rule(
    r",(?<=[0-9].)(?=[0-9]{1,2} ?(?:[kcm]?m|k?g|m?l|t|ha|km/h|\u00b0C|%|\u20ac)(?!\w))"
    r"(?<![.,][0-9].)(?<![.,][0-9]{2}.)(?<![.,][0-9]{3}.)",
    ".",
)
# 0,250 kg: no number of thousands begins with a lone 0
LONE_ZEROS: Final = rule(r",(?<=0,)(?<![\w.,(\[]0,)(?=[0-9]{3}(?![\w,]|\.\d))", ".")
_SCALE_NAMES: Final = {"k": "thousand", "M": "million"}
# 3k-5k steps, 10M-20M; 4k and 8k are screens
SCALE_RANGES: Final = rule(
    r"(?P<scale>[kM])(?<=[0-9].)(?<![^0-9.][48].) ?[-\u2013] ?"
    r"(?P<high>[0-9]++(?:\.[0-9]++)?)(?P=scale)\b",
    lambda match: (
        f" {_SCALE_NAMES[match['scale']]} to {match['high']} {_SCALE_NAMES[match['scale']]}"
    ),
)
_COUNTED: Final = (
    "people|users|views|downloads|followers|subscribers|dollars|euros|pounds|copies|rows|records"
    "|tokens|parameters|customers|visitors|votes|units|years|residents|workers|jobs|homes|tonnes|tons"
)
SCALES: Final = (
    rule(r"m(?<=[0-9].)(?= ago\b)", " minutes"),
    # 5m dollars
    rule(rf"m(?<=[0-9].)(?= (?:{_COUNTED})\b)", " million"),
    rule(r"M(?<=[0-9].)(?!\w)", " million"),
    rule(
        rf"b(?:(?<=[0-9].)|(?<=[0-9] .))n\b|[bB](?<=[0-9].)(?= (?:{_COUNTED})\b)",
        lambda match: apart(match, "billion"),
    ),
    rule(r"B(?<=[0-9]\.[0-9].)(?!\w)", " billion"),
)
THOUSANDS: Final = (
    # 50k followers; "4k screens" are none
    rule(r"[kK](?<=[0-9].)(?<![^0-9][48].)(?= (?:people|[a-z]{3,}[^s\W]s)\b)", " thousand"),
    rule(r"k(?:(?<=[0-9]{2}.)(?<!401.)|(?<=[0-9]\.[0-9].))(?!\w)", " thousand"),
)
_LASTS_BEFORE: Final = re.compile(
    r"\b(?:wait(?:ed|s)?|time ?out(?: of)?|takes?|took|sleeps?|slept|for|after|every|within|under"
    r"|last(?:s|ed)?|exactly|another):?[ =]\Z",
    re.IGNORECASE,
)
_TAKES_BEFORE: Final = re.compile(
    r"\b(?:ETA|wait(?:ed|s)?|time ?out(?: of)?|takes?|took|sleeps?|slept|every|uptime|elapsed"
    r"|duration|remaining|read(?:ing)? time|cook(?:ing)? time|runtime|total time):?[ =]\Z",
    re.IGNORECASE,
)


# wait 30s; the 90s are a decade
SECONDS: Final = rule(
    rf"([0-9]{not_after('.,')}[0-9]{{1,2}})s\b"
    r"(?!['\u2019-]| (?!(?:before|after|and|then|or|in|on|at|to|until|per|is|was)\b)[a-z])",
    lambda match: f"{cardinal(match[1])} seconds" if before(_LASTS_BEFORE, match, 16) else None,
)
# ETA: 5m, took 12m; "for 5m" may be meters
MINUTES: Final = rule(
    rf"([0-9]{not_after('.,')}[0-9]{{0,2}})m\b"
    r"(?!['\u2019-]|\u00b2| [a-z]+ (?:high|long|deep|wide)\b)",
    lambda match: f"{cardinal(match[1])} minutes" if before(_TAKES_BEFORE, match, 16) else None,
)
DEGREES: Final = (
    rule(r"\u00b0C\b", lambda match: apart(match, "degrees Celsius")),
    rule(r"\u00b0F\b", lambda match: apart(match, "degrees Fahrenheit")),
)
