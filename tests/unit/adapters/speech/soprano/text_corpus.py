"""Two thousand sentences as people write them: some by hand, the others from a seeded generator.

What a kind of sentence looks like was decided without looking at how it is read.
"""
# ruff: noqa: SIM905 - a line of words is easier to read than a column of them

import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import cycle, islice

SIZE = 2000
SEED = 20_240_229

WRITTEN: dict[str, tuple[str, ...]] = {
    "prose": (
        "The lighthouse keeper lit the lamp a little earlier than usual.",
        "Nobody at the table had expected her to answer, least of all in Latin.",
        "It rained all night; by morning the river had reached the second step.",
        "Why would anyone paint a door that colour?",
        "Bring the ladder, the rope, and whatever's left of the soup.",
        "Well, well, well... look who finally found the time to visit!",
        '"You\'re late," said the conductor, "but the train is later still."',
        "The children's boots stood in a row, the dog's bed was empty, and the kettle sang.",
        "No. Never. Not even once.",
        "He'd've gone, if they hadn't've asked him to stay.",
        (
            "The long sentence went on, past the mill and the bridge, along the towpath where the "
            "boats were moored two by two, through the orchard that nobody had pruned since the "
            "old man died, over the stile and across the wet meadow, until at last it came, tired "
            "and a little ashamed of its length, to the full stop that had waited for it all day."
        ),
    ),
    "money": (
        "The ticket is $12, or $9.50 for students.",
        "They sold the house for $1,250,000 and the boat for $37,500.75.",
        "It cost me $1.00 exactly, not $1.01.",
        "A coffee for $.99? In this city?",
        "Their round closed at $4.5M, after a seed of $250K.",
        "The fine is £80, reduced to £40 if you pay within 14 days.",
        "Rent went up from €850 to €1,020.50 a month.",
        "The bowl of ramen was ¥1,200 and worth every yen.",
        "You owe me 50¢.",
        "Bids start at US$300 (about A$450 or 280 €).",
        "Revenue: $3.2 billion; profit: $410 million.",
        "The budget shrank by -$5,000 to $0.",
        "₹500 is enough for a good lunch.",
        "Gas is $3.459 a gallon.",
    ),
    "dates": (
        "The meeting moved from 3/14/2024 to 4/1/24.",
        "Born on 07-04-1976, he never liked fireworks.",
        "Release 2024-02-29 was tagged on a leap day.",
        "On December 31st, 1999, we waited for the lights to go out.",
        "Jan. 5, Feb. 14 and Sept. 22 are taken; Oct 3 is free.",
        "The treaty of 1648 ended a war that began in 1618.",
        "In the 1990s, and again in the '70s revival of 2003, flares were back.",
        "The lease runs from 1 March 2025 to 28 February 2026.",
        "It dates from 450 BC, the roof from AD 1066.",
        "Due dates: 1/2/2025 2/2/2025 3/2/2025.",
        "Expires 12/27.",
        "See you on Mon, Tues, or Wed; not on Thurs. or Sat.",
    ),
    "times": (
        "The train leaves at 7:05 and arrives at 19:42.",
        "Doors at 8:00 pm, show at 9:30pm sharp.",
        "Lunch is 12:00-13:00; the office closes at 17:00.",
        "She ran it in 2:59:04, four minutes off her best of 2:55:10.",
        "The clip from 0:15 to 1:02:33 can go.",
        "Set the timer to 00:45 and the alarm to 06:00.",
        "At 00:00 the year began; at 00:01 it was already loud.",
        "The launch was at T-00:00:10, the abort at 00:03:00.",
        "10 a.m. is fine, 10:15 a.m. is better, 11 AM is too late.",
        "Meet me at half past 6, or 6:30ish.",
        "A 5:00 mile is faster than a 24:00 one.",
    ),
    "phones": (
        "Call 555-867-5309 and ask for Jenny.",
        "My number is (212) 555-0147, extension 12.",
        "Toll free: 1-800-555-0199.",
        "Text 415.555.0123 or 415 555 0124.",
        "From abroad dial +44 20 7946 0958.",
        "In an emergency call 911 or 112.",
        "The old one was 555-0100.",
    ),
    "ordinals and fractions": (
        "He came 1st, she came 2nd, and I was 103rd.",
        "The 21st century is younger than the 20th was.",
        "Take the 3rd exit, then the 2nd left.",
        "On the 4th try the 11th, 12th and 13th locks opened.",
        "Add 1/2 a cup of milk and 3/4 of a teaspoon of salt.",
        "About 2/3 of voters and 1/10 of the others agreed.",
        "Mix ½ cup of oats with 1¼ cups of water and ⅔ of an apple.",
        "The 1,000th visitor won a cake.",
        "Louis XIV, Henry VIII and Rocky II walk into a bar.",
        "World War II ended in 1945; Chapter IV covers it.",
        "It's a 50/50 chance.",
        "Use a 3/8 inch bolt, not 5/16.",
    ),
    "units": (
        "It weighs 2.5kg and is 30cm long.",
        "The drive holds 2TB, the card 64 GB, the floppy 1.44MB.",
        "A 3.5GHz CPU with 16 GB of RAM beats two old CPUs.",
        "Run 5k on Sunday and 10 km on Wednesday.",
        "At 100°C water boils; at -40° both scales agree.",
        "The limit is 55 mph, or 88 km/h.",
        "Drink 2L a day, said the 6ft 2in doctor.",
        "The room is 4m x 5m, the rug 2×3 m.",
        "It draws 230V at 10A, so about 2.3kW.",
        "Tune the A to 440 Hz and the filter to 3 kHz.",
        "From 5mg to 10 mg, and never above 0.02g/kg.",
        "A 10 Mbit/s line moves 1.25 MB/s.",
        "The flat has 75 m² and the garden 200m^2.",
        "Bake at 350°F for 45min.",
        "Sensitivity is 3 µV ±5%.",
    ),
    "abbreviations": (
        "Dr. Watson met Mr. Holmes and Mrs. Hudson at St. Bart's.",
        "Prof. Lee, Ph.D., and Sgt. Pepper signed it.",
        "Smith & Co. Ltd. sued Acme Inc. and won.",
        "See p. 12, fig. 3, etc. for details, i.e. everything.",
        "It's on 5th Ave. near Main St. and Ft. Greene.",
        "Lt. Col. James, Jr., and Capt. Ahab, Esq.",
        "The U.S. and the U.K. left the E.U. talks.",
        "Gen. Grant met Rev. Brown, Hon. Judge Hall and Maj. Tom.",
        "Bring cups, plates and/or bowls, e.g. paper ones.",
        "Ms. Jones vs. Ms. Smith, No. 5 on the list.",
        "DR. NO AND MRS. ROBINSON MEET MS. MARVEL.",
        "The drs. agreed, approx. 10 min. later.",
    ),
    "acronyms and mixed case": (
        "NASA, the FBI and three NGOs share an API.",
        "Our APIs run on GPUs, not on CPUs or TPUs.",
        "My iPhone and her MacBook Pro use macOS and iOS.",
        "JavaScript, TypeScript and PostgreSQL are not Java.",
        "McDonald and O'Brien met MacArthur at the YMCA.",
        "PhDs, MDs and CEOs rarely agree on TVs.",
        "The CLI calls getUserName() in HttpServer.java.",
        "LaTeX, GitHub, YouTube and eBay are oddly spelled.",
        "HTML5, CSS3, MP3s and H2O.",
        "The B2B market, 4K screens and 3D glasses.",
        "COVID-19 and the F-16 have hyphens.",
        "ALL CAPS IS SHOUTING, SAID THE CAT.",
        "Is it WiFi, Wi-Fi or wifi?",
    ),
    "links and mails": (
        "See https://example.com/path?q=1&lang=en#top for more.",
        "Write to jane.doe+news@mail.example.co.uk today.",
        "Our site is www.example.org, the old one http://old.example.org/~joe/.",
        "Clone git@github.com:octo/repo.git and read README.md.",
        "The server is at 192.168.0.1:8080, the other at 10.0.0.254.",
        "Ping ::1 or fe80::1ff:fe23:4567:890a.",
        "Go to localhost:3000/admin or example.com.",
        "Docs: https://docs.python.org/3.11/library/re.html.",
        "Follow @ada_lovelace and #WomenInSTEM or #100DaysOfCode.",
    ),
    "files and code": (
        "Open C:\\Users\\Ann\\notes.txt or /etc/hosts.",
        "The function f(x) = x^2 + 1 has no real root.",
        "Run pip install numpy==1.26.4 && python main.py --seed 42.",
        "if (a <= b && b >= c) { return a[i]; } // done",
        "Set MAX_SIZE=1024 in config_file.yaml.",
        "print('Hello, World!') says hello.",
        "The file IMG_20240102_101112.jpg is 3.2MB.",
        "Version 2.0.1-beta.3 replaces v1.9.",
        "Use `ls -la | grep foo > out.txt` for that.",
        "Press Ctrl+C, then Alt+F4.",
        "SELECT * FROM users WHERE id = 7;",
        "The key is 0x1F, the mask 0b1010, the mode 0644.",
        "<b>Bold</b> and &amp; are HTML.",
        "#!/bin/sh is line 1.",
        "my_list[0] holds the first item(s).",
        "The commit 9f86d08 fixed issue #42.",
    ),
    "maths": (
        "2 + 2 = 4, and 2+2=5 is a novel.",
        "3 * 4 is 12; 12 / 4 is 3; 10 - 7 is 3.",
        "x = -b ± √(b² - 4ac) over 2a.",
        "If a < b and b > 0, then a/b <= 1.",
        "π is about 3.14159265, e about 2.71828.",
        "10^6 is a million and 1e-9 a billionth.",
        "The odds are 3:1 against, the ratio 16:9.",
        "5 × 6 ÷ 3 ≥ 9 ≠ 8.",
        "A 95% interval of 1.2-3.4, p<0.05.",
        "Grew 12.5% in Q1, fell ~3% in Q2.",
        "1-2+3-4*5/6 is hard without a pencil.",
        "It's 5-10 minutes, or pages 12–15.",
        "Temperature: -5 to +3 degrees.",
        "α + β = γ where Δ > 0.",
    ),
    "numbers": (
        "There are 1,000,000 reasons and 7,900,000,000 people.",
        "I counted 0, 7, 11, 99, 100, 101 and 1001.",
        "Flight 2001 boards at gate 7B, seat 23C.",
        "Room 101, bus 42 and route 66.",
        "We need 3000 chairs, 2010 tables and 1100 lamps.",
        "Agent 007 drove 00.5 miles.",
        "The odds are 1 in 13,983,816.",
        "3.0 is not 3, and .5 is not 5.",
        "12 monkeys, 101 dalmatians, 1984 and 2000.",
        "Subtract -7 from -3.5.",
        "It has 1234567 rows and 12,34,567 in lakhs.",
        "Chapter 3.2.1 follows 3.2.",
        "Dial 5 twice: 55.",
    ),
    "punctuation": (
        "Wait -- what?! Really?!?! Yes!!!",
        "He (the tall one) left; she [the other] stayed.",
        "The plan (see above (or below)) is simple.",
        "She said: “It’s ‘fine’ — honestly…”",
        "Rock ’n’ roll, ’tis said, isn’t dead.",
        "A well-known, state-of-the-art, on-again-off-again thing.",
        "Em dash—no spaces—and en dash – with spaces – and - hyphens -.",
        "First - second - third - fourth.",
        "To be, or not to be: that is the question;",
        "Hmm.. two dots. And.... four.",
        "«Bonjour», „Guten Tag“ and ‚hallo‘.",
        "Sooooo coooool, yesss!",
        "Yes/no? He/she/they.",
        "* First point\n* Second point\n* Third point",
        "1. Wash\n2. Rinse\n3. Repeat",
        "A line\nbroken in the middle\n\nand a paragraph.",
        "Dear Sir,\n\nPlease find attached...\n\nYours,\nA. Nonymous",
        "# Heading\n\nSome **bold**, some _italic_ and a [link](https://example.com).",
        "(s)he, colo(u)r and book(s).",
        "That's it (for now).",
    ),
    "unicode": (
        "Café, naïve, façade, jalapeño and piñata.",
        "Zoë, Chloë, Renée and Siân met Søren in Århus.",
        "Dvořák, Łódź, Gdańsk, Škoda and Ångström.",
        "Straße, Æsop, œuvre, Þór and ﬁne ligatures.",
        "I ♥ NY, 5 ★ hotel, ☎ 555, ✓ done.",
        "Great job 🎉🎉 see you 😀!",
        "Brand™, Name®, © 2024 Someone.",
        "Left ← right → both ↔ so A ⇒ B.",
        "§ 12 ¶ 3 · note • bullet.",
        "x² + y³ = z₁, 10⁻³.",
        "№ 7, 20 ℃, 70℉, 5 Ω.",
        "Full width： ＡＢＣ１２３！",
        "Привет, Москва!",
        "Καλημέρα, κόσμε.",
        "你好,世界。",
        "Non\xa0breaking, thin\u2009and ideographic\u3000spaces.",
        "Zero\u200bwidth and soft\xadhyphen.",
        "𝐁𝐨𝐥𝐝 and 𝓢𝓬𝓻𝓲𝓹𝓽 letters.",
        "♠A ♥K ♦Q ♣J.",
        "🇫🇷 vs 🇬🇧, 👨‍👩‍👧 and 👍🏽.",
        "İstanbul and Iğdır.",
        "Tiếng Việt has ế and ữ.",
        "Say /kæt/, not /kɑːt/.",
        "Press ⌘ and ↵.",
        "½ off, ¾ full, ⅛ left.",
    ),
    "hard for the package": (
        "Col 1\tCol 2\tCol 3",
        "The banana is /bəˈnænə/ in most dictionaries.",
        "My blood type is 🅰 and this is 🆕.",
        "Ещё я люблю чай.",
        "こっちはふじさんです。",
        "The password is " + "8675309" * 6 + ", he said.",
        "It costs $,50 with a typing error.",
        "No. Yes. No. Yes. That is quite enough of that, thank you. " + "Yes. No. Maybe. " * 30,
    ),
}

