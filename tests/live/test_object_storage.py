"""Stored audio on SeaweedFS, which speaks S3: several processes, kills, large files, failures."""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest

from app.adapters.audio_store.object_store import ObjectAudioStore, ObjectAudioStores
from app.adapters.audio_store.rules import StoreLimits
from app.adapters.clock import SystemClock
from app.domain.audio import AudioFormat
from tests.object_storage import environment_of
from tests.serving import ServerProcess, free_port, server_process, wait_for_status

FILES: Final = "/v1/audio/files"
SPEECH: Final = "/v1/audio/speech"
LARGE: Final = 100_000_000
CHUNK_MEMORY: Final = 30_000_000
"""Some blocks of 1 MiB on their way, and what an allocator keeps; far less than `LARGE`."""

SAVE_IN_A_PROCESS = """
import asyncio, sys
from app.adapters.audio_store.rules import StoreLimits
from app.adapters.audio_store.object_store import ObjectAudioStores
from app.adapters.clock import SystemClock
from app.domain.audio import AudioFormat
from app.domain.segment import Caption

async def parts(content):
    for start in range(0, len(content), 100_000):
        yield content[start : start + 100_000]

async def main(url, stem, num_at_once, num_rounds, num_bytes):
    store = await ObjectAudioStores(url, StoreLimits(), SystemClock()).for_owner(None)
    captions = [Caption(i, i, i + 1, stem * 10) for i in range(20)]
    content = stem[-1].encode() * int(num_bytes)

    async def save():
        file = await store.save(
            parts(content), stem=stem, audio_format=AudioFormat.WAV, captions=lambda: captions
        )
        print(file.name, flush=True)

    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(int(num_rounds)):
        await asyncio.gather(*(save() for _ in range(int(num_at_once))))

asyncio.run(main(*sys.argv[1:]))
"""


async def open_store(url: str) -> ObjectAudioStore:
    return await ObjectAudioStores(url, StoreLimits(), SystemClock()).for_owner(None)


async def save(url: str, content: bytes) -> str:
    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1_000_000):
            yield content[start : start + 1_000_000]

    store = await open_store(url)
    return (await store.save(parts(), stem="talk", audio_format=AudioFormat.FLAC)).name


async def load(store: ObjectAudioStore, name: str) -> bytes:
    async with store.open_file(name) as audio:
        return b"".join([block async for block in audio.read(0, audio.info.num_bytes)])


def start_saving(url: str, *arguments: object) -> subprocess.Popen[str]:
    """Returns when it is ready; it begins with the next line of its input."""
    process = subprocess.Popen(
        [sys.executable, "-c", SAVE_IN_A_PROCESS, url, *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


async def test_four_processes_save_fifty_files_each_at_once_without_gap_or_repeat(
    seaweed_url: str,
) -> None:
    writers = [start_saving(seaweed_url, f"writer-{letter}", 50, 1, 1000) for letter in "abcd"]
    for writer in writers:
        begin(writer)
    names = [name for writer in writers for name in writer.communicate(timeout=120)[0].split()]
    assert [writer.returncode for writer in writers] == [0] * 4
    assert len(set(names)) == 200
    assert sorted(int(name[-10:-4]) for name in names) == list(range(1, 201))
    store = await open_store(seaweed_url)
    assert {file.name for file in await store.list()} == set(names)
    for name in names[::10]:
        assert await load(store, name) == name.split("_")[0][-1].encode() * 1000
        assert len(await store.read_captions(name)) == 20


def test_a_process_that_ends_right_after_its_last_call_ends_well(seaweed_url: str) -> None:
    """With obstore's own coroutines every sixth of them was aborted by a native thread."""
    code = """
import asyncio, io, sys
from app.adapters.audio_store.bucket import Bucket

async def main():
    bucket = Bucket(sys.argv[1])
    await asyncio.gather(*(bucket.write(f"end/{i}", io.BytesIO(bytes(1000))) for i in range(20)))

asyncio.run(main())
"""
    bucket = seaweed_url.removeprefix("s3://").partition("/")[0]
    command = [sys.executable, "-c", code, bucket]
    for _ in range(30):
        subprocess.run(command, check=True, cwd=Path(__file__).parents[2], timeout=60)


async def test_writers_killed_at_thirty_random_points_leave_no_torn_file(seaweed_url: str) -> None:
    """Seeded; the files go in two parts, and a number that a killed writer had is not repeated."""
    delays = random.Random(20_260_101)
    num_bytes = 6_000_000
    store = await open_store(seaweed_url)
    seen: list[str] = []
    for _ in range(30):
        writer = start_saving(seaweed_url, "speech", 2, 1000, num_bytes)
        begin(writer)
        assert writer.stdout is not None
        announced = {writer.stdout.readline().strip()}
        await asyncio.sleep(delays.uniform(0, 0.2))
        writer.kill()
        announced |= set(writer.communicate()[0].split("\n")[:-1])  # the last line may be cut
        files = await store.list()
        names = [file.name for file in files]
        assert announced <= set(names)
        assert {file.num_bytes for file in files} == {num_bytes}
        for name in names:
            assert await load(store, name) == b"h" * num_bytes
            assert len(await store.read_captions(name)) == 20
            await store.delete(name)
        seen += names
    assert len(set(seen)) == len(seen)


@pytest.fixture
def servers(
    seaweed_url: str, seaweed_endpoint: str, tmp_path: Path
) -> Iterator[list[ServerProcess]]:
    """Two of them, on one store."""
    environ = {**environment_of(seaweed_endpoint), "SOPRANO_STORE__DIRECTORY": seaweed_url}
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                server_process(tmp_path / f"{name}.log", "--backend", "embedded", environ=environ)
            )
            for name in ("a", "b")
        ]
        for server in running:
            wait_for_status(f"{server.url}/health/ready")
        yield running


