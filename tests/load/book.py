"""An audio book that is killed on its way: `python -m tests.load.book --words 100000`.

Makes an EPUB of random words, speaks it with the embedded voice, kills the process twice, goes on,
and checks that nothing was spoken twice, that chapters, captions and playing time are right, and
how much memory it took.
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import av
import msgspec
import psutil

from tests.epub import write_epub
from tests.serving import clean_environment

MAX_MEMORY: Final = 150e6  # bytes beyond what the process has when it begins to speak
WORDS: Final = (  # noqa: SIM905
    "the sea was calm and a small boat went slowly past while people on the shore looked at its"
    " white sail in evening light before rain came down from dark hills"
).split()
CHAPTER_WORDS: Final = 2_500
SENTENCE_WORDS, PARAGRAPH_SENTENCES = 12, 8
ROOT: Final = Path(__file__).parents[2]


class BookRun(msgspec.Struct):
    """What was measured."""

    num_parts_at_kills: list[int]
    memory_beyond_start: float  # bytes
    duration_s: float  # of the book
    took_s: float


def random_epub(path: Path, num_words: int) -> list[str]:
    """Write a book; its sentences, with the headings."""
    draw = random.Random(7)
    sentences, documents, contents = list[str](), dict[str, str](), list[tuple[str, str]]()
    for number in range(1, max(1, num_words // CHAPTER_WORDS) + 1):
        title = f"Chapter {number}"
        body = f"<h1>{title}</h1>"
        sentences.append(title)
        for _ in range(round(CHAPTER_WORDS / SENTENCE_WORDS / PARAGRAPH_SENTENCES)):
            paragraph = [
                " ".join(draw.choices(WORDS, k=SENTENCE_WORDS)).capitalize() + "."
                for _ in range(PARAGRAPH_SENTENCES)
            ]
            sentences += paragraph
            body += f"<p>{' '.join(paragraph)}</p>\n"
        documents[f"{number}.xhtml"] = body
        contents.append((title, f"{number}.xhtml"))
    write_epub(path, documents, contents)
    return sentences


def run_book(directory: Path, num_words: int) -> BookRun:
    """Speak such a book into `directory`, killing the process after each third."""
    sentences = random_epub(directory / "book.epub", num_words)
    num_parts = sum(map(len, sentences)) // 4_000
    parts, kills = directory / "book.m4b.parts", list[int]()
    began = time.monotonic()
    kept: dict[str, int] = {}
    for target in (num_parts // 3, 2 * num_parts // 3):
        with _speaking(directory) as process:
            while len(_sounds(parts)) <= target:
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        kept = _sounds(parts)
        kills.append(len(kept))
    beyond = _finish(directory, kept)
    duration_s = check_book(directory, sentences)
    return BookRun(kills, beyond, duration_s, time.monotonic() - began)


def _finish(directory: Path, kept: dict[str, int]) -> float:
    """Speak the rest; the memory in bytes that it took beyond that of the first part."""
    beyond, first = 0, 0
    with _speaking(directory) as process, suppress(psutil.NoSuchProcess):
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            sounds = _sounds(directory / "book.m4b.parts")
            # None of them was spoken again; at the end they are gone.
            assert all(sounds.get(name, written) == written for name, written in kept.items())
            resident = watched.memory_info().rss
            if len(sounds) > len(kept):
                first = first or resident
            beyond = max(beyond, resident - first) if first else 0
            time.sleep(0.05)
    assert process.returncode == 0
    return beyond


def _speaking(directory: Path) -> subprocess.Popen[bytes]:
    command = (
        sys.executable, "-m", "app", "say", "--backend", "embedded", "book.epub",
        "-o", "book.m4b", "--captions", "srt",
    )  # fmt: skip
    environment = clean_environment({"PYTHONPATH": str(ROOT)})
    return subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.DEVNULL)


def _sounds(parts: Path) -> dict[str, int]:
    """The whole parts, and when each was written."""
    found = {}
    for path in parts.glob("*.aac"):
        try:
            found[path.name] = path.stat().st_mtime_ns
        except FileNotFoundError:  # the book is joined
            continue
    return found


def check_book(directory: Path, sentences: list[str]) -> float:
    """Playing time of book.m4b in seconds, whose chapters and captions say these sentences."""
    assert sorted(path.name for path in directory.iterdir()) == [
        "book.epub", "book.m4b", "book.srt"
    ]  # fmt: skip
    with av.open(directory / "book.m4b", "r") as book:
        chapters: list[Any] = book.chapters()
        duration_s = (book.duration or 0) / 1e6
        num_samples = sum(packet.duration or 0 for packet in book.demux(audio=0))
        off_s = num_samples / book.streams.audio[0].rate - duration_s
        assert abs(off_s) < 1e-6, off_s  # FFmpeg counts it in microseconds
    captions = read_srt(directory / "book.srt")
    assert [text for _, _, text in captions] == sentences
    assert all(start < end for start, end, _ in captions)
    assert all(one[1] <= two[0] for one, two in pairwise(captions))
    assert 0 <= duration_s - captions[-1][1] < 0.2
    starts = {text: start for start, _, text in captions if text.startswith("Chapter")}
    marks = {each["metadata"]["title"]: each["start"] * each["time_base"] for each in chapters}
    assert list(marks) == list(starts)
    assert all(abs(marks[title] - start) < 0.002 for title, start in starts.items())
    return duration_s


def read_srt(path: Path) -> list[tuple[float, float, str]]:
    """Start and end in seconds, and the text."""
    time_of = r"(\d+):(\d\d):(\d\d),(\d{3})"
    found = re.findall(rf"\d+\n{time_of} --> {time_of}\n(.+?)\n\n", path.read_text(), re.DOTALL)

    def seconds(hours: str, minutes: str, whole: str, thousandths: str) -> float:
        return int(hours) * 3600 + int(minutes) * 60 + int(whole) + int(thousandths) / 1000

    return [(seconds(*each[:4]), seconds(*each[4:8]), each[8]) for each in found]


def main() -> int:
    """Run, print what was measured, and say whether memory is within the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=100_000)
    with tempfile.TemporaryDirectory() as directory:
        run = run_book(Path(directory), parser.parse_args().words)
    print(f"killed with {run.num_parts_at_kills} parts whole; none of these was spoken again")
    print(f"{run.duration_s / 3600:.2f} h of audio in {run.took_s:.0f} s")
    print(f"{run.memory_beyond_start / 1e6:.0f} MB beyond the start (at most 150)")
    return int(run.memory_beyond_start > MAX_MEMORY)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
