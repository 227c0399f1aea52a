"""A file of keys that changes while the server runs."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.adapters import reloaded_files
from app.adapters.reloaded_files import WatchedKeyFile, add_key, describe_entry
from app.domain.api_keys import ApiKey, InvalidKeysError, KeyLimits, hash_key
from tests.fakes.clock import FakeClock

KEY, OTHER = "sk-soprano-0123456789abcdef", "sk-soprano-fedcba9876543210"


class Watched:
    """A file with alice's key, watched."""

    def __init__(self, directory: Path, given: Sequence[ApiKey] = ()) -> None:
        self.path = directory / "keys.toml"
        add_key(self.path, "alice", KEY)
        self.clock = FakeClock()
        self.source = WatchedKeyFile(self.path, given, KeyLimits(), self.clock)
        self.events: list[EventDict] = []

    async def has(self, key: str, *, after_s: float = 1.0) -> bool:
        await self.clock.advance(after_s)
        with capture_logs() as events:
            keyring = await self.source.current()
        self.events += events
        return keyring.find(key) is not None

    def event_names(self) -> list[str]:
        return [event["event"] for event in self.events]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


async def test_a_new_key_opens_and_an_old_one_no_more_within_a_second(watched: Watched) -> None:
    watched.path.write_text(describe_entry("bob", OTHER))
    assert not await watched.has(OTHER, after_s=0.9)
    assert await watched.has(OTHER, after_s=0.1)
    assert not await watched.has(KEY)
    assert watched.event_names() == ["keys.reloaded"]


async def test_a_key_added_by_the_command_is_seen(watched: Watched) -> None:
    add_key(watched.path, "bob", OTHER)
    assert await watched.has(OTHER)
    assert await watched.has(KEY)


@pytest.mark.parametrize("damage", ["", "[keys.", "missing", "directory", "twin"])
async def test_a_file_that_cannot_be_used_keeps_the_old_keys_and_is_logged_once_per_change(
    watched: Watched, damage: str
) -> None:
    text = watched.path.read_text()
    if damage in ("missing", "directory"):
        watched.path.unlink()
        if damage == "directory":
            watched.path.mkdir()
    else:
        twins = text + describe_entry("bob", KEY)
        watched.path.write_text(twins if damage == "twin" else damage)
    for _ in range(3):
        assert await watched.has(KEY)
    assert watched.event_names() == ["keys.not_reloaded"]
    assert watched.events[0]["log_level"] == "error"
    if damage == "directory":
        watched.path.rmdir()
    watched.path.write_text("[broken in another way")
    assert await watched.has(KEY)
    watched.path.write_text(text + describe_entry("bob", OTHER))
    assert await watched.has(OTHER)
    assert watched.event_names() == ["keys.not_reloaded", "keys.not_reloaded", "keys.reloaded"]


async def test_the_file_is_looked_at_once_a_second_however_many_ask(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []
    real = reloaded_files._state

    def look(path: Path) -> tuple[int, ...]:
        looks.append(path)
        return real(path)

    monkeypatch.setattr(reloaded_files, "_state", look)
    for _ in range(3):
        await watched.clock.advance(1)
        await asyncio.gather(*(watched.source.current() for _ in range(50)))
    assert len(looks) == 3


async def test_keys_of_the_settings_stay_beside_those_of_the_file(tmp_path: Path) -> None:
    watched = Watched(tmp_path, [ApiKey("given", hash_key(OTHER))])
    assert await watched.has(OTHER)
    watched.path.write_text(describe_entry("given", KEY))  # a name that is taken
    assert await watched.has(OTHER)
    assert watched.event_names() == ["keys.not_reloaded"]


def test_a_file_that_cannot_be_used_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeysError, match="there is none"):
        WatchedKeyFile(tmp_path / "keys.toml", [], KeyLimits(), FakeClock())


async def test_a_change_is_told_within_a_second_however_often_others_ask(watched: Watched) -> None:
    await watched.clock.advance(0.6)
    waiting = asyncio.create_task(watched.source.wait_for_change(await watched.source.current()))
    await watched.clock.advance(0.4)
    await watched.source.current()  # looks at the file
    watched.path.write_text(describe_entry("bob", OTHER))
    await watched.clock.advance(0.599)
    assert not waiting.done()
    await watched.clock.advance(0.001)
    found = await asyncio.wait_for(waiting, 5)
    assert found.find(OTHER) is not None
    assert found.find(KEY) is None
    assert found is await watched.source.current()


async def test_a_file_that_cannot_be_used_is_no_change(watched: Watched) -> None:
    known = await watched.source.current()
    waiting = asyncio.create_task(watched.source.wait_for_change(known))
    for text in ("", "[keys.", None, describe_entry("bob", KEY) * 2):
        if text is None:
            watched.path.unlink()
        else:
            watched.path.write_text(text)
        await watched.clock.advance(1)
        await asyncio.sleep(0.05)  # the thread that reads
        assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


def to_pipe(path: Path) -> None:
    os.mkfifo(path)


def to_link_to_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def to_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/null")


def to_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def to_too_much(path: Path) -> None:
    path.write_text("#" * 1_048_576 + "\n" + describe_entry("bob", OTHER))


def to_deep_nesting(path: Path) -> None:
    path.write_text("keys = " + "[" * 100_000)


def to_huge_number(path: Path) -> None:
    path.write_text("keys = " + "1" * 5_000)


@pytest.mark.parametrize(
    "change",
    [
        to_pipe,
        to_link_to_pipe,
        to_link_to_device,
        to_link_to_itself,
        Path.mkdir,
        to_too_much,
        to_deep_nesting,
        to_huge_number,
    ],
)
async def test_what_is_no_file_of_keys_holds_nobody_up_and_keeps_the_old_keys(
    watched: Watched, change: Callable[[Path], None]
) -> None:
    watched.path.unlink()
    change(watched.path)
    try:
        assert await asyncio.wait_for(watched.has(KEY), 5)
        assert await asyncio.wait_for(watched.has(KEY), 5)
    finally:
        release_readers(watched.path.parent)
    assert watched.event_names() == ["keys.not_reloaded"]


def release_readers(directory: Path) -> None:
    """End the threads that would wait for ever for somebody to write to a pipe."""
    for path in directory.iterdir():
        if path.is_fifo():
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))


async def test_a_link_to_a_file_of_keys_is_followed(watched: Watched) -> None:
    target = watched.path.with_name("target.toml")
    target.write_text(describe_entry("bob", OTHER))
    watched.path.unlink()
    watched.path.symlink_to(target.name)
    assert await watched.has(OTHER)
    assert not await watched.has(KEY)