PEOPLE = ("Maria", "Dr. Chen", "Mr. Okafor", "Zoë", "O'Neil", "Ms. Novák", "Prof. Hill", "Sam")
THINGS = ("lamp", "contract", "bicycle", "report", "parcel", "meeting", "concert", "server")
VERBS = ("bought", "lost", "moved", "signed", "found", "repaired", "ordered", "sold")
PLACES = ("Boston", "the harbour", "St. Louis", "Kraków", "the U.S. office", "São Paulo", "home")
WORDS = (
    "river stone window quiet morning never almost because winter garden letter should carry "
    "behind yellow paper silver mountain thought without between animal simple problem answer"
).split()


def corpus() -> list[str]:
    """SIZE different sentences, the same in every run."""
    written = [sentence for sentences in WRITTEN.values() for sentence in sentences]
    return list(islice(dict.fromkeys([*written, *islice(generate(SEED), 2 * SIZE)]), SIZE))


def generate(seed: int) -> Iterator[str]:
    """Sentences without end, of every kind in turn."""
    dice = random.Random(seed)
    for kind in cycle(KINDS):
        yield kind(dice)


def amount(dice: random.Random) -> str:
    return dice.choice(
        (
            f"${dice.randint(1, 999)}",
            f"${dice.randint(1, 99)}.{dice.randint(0, 99):02}",
            f"${dice.randint(1000, 9_999_999):,}",
            f"${dice.randint(1000, 99_999):,}.{dice.randint(0, 99):02}",
            f"${dice.randint(1, 900)}{dice.choice('KMBkm')}",
            f"${dice.randint(1, 9)}.{dice.randint(1, 9)} {dice.choice(('million', 'billion'))}",
            f"£{dice.randint(1, 5000):,}",
            f"€{dice.randint(1, 500)},{dice.randint(0, 99):02}",
            f"{dice.randint(1, 500)} €",
            f"¥{dice.randint(100, 90_000)}",
            f"{dice.randint(2, 90)} cents",
            f"-${dice.randint(1, 80)}",
            f"USD {dice.randint(1, 9000):,}",
        )
    )


