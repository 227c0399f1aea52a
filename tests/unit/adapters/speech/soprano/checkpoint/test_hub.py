"""A model is a directory, a cached repository, or fetched when that is allowed.

The library reads its settings when it is imported, so what depends on them runs in a process of its
own; the hub there is a small server of ours on the loopback address.
"""

import errno
import hashlib
import json
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.adapters.speech.soprano.checkpoint.checkpoint import read_checkpoint
from app.adapters.speech.soprano.checkpoint.hub import (
    CachedCheckpoint,
    explain_failure,
    find_cached,
    is_repo,
    list_cached,
    locate,
)
from app.domain.errors import CheckpointError
from tests.fakes.clock import FakeClock
from tests.serving import clean_environment
from tests.small_checkpoint import (
    COMMIT,
    FILES,
    cache_small_checkpoint,
    write_small_checkpoint,
)

ROOT = Path(__file__).parents[6]
REPO = "someone/Some-Voice.1"
UNREACHABLE = "http://127.0.0.1:9"
LOCATE = """
import sys
from app.adapters.clock import SystemClock
from app.adapters.speech.soprano.checkpoint.hub import locate
from app.domain.errors import CheckpointError
from app.entrypoints.log import configure_logging
from app.entrypoints.settings import (LogSettings)

configure_logging(LogSettings(format="json"))
repo, revision = sys.argv[1:]
try:
    print(locate(repo, revision or None, may_download=True, clock=SystemClock()))
except CheckpointError as error:
    print(error)
    sys.exit(1)
"""


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the hub, also in this process."""
    path = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(path))
    return path


def locate_here(model: str, revision: str | None = None) -> Path:
    return locate(model, revision, may_download=False, clock=FakeClock())


def environment(cache_dir: Path, **env: str) -> dict[str, str]:
    own = {
        "HF_HUB_CACHE": str(cache_dir),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_ETAG_TIMEOUT": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "1",
        "HF_TOKEN_PATH": "/nowhere",
    }
    return clean_environment({**own, **env})


def show_on_terminal(cache_dir: Path, **env: str) -> str:
    """What a person sees while a repository is fetched."""
    terminal, standard_error = pty.openpty()
    termios.tcsetwinsize(standard_error, (24, 120))
    command = [sys.executable, "-c", LOCATE, REPO, ""]
    with (
        os.fdopen(terminal, "rb", buffering=0) as screen,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(cache_dir, **env),
            stdout=subprocess.DEVNULL,
            stderr=standard_error,
        ),
    ):
        os.close(standard_error)
        shown = b""
        with suppress(OSError):  # how a terminal says that the other end is closed
            while part := screen.read(4_096):
                shown += part
    return shown.decode()


class Located:
    """What a process that may download found.

    Attributes:
        line: the directory, or the error.
        events: that it logged itself, by name.
    """

    def __init__(self, cache_dir: Path, repo: str = REPO, revision: str = "", **env: str) -> None:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", LOCATE, repo, revision],
            cwd=ROOT,
            env=environment(cache_dir, **env),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert len(done.stdout.splitlines()) == 1, (done.stdout, done.stderr)
        self.is_found = done.returncode == 0
        self.line = done.stdout.strip()
        logged = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        self.events = {event["event"]: event for event in logged if "logger" not in event}


class TestOnThisMachine:
    def test_a_directory_wins_over_a_repository(
        self, tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache_small_checkpoint(cache_dir, REPO)
        (tmp_path / REPO).mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        assert locate_here(REPO) == Path(REPO)

    @pytest.mark.parametrize("revision", [None, "main", COMMIT])
    def test_a_cached_repository_is_found(self, cache_dir: Path, revision: str | None) -> None:
        snapshot = cache_small_checkpoint(cache_dir, REPO)
        assert locate_here(REPO, revision) == snapshot
        assert find_cached(REPO, revision) == snapshot
        assert read_checkpoint(snapshot).directory == snapshot

    def test_revisions_are_told_apart(self, cache_dir: Path) -> None:
        new = cache_small_checkpoint(cache_dir, REPO)
        old = cache_small_checkpoint(cache_dir, REPO, ref="v1", commit="f" * 40)
        assert find_cached(REPO, None) == new
        assert find_cached(REPO, "v1") == old
        assert find_cached(REPO, "v2") is None

    @pytest.mark.parametrize("name", FILES)
    def test_a_part_of_a_repository_is_not_enough(self, cache_dir: Path, name: str) -> None:
        (cache_small_checkpoint(cache_dir, REPO) / name).unlink()
        assert find_cached(REPO, None) is None

    def test_a_file_whose_content_is_gone_is_not_enough(self, cache_dir: Path) -> None:
        snapshot = cache_small_checkpoint(cache_dir, REPO)
        (snapshot / "decoder.pth").resolve().unlink()
        assert find_cached(REPO, None) is None

    @pytest.mark.parametrize("model", ["", "a b/c", "someone/some--voice", "a/b/c", "/etc/nothing"])
    def test_what_cannot_be_in_a_cache_is_not_found(self, cache_dir: Path, model: str) -> None:
        assert find_cached(model, None) is None

    @pytest.mark.parametrize(
        ("revision", "command"),
        [
            (None, f"`soprano-api models pull {REPO}`"),
            ("v1", f"`soprano-api models pull {REPO} --revision v1`"),
        ],
    )
    def test_what_is_not_there_is_not_fetched_but_how_is_said(
        self, cache_dir: Path, revision: str | None, command: str
    ) -> None:
        with pytest.raises(CheckpointError) as caught:
            locate_here(REPO, revision)
        assert REPO in str(caught.value)
        assert command in str(caught.value)
        assert not cache_dir.exists()

    @pytest.mark.parametrize(
        "model",
        ["nothing", "./some/voice", "/no/where", "a/b/c", "a//b", "../a/b", "x" * 5_000, ""],
    )
    def test_other_words_name_no_model(self, cache_dir: Path, model: str) -> None:
        with pytest.raises(CheckpointError):
            locate_here(model or "\0")
        assert not is_repo(model)

    def test_an_empty_cache_lists_nothing(self, cache_dir: Path) -> None:
        assert list_cached() == []

    def test_the_cache_is_listed(self, cache_dir: Path) -> None:
        main = cache_small_checkpoint(cache_dir, REPO)
        old = cache_small_checkpoint(cache_dir, REPO, ref="v1", commit="f" * 40)
        (old / "config.json").unlink()
        other = cache_small_checkpoint(cache_dir, "someone/A-Text-Model", commit="e" * 40)
        (other / "decoder.pth").unlink()
        num_bytes = sum(path.stat().st_size for path in main.iterdir())
        assert list_cached() == [
            CachedCheckpoint(
                repo=REPO,
                revision=COMMIT,
                refs=("main",),
                num_bytes=num_bytes,
                path=main,
                is_complete=True,
            ),
            CachedCheckpoint(
                repo=REPO,
                revision="f" * 40,
                refs=("v1",),
                num_bytes=sum(path.stat().st_size for path in old.iterdir()),
                path=old,
                is_complete=False,
            ),
        ]


class TestWithoutAHub:
    def test_a_hub_that_cannot_be_reached_is_one_line(self, cache_dir: Path) -> None:
        located = Located(cache_dir, HF_ENDPOINT=UNREACHABLE)
        assert not located.is_found
        assert f"{REPO} cannot be fetched: the hub cannot be reached" in located.line
        assert f"`soprano-api models pull {REPO}`" in located.line

    def test_being_offline_by_choice_is_said(self, cache_dir: Path) -> None:
        located = Located(cache_dir, revision="v1", HF_HUB_OFFLINE="1")
        assert not located.is_found
        assert f"{REPO} (revision v1) cannot be fetched: HF_HUB_OFFLINE" in located.line

    def test_what_is_cached_needs_no_hub(self, cache_dir: Path) -> None:
        snapshot = cache_small_checkpoint(cache_dir, REPO)
        located = Located(cache_dir, HF_ENDPOINT=UNREACHABLE)
        assert located.line == str(snapshot)
        assert located.events == {}


class TestWithAHub:
    def test_a_repository_is_fetched_once(self, tmp_path: Path, cache_dir: Path) -> None:
        with hub_server(write_small_checkpoint(tmp_path / "origin")) as (url, asked):
            first = Located(cache_dir, HF_ENDPOINT=url)
            num_asked = len(asked)
            second = Located(cache_dir, HF_ENDPOINT=url)
        assert first.is_found, first.line
        assert Path(first.line) == find_cached(REPO, None)
        assert second.line == first.line
        assert len(asked) == num_asked
        assert second.events == {}
        for name in FILES:
            fetched = Path(first.line) / name
            assert fetched.read_bytes() == (tmp_path / "origin" / name).read_bytes()
        assert {path.name for path in Path(first.line).iterdir()} == set(FILES)

    def test_a_download_is_logged(self, tmp_path: Path, cache_dir: Path) -> None:
        origin = write_small_checkpoint(tmp_path / "origin")
        num_bytes = sum(path.stat().st_size for path in origin.iterdir())
        (origin / "README.md").write_text("Not fetched.")
        with hub_server(origin) as (url, _):
            events = Located(cache_dir, HF_ENDPOINT=url).events
        assert list(events) == ["checkpoint.download_started", "checkpoint.download_finished"]
        assert events["checkpoint.download_started"]["repo"] == REPO
        finished = events["checkpoint.download_finished"]
        assert finished["num_bytes"] == num_bytes
        assert 0 <= finished["duration_s"] < 60
        assert finished["revision"] == COMMIT

    def test_a_download_that_was_cut_is_completed(self, tmp_path: Path, cache_dir: Path) -> None:
        (cache_small_checkpoint(cache_dir, REPO) / "decoder.pth").unlink()
        with hub_server(write_small_checkpoint(tmp_path / "origin")) as (url, _):
            located = Located(cache_dir, HF_ENDPOINT=url)
        assert located.is_found, located.line
        assert read_checkpoint(Path(located.line)).decoder.version == "1.1"

    def test_a_repository_of_something_else_is_refused(
        self, tmp_path: Path, cache_dir: Path
    ) -> None:
        origin = write_small_checkpoint(tmp_path / "origin")
        (origin / "decoder.pth").unlink()
        with hub_server(origin) as (url, _):
            located = Located(cache_dir, HF_ENDPOINT=url)
        assert located.line == f"{REPO} is no Soprano checkpoint: it has no decoder.pth."

    @pytest.mark.parametrize(
        ("status", "code", "words"),
        [
            (401, "RepoNotFound", "no such repository"),
            (404, "RepoNotFound", "no such repository"),
            (404, "RevisionNotFound", "no revision 'v1'"),
            (403, "GatedRepo", "access must be granted"),
            (418, "", "answered with status 418"),
        ],
    )
    def test_a_refusal_is_one_line(
        self, tmp_path: Path, cache_dir: Path, status: int, code: str, words: str
    ) -> None:
        with hub_server(tmp_path, (status, code)) as (url, _):
            located = Located(cache_dir, revision="v1", HF_ENDPOINT=url)
        assert not located.is_found
        assert f"{REPO} (revision v1) cannot be fetched: " in located.line
        assert words in located.line

    def test_a_cache_that_cannot_be_made_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("In the way.")
        with hub_server(write_small_checkpoint(tmp_path / "origin")) as (url, _):
            located = Located(tmp_path / "file" / "cache", HF_ENDPOINT=url)
        assert not located.is_found
        assert "the hub's cache cannot be used" in located.line
        assert "Not a directory" in located.line

    def test_a_terminal_shows_a_bar_instead_of_events(
        self, tmp_path: Path, cache_dir: Path
    ) -> None:
        with hub_server(write_small_checkpoint(tmp_path / "origin")) as (url, _):
            shown = show_on_terminal(cache_dir, HF_ENDPOINT=url)
        assert "100%" in shown
        assert "checkpoint.download" not in shown


class TestDisks:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_is_said(self, number: int) -> None:
        assert "is full" in explain_failure(OSError(number, "full"), REPO, None)

    def test_a_full_disk_is_recognised_by_its_words(self) -> None:
        error = RuntimeError("Data processing error: No space left on device (os error 28)")
        assert "is full" in explain_failure(error, REPO, None)

    def test_a_disk_that_cannot_be_written_is_said(self) -> None:
        error = PermissionError(errno.EACCES, "Permission denied", "/cache/refs")
        assert "(/cache/refs: Permission denied)" in explain_failure(error, REPO, None)


@contextmanager
def hub_server(
    origin: Path, refusal: tuple[int, str] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """A hub whose every repository has the files of `origin`; its URL, and what it was asked.

    Args:
        origin: its files.
        refusal: the status and the code with which every question is refused.
    """
    asked: list[str] = []

    class Handler(_HubHandler):
        def answer(self) -> tuple[int, dict[str, str], bytes]:
            asked.append(self.path)
            if refusal is not None:
                return refusal[0], {"X-Error-Code": refusal[1]}, b"{}"
            return answer_hub(origin, self.path.partition("?")[0])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _HubHandler(BaseHTTPRequestHandler):
    def answer(self) -> tuple[int, dict[str, str], bytes]:
        raise NotImplementedError

    def do_GET(self) -> None:
        status, headers, body = self.answer()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base names it
        """Say nothing."""


def answer_hub(origin: Path, path: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body: a repository, the tree of its files, or a file."""
    if "/resolve/" in path:
        content = (origin / Path(path).name).read_bytes()
        tag = hashlib.sha1(content).hexdigest()
        return 200, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}, content
    json_type = {"Content-Type": "application/json"}
    if "/tree/" in path:
        files = [
            {
                "type": "file",
                "path": file.name,
                "size": file.stat().st_size,
                "oid": hashlib.sha1(file.read_bytes()).hexdigest(),
            }
            for file in sorted(origin.iterdir())
        ]
        return 200, json_type, json.dumps(files).encode()
    siblings = [{"rfilename": file.name} for file in sorted(origin.iterdir())]
    info = {"id": REPO, "modelId": REPO, "sha": COMMIT, "private": False, "siblings": siblings}
    return 200, json_type, json.dumps(info).encode()
