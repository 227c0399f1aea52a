"""Documents as audio books, from the command line."""

import fcntl
import io
import os
import stat
import subprocess
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import pytest

from tests.epub import write_epub
from tests.listening import decode_file
from tests.load.book import MAX_MEMORY, read_srt, run_book
from tests.serving import run_console

CHAPTERS: Final = {"one.xhtml": "<h1>One</h1><p>It rained.</p>", "two.xhtml": "<h1>Two</h1>"}
CONTENTS: Final = [("Chapter one", "one.xhtml"), ("Chapter two", "two.xhtml")]


def say(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[bytes]:
    return run_console("say", "--backend", "embedded", *arguments, cwd=cwd, environ=environ)


def picture() -> bytes:
    """A JPEG."""
    body = io.BytesIO()
    with av.open(body, "w", format="mjpeg") as output:
        stream = output.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 48, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 32, 3), np.uint8), format="rgb24")
        output.mux([*stream.encode(frame), *stream.encode(None)])
    return body.getvalue()


def test_a_book_that_is_killed_twice_goes_on_where_it_was(tmp_path: Path) -> None:
    run = run_book(tmp_path, 6_000)
    assert 0 < run.num_parts_at_kills[0] < run.num_parts_at_kills[1]
    assert run.memory_beyond_start < MAX_MEMORY


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("b.m4b", {"audio", "video", "data"}), ("b.mp3", {"audio", "video"}), ("b.opus", {"audio"})],
)
def test_a_book_has_chapters_tags_and_a_cover(tmp_path: Path, name: str, kinds: set[str]) -> None:
    write_epub(tmp_path / "a.epub", CHAPTERS, CONTENTS, cover=picture())
    done = say("a.epub", "-o", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == name
    with av.open(tmp_path / name, "r") as book:
        chapters: list[Any] = book.chapters()
        assert {stream.type for stream in book.streams} == kinds
        tags = book.metadata or book.streams.audio[0].metadata
        assert (tags["title"], tags["artist"]) == ("The Calm Sea", "A. Writer")
        duration_s = (book.duration or 0) / 1e6
    assert [each["metadata"]["title"] for each in chapters] == ["Chapter one", "Chapter two"]
    borders = [
        float(each[side] * each["time_base"]) for each in chapters for side in ("start", "end")
    ]
    assert borders[0] == 0
    assert borders[1] == borders[2]
    assert borders[3] == pytest.approx(duration_s, abs=0.05)


@pytest.mark.parametrize(
    "cover", [b"no picture", picture()[:40], b"ffconcat version 1.0\nfile a.jpg\n", b"GIF89a..."]
)
def test_a_cover_that_is_no_picture_is_left_out(tmp_path: Path, cover: bytes) -> None:
    write_epub(tmp_path / "a.epub", CHAPTERS, CONTENTS, cover=cover)
    assert say("a.epub", cwd=tmp_path).returncode == 0
    with av.open(tmp_path / "a.m4b", "r") as book:
        assert not book.streams.video


def test_several_files_and_directories_are_one_book(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "2.txt").write_text("Two.")
    (tmp_path / "text" / "10.txt").write_text("Ten.")
    (tmp_path / "first.md").write_text("# First\n\nOne.")
    done = say("first.md", "text", "-o", "b.m4b", "--captions", "srt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    captions = read_srt(tmp_path / "b.srt")
    assert [text for _, _, text in captions] == ["First", "One.", "Two.", "Ten."]
    assert not (tmp_path / "b.m4b.parts").exists()


def test_a_name_may_have_a_colon(tmp_path: Path) -> None:
    (tmp_path / "2001: A Book.txt").write_text("It is short.")
    done = say("2001: A Book.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "2001: A Book.m4b").stat().st_size > 1_000


def test_one_process_makes_a_book(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("It is short.")
    (tmp_path / "a.m4b.parts").mkdir()
    with (tmp_path / "a.m4b.parts" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = say("a.txt", cwd=tmp_path)
        assert done.returncode == 1
        assert "Another process is making this book" in done.stderr.decode()
    assert say("a.txt", cwd=tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.m4b", "a.txt"]


def test_a_directory_gives_its_name_and_one_without_documents_is_a_word(tmp_path: Path) -> None:
    (tmp_path / "Hello").mkdir()
    assert say("Hello", "-o", "a.wav", cwd=tmp_path).returncode == 0
    (tmp_path / "Hello" / "a.txt").write_text("It is short.")
    done = say(".", cwd=tmp_path / "Hello")
    assert done.stdout.decode().strip() == "Hello.m4b"


def test_a_document_is_spoken_into_any_format(tmp_path: Path) -> None:
    write_epub(tmp_path / "a.epub", CHAPTERS, CONTENTS)
    done = say("a.epub", "-o", "b.wav", "--captions", "vtt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    samples, rate, _ = decode_file((tmp_path / "b.wav").read_bytes())
    assert len(samples) / rate > 1
    cues = (tmp_path / "b.vtt").read_text()
    assert cues.startswith("WEBVTT")
    assert "It rained." in cues


def test_play_gives_the_sound_to_a_player_as_it_comes(tmp_path: Path) -> None:
    player = tmp_path / "ffplay"
    player.write_text(f"#!/bin/sh\ncat > {tmp_path}/heard.wav\n")
    player.chmod(player.stat().st_mode | stat.S_IXUSR)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = say("--play", "Hello there.", cwd=tmp_path, PATH=path)
    assert done.returncode == 0, done.stderr
    samples, rate, _ = decode_file((tmp_path / "heard.wav").read_bytes())
    assert len(samples) / rate > 0.3
    player.write_text("#!/bin/sh\nexit 3\n")
    done = say("--play", "Hello there.", cwd=tmp_path, PATH=path)
    assert done.returncode == 1
    assert done.stderr.decode() == "Error: ffplay ended with status 3.\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--play", "-o", "a.wav", "Hello."], "--play writes no file"),
        (["--captions", "srt", "Hello."], "--captions are written beside a file"),
        (["Hello.", "World."], "none of the known kinds"),
        (["x" * 300, "World."], "cannot be read"),
        (["--play", "--format", "mp3", "Hello."], "--play writes no file"),
        (["missing.epub", "other.epub"], "No such file"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    tmp_path: Path, arguments: list[str], problem: str
) -> None:
    done = say(*arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert problem in done.stderr.decode().splitlines()[-1]
    assert not list(tmp_path.iterdir())