def day(dice: random.Random) -> str:
    when = date(1930, 1, 1) + timedelta(days=dice.randint(0, 40_000))
    suffix = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
    return dice.choice(
        (
            f"{when.month}/{when.day}/{when.year}",
            f"{when.day}/{when.month}/{when.year % 100:02}",
            f"{when:%Y-%m-%d}",
            f"{when:%d-%m-%Y}",
            f"{when:%d.%m.%Y}",
            f"{when:%B} {when.day}, {when.year}",
            f"{when:%b} {when.day}{suffix.get(when.day, 'th')}",
            f"{when:%b}. {when.day}, {when.year}",
            f"{when.day} {when:%B} {when.year}",
            f"{when:%A}, {when:%d %b %y}",
            f"the {when.day}{suffix.get(when.day, 'th')} of {when:%B}",
            f"{when.year}",
            f"the {when.year // 10 * 10}s",
        )
    )


def clock(dice: random.Random) -> str:
    hour, minute, second = dice.randint(0, 23), dice.randint(0, 59), dice.randint(0, 59)
    half = dice.choice(("am", "pm", " am", " PM", " a.m.", " p.m."))
    return dice.choice(
        (
            f"{hour}:{minute:02}",
            f"{hour:02}:{minute:02}",
            f"{hour}:00",
            f"{hour % 12 + 1}:{minute:02}{half}",
            f"{hour % 12 + 1}{half}",
            f"{hour}:{minute:02}:{second:02}",
            f"{minute}:{second:02}",
            f"{hour}h{minute:02}",
            f"{hour} o'clock",
            f"{hour % 12 + 1}:{minute:02}-{hour % 12 + 2}:00",
        )
    )


