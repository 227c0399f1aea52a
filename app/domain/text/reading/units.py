"""Names of units of measure, and of what a rate is per."""

from typing import Final

from app.domain.text.reading.matching import spelled

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
"""By the name of one, how it is written."""

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


UNITS: Final = {
    short: (name, _plural(name)) for name, shorts in _WRITTEN.items() for short in shorts.split("|")
}
"""What stands behind a number: singular and plural."""

_LENGTHS: Final = {
    **{name: UNITS[name] for name in ("mm", "cm", "dm", "m", "km", "ft", "yd", "mi", "nm")},
    "\u03bcm": UNITS["\u03bcm"], "in": ("inch", "inches"),
}  # fmt: skip
_POWERS: Final = {
    "square": (("sq ", "sq. "), ("", "."), ("2", "\u00b2", "^2")),
    "cubic": (("cu ", "cu. "), ("", "."), ("3", "\u00b3", "^3")),
}
"""Of lengths: what stands before it, what then stands behind, or what stands behind instead."""

for _power, (_befores, _points, _behinds) in _POWERS.items():
    for _length, (_one, _many) in _LENGTHS.items():
        _names = (f"{_power} {_one}", f"{_power} {_many}")
        UNITS.update({before + _length + point: _names for before in _befores for point in _points})
        UNITS.update({_length + behind: _names for behind in _behinds})

COMPASS_POINTS: Final = {"N": "north", "S": "south", "E": "east", "W": "west"}

ONLY_TOUCHING: Final = frozenset({"N", "J", "MP", "HP"})
"""Those that must touch the number: with a space between them they may be something else."""

ONLY_APART: Final = frozenset({"s", "ac"})
"""Those that must not, unless the number has a point and they are seconds: "80s" is a decade."""

TOUCHING_NAMES: Final = {"pt": ("point", "points")}
"""Those that mean something else if they touch the number: the size of a font."""

_PER: Final = {
    "month": "mo|month|mth", "year": "yr|year|y", "week": "wk|week|week.", "day": "day|d",
    "hour": "hr|hour|h", "minute": "min|minute", "second": "s|sec|second", "kilogram": "kg",
    "gram": "g", "pound": "lb", "ounce": "oz", "meter": "m", "kilometer": "km", "mile": "mi|mile",
    "liter": "l|L", "gallon": "gal", "milliliter": "ml|mL", "microliter": "\u03bcL|\u03bcl",
    "deciliter": "dL|dl",
    "person": "person", "night": "night", "user": "user", "seat": "seat", "unit": "unit",
    "foot": "ft", "square foot": "sq ft", "kilowatt hour": "kWh", "megawatt hour": "MWh",
    "gigabyte": "GB", "megabyte": "MB", "centimeter": "cm", "millimeter": "mm",
    "hectare": "ha|hectare", "item": "item", "ticket": "ticket", "page": "page", "word": "word",
    "piece": "piece", "room": "room", "acre": "acre", "barrel": "barrel", "share": "share",
    "millisecond": "ms",
}  # fmt: skip
PER_NAMES: Final = {short: name for name, shorts in _PER.items() for short in shorts.split("|")}
