"""How long the reading of a text takes: `python -m tests.load.reading`, or `make reading`.

Exits with 1 beyond MAX_DENSE_MS for 300 characters of dense text, or MAX_HOSTILE_MS for 4,096 of
any pattern. Times are CPU time of the thread, the best of several runs: neighbours on the machine
count little.
"""

import sys
from time import thread_time
from typing import Final

from app.domain.text.front_end import DEFAULT_READING, read_text
from app.entrypoints.memory import tune_allocation

MAX_DENSE_MS: Final = 1.0
MAX_HOSTILE_MS: Final = 30.0
MAX_CHARS: Final = 4_096

DENSE: Final = (
    "On 3/14/2015 at 9:05 p.m. Dr. Lee paid $5.3bn (20 %) for 12kg of C++ books, 40-60 \u00b0C, "
    "at https://example.com/docs?x=1; call 212-555-0100 or mail bob@mail.org. Chapter IV says "
    "2 1/4 cups, 10\u00b2\u00b3 atoms, COVID-19, U.S. law, 1,984 people in 1984, the '80s, 5'11\", "
    "v3.11.7, #1 & 24/7. Louis XIV!"
)[:300]

HOSTILE: Final = (
    "1,1,", "((((", "1:1:1", "$1 $1", "http://", "<<<<", "[[[[](", "**_**_", "&amp;&amp;",
    "a.b.c.d", "1/1/1", "1-1-1", "+1 +1", "A.A.A.", "1st1st", "####", "||||", "\n-\n-",
    "\u200b", "e\u0301", "\u05e9\u05dc", "a", "1", ".", "@", "a@a.a@", "\u00b0", "\u00bd",
    "X X X ", "'s", "<a <a ", "<think>", "<!-- ", "[pause:1s]", "`", "~~", "\n1. ", "\u2212",
    "\u00b2", "$", "%", "1e9", "IV ", "a-\n", "5", "5' 6\" ", "\n|a|b|", "- 5 ", "May 5 ",
    "5 km/h ", "\U0001f600", "\uff15", "no. 5 ", "St. ", "a.m. ",
)  # fmt: skip


def reading_ms(text: str, num_runs: int) -> float:
    """Milliseconds of processor that the reading of `text` takes at best."""
    times = []
    for _ in range(num_runs):
        started = thread_time()
        read_text(text, DEFAULT_READING)
        times.append(thread_time() - started)
    return min(times) * 1000


def main() -> int:
    """Measure, print a line for each text, and say whether all are within the limits."""
    tune_allocation()  # as the server does: else large lists are cleared by the system each time
    dense_ms = reading_ms(DENSE, 500)
    print(f"{dense_ms:7.2f} ms  {len(DENSE)} characters of dense text (at most {MAX_DENSE_MS})")
    is_good = dense_ms <= MAX_DENSE_MS
    for pattern in HOSTILE:
        whole = (pattern * MAX_CHARS)[:MAX_CHARS]
        whole_ms, half_ms = reading_ms(whole, 5), reading_ms(whole[: MAX_CHARS // 2], 5)
        is_good = is_good and whole_ms <= MAX_HOSTILE_MS
        mark = "" if whole_ms <= MAX_HOSTILE_MS else "  TOO LONG"
        print(f"{whole_ms:7.2f} ms  {whole_ms / half_ms:4.1f}x half  {pattern!r}{mark}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