def phone(dice: random.Random) -> str:
    area, exchange, line = (dice.randint(200, 999), dice.randint(200, 999), dice.randint(0, 9999))
    return dice.choice(
        (
            f"{area}-{exchange}-{line:04}",
            f"({area}) {exchange}-{line:04}",
            f"{area}.{exchange}.{line:04}",
            f"{area} {exchange} {line:04}",
            f"+1 {area} {exchange} {line:04}",
            f"1-{area}-{exchange}-{line:04}",
            f"+1 ({area}) {exchange}-{line:04}",
            f"{exchange}-{line:04}",
            f"+{dice.randint(30, 60)} {area} {exchange}{line:04}",
            f"0{area}/{exchange}{line:04}",
        )
    )


def number(dice: random.Random) -> str:
    return dice.choice(
        (
            str(dice.randint(0, 20)),
            str(dice.randint(21, 999)),
            str(dice.randint(1000, 9999)),
            str(dice.randint(10_000, 10**12)),
            f"{dice.randint(1000, 10**9):,}",
            f"{dice.uniform(0, 100):.{dice.randint(1, 4)}f}",
            f"-{dice.randint(1, 50)}",
            f"#{dice.randint(1, 200)}",
            f"{dice.randint(1, 100)}%",
            f"{dice.uniform(0, 10):.1f}%",
            f"{dice.randint(1, 30)}-{dice.randint(31, 60)}",
            f"{dice.randint(1, 30)}–{dice.randint(31, 60)}",
            f"{dice.randint(1, 9)}/{dice.randint(2, 16)}",
            f"{dice.randint(1, 9)} {dice.randint(1, 3)}/{dice.randint(4, 8)}",
            f"{dice.randint(1, 900)}{dice.choice(('k', 'K', 'M', 'B'))}",
            f"{dice.randint(4, 20)}th",
            f"{dice.randint(1, 99) * 10 + 1}st",
            f"{dice.randint(1, 40) * 100:,}th",
            dice.choice(("III", "IV", "XIV", "XXI", "MMXXIV")),
            f"{dice.randint(1, 9)}e{dice.randint(2, 12)}",
            f"{dice.randint(0, 9):03}",
        )
    )


