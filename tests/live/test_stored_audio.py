"""Stored audio served by a process of its own, from a directory that others use as well."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from app.adapters.audio_store.filesystem import FilesystemAudioStores
from app.adapters.audio_store.rules import StoreLimits
from app.adapters.clock import SystemClock
from app.domain.audio import AudioFormat
from app.ports.audio_store import AudioStores
from tests.serving import ServerProcess, server_process, wait_for_status

FILES: Final = "/v1/audio/files"
NUM_BYTES: Final = 30_000_000
"""Far more than what sockets on the way can hold."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def stores(directory: Path) -> AudioStores:
    """Another process on the same directory: this one."""
    return FilesystemAudioStores(directory, StoreLimits(), SystemClock())


@pytest.fixture
def server(directory: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    environ = {"SOPRANO_STORE__DIRECTORY": str(directory), "SOPRANO_STORE__MAX_FILES": "100"}
    with server_process(
        tmp_path / "server.log", "--backend", "embedded", environ=environ
    ) as running:
        wait_for_status(f"{running.url}/health/ready")
        yield running


async def keep(stores: AudioStores, content: bytes) -> str:
    async def parts() -> AsyncIterator[bytes]:
        yield content

    store = await stores.for_owner(None)
    return (await store.save(parts(), stem="talk", audio_format=AudioFormat.FLAC)).name


@pytest.mark.parametrize("by", ["the server", "another process"])
async def test_a_file_deleted_while_it_is_served_arrives_whole(
    server: ServerProcess, stores: AudioStores, by: str
) -> None:
    content = os.urandom(NUM_BYTES)
    name = await keep(stores, content)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        async with client.stream("GET", f"{FILES}/{name}") as answer:
            parts = answer.aiter_raw()
            received = [await anext(parts)]
            if by == "the server":
                assert (await client.delete(f"{FILES}/{name}")).status_code == 200
            else:
                await (await stores.for_owner(None)).delete(name)
            assert (await client.get(f"{FILES}/{name}")).status_code == 404
            received += [part async for part in parts]
        assert b"".join(received) == content


def test_a_store_that_cannot_be_opened_is_logged_and_speech_is_served(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    environ = {"SOPRANO_STORE__DIRECTORY": str(tmp_path / "file" / "store")}
    with server_process(
        tmp_path / "server.log", "--backend", "embedded", environ=environ
    ) as server:
        wait_for_status(f"{server.url}/health/ready")
        answer = httpx.get(f"{server.url}{FILES}")
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "store_failed"
        assert str(tmp_path) not in answer.text
        speech = httpx.post(f"{server.url}/v1/audio/speech", json={"input": "Hi."}, timeout=60)
        assert speech.status_code == 200
    events = server.log_events(event="store.unavailable")
    assert len(events) == 1
    assert events[0]["level"] == "error"
