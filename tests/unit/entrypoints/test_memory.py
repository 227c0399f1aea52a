import platform
import subprocess
import sys

import pytest

FRAGMENTED = """
import sys, time
import psutil
from app.entrypoints.memory import tune_allocation

def resident_mb():
    return psutil.Process().memory_info().rss / 1e6

tune_allocation(float(sys.argv[1]))
before = resident_mb()
blocks = [bytes(4_000) for _ in range(20_000)]
blocks = blocks[::100]  # what stays lies above what is free, so that no arena can end lower
freed = resident_mb()
end = time.monotonic() + float(sys.argv[2])
while resident_mb() - before > 20 and time.monotonic() < end:
    time.sleep(0.05)
print(freed - before, resident_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is tuned")
@pytest.mark.parametrize(
    ("interval_s", "wait_s", "is_given_back"), [(0.2, 20, True), (60, 1, False)]
)
@pytest.mark.integration
def test_what_is_free_is_given_back_after_a_while(
    *, interval_s: float, wait_s: float, is_given_back: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FRAGMENTED, str(interval_s), str(wait_s)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    freed, later = map(float, done.stdout.split())
    assert freed > 60
    assert (later < 20) == is_given_back