UNITS = (
    "kg g mg km m cm mm mi ft in lb oz L ml mph km/h m/s °C °F ° V kW Hz kHz MHz GHz KB MB GB TB"
)


def measure(dice: random.Random) -> str:
    value = dice.choice((str(dice.randint(1, 500)), f"{dice.uniform(0, 50):.1f}", "1,500", "½"))
    return f"{value}{dice.choice(('', ' '))}{dice.choice(UNITS.split())}"


def address(dice: random.Random) -> str:
    host = f"{dice.choice(WORDS)}{dice.choice(('', '-shop', '24', '.co'))}"
    domain = dice.choice(("com", "org", "co.uk", "io", "net"))
    one, two = dice.sample(WORDS, 2)
    return dice.choice(
        (
            f"https://{host}.{domain}",
            f"http://www.{host}.{domain}/{one}/{two}.html",
            f"https://{host}.{domain}/{one}?id={dice.randint(1, 999)}&{two}=true#{one}",
            f"www.{host}.{domain}",
            f"{host}.{domain}",
            f"{one}.{two}@{host}.{domain}",
            f"{one}_{two}{dice.randint(1, 99)}@{host}.{domain}",
            f"@{one}_{two}",
            f"#{one.title()}{two.title()}",
            ".".join(str(dice.randint(0, 255)) for _ in range(4)),
            f"{dice.randint(1, 9)}.{dice.randint(0, 20)}.{dice.randint(0, 9)}",
            f"v{dice.randint(1, 9)}.{dice.randint(0, 20)}-rc{dice.randint(1, 4)}",
            f"{one}_{two}.{dice.choice(('py', 'txt', 'tar.gz', 'mp3', 'PDF'))}",
            f"/usr/{one}/{two}",
            f"C:\\{one.title()}\\{two}.exe",
            f"{one}{two.title()}()",
            f"{one.title()}{two.title()}",
            f"{one.upper()}_{two.upper()}={dice.randint(0, 9)}",
        )
    )