@pytest.fixture
def clients(servers: list[ServerProcess]) -> Iterator[list[httpx.Client]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(httpx.Client(base_url=server.url, timeout=60)) for server in servers
        ]


def test_what_one_server_stores_another_one_serves(
    servers: list[ServerProcess], clients: list[httpx.Client]
) -> None:
    first, second = clients
    asked = {"input": "Hello there.", "response_format": "wav", "store": True}
    answers = [client.post(SPEECH, json={**asked, "stream": False}) for client in clients]
    names = [answer.headers["x-stored-file"] for answer in answers]
    assert names == ["speech_000001.wav", "speech_000002.wav"]
    content = answers[0].content
    listed = second.get(FILES).json()["data"]
    assert [file["id"] for file in listed] == names[::-1]
    assert second.get(f"{FILES}/{names[0]}").content == content
    part = second.get(f"{FILES}/{names[0]}", headers={"range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, content[100:300])
    tag = part.headers["etag"]
    same = first.get(f"{FILES}/{names[0]}", headers={"if-none-match": tag})
    assert same.status_code == 304
    assert "Hello there." in second.get(f"{FILES}/{names[0]}/captions.vtt").text
    assert second.delete(f"{FILES}/{names[0]}").status_code == 200
    assert first.get(f"{FILES}/{names[0]}").status_code == 404
    assert first.get(f"{FILES}/{names[0]}/captions.srt").status_code == 404
    assert "soprano_store_free_bytes NaN" in first.get("/metrics").text
    assert all(not server.log_events(level="error") for server in servers)


async def test_a_range_of_a_large_file_takes_the_memory_of_a_block(
    servers: list[ServerProcess], seaweed_url: str
) -> None:
    content = os.urandom(1_000_000) * (LARGE // 1_000_000)
    name = await save(seaweed_url, content)
    server = servers[0]
    process = psutil.Process(server.pid)
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        warm = await client.get(f"{FILES}/{name}", headers={"range": "bytes=0-2999999"})
        assert warm.content == content[:3_000_000]
        before = peak = process.memory_info().rss
        num_bytes = 0
        wanted = {"range": "bytes=1-"}
        async with client.stream("GET", f"{FILES}/{name}", headers=wanted) as answer:
            assert answer.status_code == 206
            async for part in answer.aiter_bytes(65_536):
                assert part == content[1 + num_bytes : 1 + num_bytes + len(part)]
                num_bytes += len(part)
                if num_bytes % (16 * 65_536) == 0:
                    peak = max(peak, process.memory_info().rss)
    assert num_bytes == LARGE - 1
    print(f"a range of {LARGE} bytes: {(peak - before) / 1e6:.1f} MB more memory")
    assert peak - before < CHUNK_MEMORY


async def test_a_file_deleted_while_it_is_served_is_cut_visibly(
    servers: list[ServerProcess], seaweed_url: str
) -> None:
    name = await save(seaweed_url, bytes(LARGE // 2))
    store = await open_store(seaweed_url)
    async with httpx.AsyncClient(base_url=servers[0].url, timeout=60) as client:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            async with client.stream("GET", f"{FILES}/{name}") as answer:
                parts = answer.aiter_raw()
                await anext(parts)
                await store.delete(name)
                async for _ in parts:
                    pass
    servers[0].wait_for_events(event="stored_audio.cut", error="store_failed")


@pytest.mark.parametrize("kind", ["hangs", "refuses"])
def test_speech_is_served_though_the_storage_fails(tmp_path: Path, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if kind == "refuses":
            listener.close()
            port = free_port()
        else:
            port = listener.getsockname()[1]
        environ = {
            **environment_of(f"http://127.0.0.1:{port}"),
            "SOPRANO_STORE__DIRECTORY": "s3://bucket/speech",
        }
        log_path = tmp_path / "server.log"
        with server_process(log_path, "--backend", "embedded", environ=environ) as server:
            wait_for_status(f"{server.url}/health/ready")
            with httpx.Client(base_url=server.url, timeout=100) as client:
                plain, _ = timed(client, stream=False)
                stored, took_s = timed(client, stream=False, store=True)
                streamed, streamed_s = timed(client, stream=True, store=True)
                listed = client.get(FILES)
    print(f"storage that {kind}: {took_s:.1f} s, streamed {streamed_s:.1f} s")
    assert (stored.status_code, stored.content) == (200, plain.content)
    assert stored.headers["x-store-error"] == "store_failed"
    assert streamed.status_code == 200
    assert len(streamed.content) == len(plain.content)
    assert (listed.status_code, listed.json()["error"]["code"]) == (503, "store_failed")
    assert str(port) not in listed.text
    assert max(took_s, streamed_s) < (30 if kind == "hangs" else 5)
    assert server.log_events(event="store.unavailable", level="error")


def timed(client: httpx.Client, **changed: Any) -> tuple[httpx.Response, float]:
    """An answer, and how many seconds it took."""
    begun = time.monotonic()
    asked = {"input": "Hello there.", "response_format": "pcm", **changed}
    answer = client.post(SPEECH, json=asked)
    return answer, time.monotonic() - begun
