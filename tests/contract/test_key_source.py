"""What every KeySource keeps."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from app.adapters.reloaded_files import FixedKeys, WatchedKeyFile, add_key
from app.domain.api_keys import ApiKey, KeyLimits, Keyring, hash_key
from app.ports.reloaded_files import KeySource
from tests.fakes.clock import FakeClock
from tests.fakes.key_source import FakeKeySource

KEY = "sk-soprano-0123456789abcdef"
LIMITS = KeyLimits(5, 6)


def fixed(_: Path) -> KeySource:
    return FixedKeys(Keyring([ApiKey("alice", hash_key(KEY), LIMITS)]))


def watched(directory: Path) -> KeySource:
    add_key(directory / "keys.toml", "alice", KEY)
    return WatchedKeyFile(directory / "keys.toml", [], LIMITS, FakeClock())


def fake(_: Path) -> KeySource:
    source = FakeKeySource()
    source.give("alice", KEY, LIMITS)
    return source


@pytest.fixture(params=[fixed, watched, fake])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> KeySource:
    make: Callable[[Path], KeySource] = request.param
    return make(tmp_path)


async def test_its_keys_are_found_and_others_are_not(source: KeySource) -> None:
    keyring = await source.current()
    assert keyring.find(KEY) == ApiKey("alice", hash_key(KEY), LIMITS)
    assert keyring.find(KEY + "x") is None
    assert len(keyring) == 1


async def test_what_does_not_change_is_the_same_the_next_time(source: KeySource) -> None:
    first, second = await source.current(), await source.current()
    assert first.find(KEY) == second.find(KEY)


async def test_keys_that_do_not_change_are_waited_for(source: KeySource) -> None:
    waiting = asyncio.create_task(source.wait_for_change(await source.current()))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_change_that_has_been_is_told_at_once(source: KeySource) -> None:
    found = await source.wait_for_change(Keyring())
    assert found is await source.current()