NAMES = (
    "NASA FBI CPUs GPUs APIs API CLI URLs PhD TVs iPhone YouTube McDonald JavaScript LMDeploy "
    "USB-C OpenAI CEOs NGOs Wi-Fi HTML5 mRNA eBay macOS GitHub PostgreSQL U.S. U.K. e.g. i.e. "
    "etc. vs. and/or Mr. Mrs. Dr. St. Co. Ltd. Jr. Sgt. Ave Jan Sept Mon Wed CO2 H2O B2B 4K "
    "3D COVID-19"
).split()

SYMBOLS = (
    "& @ + = < > <= >= ~ * % $ # / \\ | ^ _ - -- — – … • · ° ± × ÷ → ← ⇒ ≤ ≥ ≈ ≠ ∞ ™ ® © § € £ ¥ ½"
).split()

EMOJI = ("😀 😂 🎉 👍 🚀 ❤️ 🙏 ✅ ⭐ ☀ ✓ ★ 🔥 🇩🇪 👩\u200d💻").split()

ACCENTED = (
    "café naïve Zoë jalapeño façade Škoda Łódź Dvořák Ångström Straße Æsop Søren İzmir Việt"
).split()

QUOTES = (
    '"{}"',
    "'{}'",
    "“{}”",
    "‘{}’",
    "«{}»",
    "({})",
    "[{}]",
    "— {} —",
    "*{}*",
    "…{}…",
    "{{{}}}",
)


def phrase(dice: random.Random, least: int = 2, most: int = 9) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randint(least, most)))


def about(value: Callable[[random.Random], str]) -> Callable[[random.Random], str]:
    """Sentences around such a value."""

    def sentence(dice: random.Random) -> str:
        who, what, did, where = map(dice.choice, (PEOPLE, THINGS, VERBS, PLACES))
        return dice.choice(
            (
                f"{who} {did} the {what} for {value(dice)} in {where}.",
                f"Is {value(dice)} really the {what}, or is it {value(dice)}?",
                f"{value(dice)}: that is what {who} said about the {what}!",
                f"From {value(dice)} to {value(dice)}, {who} {did} {value(dice)}.",
                f"The {what} ({value(dice)}) was in {where}; {phrase(dice)}.",
                f"{phrase(dice).capitalize()}, {value(dice)}, {phrase(dice)}",
                f"{who} {did} it. Then came {value(dice)}. {phrase(dice, 4, 14).capitalize()}.",
                f"{value(dice)} and {value(dice)}",
                f"{who}'s {what}: {value(dice)}, {value(dice)}, {value(dice)}...",
            )
        )

    return sentence


def quoted(dice: random.Random) -> str:
    return dice.choice(QUOTES).format(phrase(dice))


def signed(dice: random.Random) -> str:
    one, two = dice.choice(SYMBOLS), dice.choice(SYMBOLS)
    gap = dice.choice(("", " "))
    return f"{dice.choice(WORDS)}{gap}{one}{gap}{dice.choice(WORDS)} {two} {dice.randint(0, 30)}"


def formula(dice: random.Random) -> str:
    gap = dice.choice(("", " "))
    signs = dice.choices("+-*/=<>", k=dice.randint(1, 4))
    return str(dice.randint(0, 99)) + "".join(
        f"{gap}{sign}{gap}{dice.choice((dice.randint(0, 99), 'x', '(y)'))}" for sign in signs
    )


def prose(dice: random.Random) -> str:
    parts = (
        phrase(dice, 1, 18).capitalize() + dice.choice((".", "!", "?", "...", ",", ";", ":", "?!"))
        for _ in range(dice.randint(1, 5))
    )
    return dice.choice((" ", " ", "\n", "\n\n")).join(parts)


KINDS: tuple[Callable[[random.Random], str], ...] = (
    *map(about, (amount, day, clock, phone, number, measure, address, quoted, signed, formula)),
    about(lambda dice: dice.choice(NAMES)),
    about(lambda dice: f"{dice.choice(NAMES)} {dice.choice(NAMES)}"),
    about(lambda dice: dice.choice(EMOJI)),
    about(lambda dice: dice.choice(ACCENTED)),
    about(phrase),
    prose,
)
