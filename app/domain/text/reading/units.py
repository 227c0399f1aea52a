"""Names of units of measure, and of what a rate is per."""

from typing import Final

UNITS: Final = {
    # length, area, volume
    "nm": ("nanometer", "nanometers"), "\u03bcm": ("micrometer", "micrometers"),
    "mm": ("millimeter", "millimeters"), "cm": ("centimeter", "centimeters"),
    "dm": ("decimeter", "decimeters"), "m": ("meter", "meters"), "km": ("kilometer", "kilometers"),
    "KM": ("kilometer", "kilometers"), "Km": ("kilometer", "kilometers"),
    "in.": ("inch", "inches"), "ft": ("foot", "feet"), "ft.": ("foot", "feet"),
    "yd": ("yard", "yards"), "yds": ("yard", "yards"), "mi": ("mile", "miles"),
    "mi.": ("mile", "miles"),
    "nmi": ("nautical mile", "nautical miles"), "ha": ("hectare", "hectares"),
    "ac": ("acre", "acres"),
    "ml": ("milliliter", "milliliters"), "mL": ("milliliter", "milliliters"),
    "\u03bcL": ("microliter", "microliters"), "\u03bcl": ("microliter", "microliters"),
    "c.": ("cup", "cups"),
    "cl": ("centiliter", "centiliters"), "dl": ("deciliter", "deciliters"),
    "l": ("liter", "liters"), "L": ("liter", "liters"), "hl": ("hectoliter", "hectoliters"),
    "cc": ("C\u2060C", "C\u2060C"), "gal": ("gallon", "gallons"), "pt": ("pint", "pints"),
    "pt.": ("pint", "pints"), "pts": ("point", "points"), "pts.": ("point", "points"),
    "qt": ("quart", "quarts"), "qts": ("quart", "quarts"), "qt.": ("quart", "quarts"),
    "qts.": ("quart", "quarts"),
    "gal.": ("gallon", "gallons"),
    "fl oz": ("fluid ounce", "fluid ounces"), "fl. oz.": ("fluid ounce", "fluid ounces"),
    "tsp": ("teaspoon", "teaspoons"), "tsp.": ("teaspoon", "teaspoons"),
    "tbsp": ("tablespoon", "tablespoons"), "tbsp.": ("tablespoon", "tablespoons"),
    "Tbsp": ("tablespoon", "tablespoons"), "Tbsp.": ("tablespoon", "tablespoons"),
    # mass
    "\u03bcg": ("microgram", "micrograms"), "mcg": ("microgram", "micrograms"),
    "mg": ("milligram", "milligrams"), "g": ("gram", "grams"), "kg": ("kilogram", "kilograms"),
    "KG": ("kilogram", "kilograms"), "Kg": ("kilogram", "kilograms"),
    "kgs": ("kilogram", "kilograms"), "oz": ("ounce", "ounces"), "oz.": ("ounce", "ounces"),
    "lb": ("pound", "pounds"),
    "lb.": ("pound", "pounds"), "lbs": ("pound", "pounds"), "lbs.": ("pound", "pounds"),
    # time
    "ns": ("nanosecond", "nanoseconds"), "\u03bcs": ("microsecond", "microseconds"),
    "ms": ("millisecond", "milliseconds"), "s": ("second", "seconds"),
    "sec": ("second", "seconds"), "sec.": ("second", "seconds"), "secs": ("second", "seconds"),
    "min": ("minute", "minutes"), "min.": ("minute", "minutes"), "mins": ("minute", "minutes"),
    "h": ("hour", "hours"), "hr": ("hour", "hours"), "hr.": ("hour", "hours"),
    "hrs": ("hour", "hours"), "hrs.": ("hour", "hours"), "yr": ("year", "years"),
    "yrs": ("year", "years"), "wk": ("week", "weeks"), "wks": ("week", "weeks"),
    "mos": ("month", "months"), "mos.": ("month", "months"), "wks.": ("week", "weeks"),
    "yrs.": ("year", "years"), "yr.": ("year", "years"),
    # temperature, angle
    "\u00b0C": ("degree Celsius", "degrees Celsius"),
    "\u00b0 C": ("degree Celsius", "degrees Celsius"),
    "\u00b0F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "\u00b0 F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "\u00b0": ("degree", "degrees"), "\u00b0K": ("kelvin", "kelvins"),
    # speed
    "mph": ("mile per hour", "miles per hour"), "MPH": ("mile per hour", "miles per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "kmh": ("kilometer per hour", "kilometers per hour"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "mpg": ("mile per gallon", "miles per gallon"),
    "kn": ("knot", "knots"), "rpm": ("revolution per minute", "revolutions per minute"),
    "RPM": ("revolution per minute", "revolutions per minute"),
    "bpm": ("beat per minute", "beats per minute"),
    "BPM": ("beat per minute", "beats per minute"),
    "fps": ("frame per second", "frames per second"),
    "FPS": ("frame per second", "frames per second"), "dpi": ("dot per inch", "dots per inch"),
    "DPI": ("dot per inch", "dots per inch"), "ppm": ("part per million", "parts per million"),
    "ppb": ("part per billion", "parts per billion"),
    # data
    "KB": ("kilobyte", "kilobytes"), "kB": ("kilobyte", "kilobytes"),
    "MB": ("megabyte", "megabytes"), "GB": ("gigabyte", "gigabytes"),
    "TB": ("terabyte", "terabytes"), "PB": ("petabyte", "petabytes"),
    "KiB": ("kibibyte", "kibibytes"), "MiB": ("mebibyte", "mebibytes"),
    "GiB": ("gibibyte", "gibibytes"), "TiB": ("tebibyte", "tebibytes"),
    "kbit": ("kilobit", "kilobits"), "Mbit": ("megabit", "megabits"),
    "Gbit": ("gigabit", "gigabits"),
    "Kb": ("kilobit", "kilobits"), "kb": ("kilobit", "kilobits"), "Mb": ("megabit", "megabits"),
    "Gb": ("gigabit", "gigabits"), "bps": ("bit per second", "bits per second"),
    "kbps": ("kilobit per second", "kilobits per second"),
    "Kbps": ("kilobit per second", "kilobits per second"),
    "mbps": ("megabit per second", "megabits per second"),
    "Mbps": ("megabit per second", "megabits per second"),
    "gbps": ("gigabit per second", "gigabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
    # frequency, power, energy, electricity, pressure, sound
    "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"), "THz": ("terahertz", "terahertz"),
    "mW": ("milliwatt", "milliwatts"), "W": ("watt", "watts"), "kW": ("kilowatt", "kilowatts"),
    "MW": ("megawatt", "megawatts"), "GW": ("gigawatt", "gigawatts"),
    "TW": ("terawatt", "terawatts"),
    "Wh": ("watt hour", "watt hours"), "kWh": ("kilowatt hour", "kilowatt hours"),
    "MWh": ("megawatt hour", "megawatt hours"), "GWh": ("gigawatt hour", "gigawatt hours"),
    "TWh": ("terawatt hour", "terawatt hours"),
    "hp": ("horsepower", "horsepower"), "HP": ("horsepower", "horsepower"),
    "BTU": ("B\u2060T\u2060U", "B\u2060T\u2060Us"),
    "J": ("joule", "joules"), "kJ": ("kilojoule", "kilojoules"), "MJ": ("megajoule", "megajoules"),
    "cal": ("calorie", "calories"), "kcal": ("kilocalorie", "kilocalories"),
    "V": ("volt", "volts"), "mV": ("millivolt", "millivolts"), "kV": ("kilovolt", "kilovolts"),
    "mA": ("milliamp", "milliamps"), "mAh": ("milliamp hour", "milliamp hours"),
    "Ah": ("amp hour", "amp hours"), "\u03a9": ("ohm", "ohms"), "k\u03a9": ("kiloohm", "kiloohms"),
    "Pa": ("pascal", "pascals"), "hPa": ("hectopascal", "hectopascals"),
    "kPa": ("kilopascal", "kilopascals"), "MPa": ("megapascal", "megapascals"),
    "mbar": ("millibar", "millibars"), "atm": ("atmosphere", "atmospheres"),
    "mmHg": ("millimeter of mercury", "millimeters of mercury"),
    "inHg": ("inch of mercury", "inches of mercury"), "psi": ("P\u2060S\u2060I", "P\u2060S\u2060I"),
    "N": ("newton", "newtons"), "kN": ("kilonewton", "kilonewtons"),
    "Nm": ("newton meter", "newton meters"),
    "dB": ("decibel", "decibels"), "px": ("pixel", "pixels"), "MP": ("megapixel", "megapixels"),
    "mol": ("mole", "moles"), "mmol": ("millimole", "millimoles"), "lm": ("lumen", "lumens"),
}  # fmt: skip
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
"""What stands behind a number: singular and plural."""

COMPASS_POINTS: Final = {"N": "north", "S": "south", "E": "east", "W": "west"}

ONLY_TOUCHING: Final = frozenset({"N", "J", "MP", "HP"})
"""Those that must touch the number: with a space between them they may be something else."""

ONLY_APART: Final = frozenset({"s", "ac"})
"""Those that must not, unless the number has a point and they are seconds: "80s" is a decade."""

TOUCHING_NAMES: Final = {"pt": ("point", "points")}
"""Those that mean something else if they touch the number: the size of a font."""

PER_NAMES: Final = {
    "mo": "month", "month": "month", "mth": "month", "yr": "year", "year": "year", "y": "year",
    "wk": "week", "week": "week", "day": "day", "d": "day", "hr": "hour", "hour": "hour",
    "h": "hour", "min": "minute", "minute": "minute", "s": "second", "sec": "second",
    "second": "second", "kg": "kilogram", "g": "gram", "lb": "pound", "oz": "ounce",
    "m": "meter", "km": "kilometer", "mi": "mile", "mile": "mile", "l": "liter", "L": "liter",
    "gal": "gallon", "ml": "milliliter", "mL": "milliliter", "dL": "deciliter", "dl": "deciliter",
    "person": "person", "night": "night", "user": "user", "seat": "seat", "unit": "unit",
    "ft": "foot", "sq ft": "square foot", "kWh": "kilowatt hour", "MWh": "megawatt hour",
    "GB": "gigabyte", "MB": "megabyte", "cm": "centimeter", "mm": "millimeter", "ha": "hectare",
    "item": "item", "ticket": "ticket", "page": "page", "word": "word", "piece": "piece",
    "room": "room", "hectare": "hectare", "acre": "acre", "barrel": "barrel", "share": "share",
    "ms": "millisecond", "week.": "week",
}  # fmt: skip
