"""/v1/audio/files, over a fake store and over a real directory."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from app.adapters.audio_store.filesystem import FilesystemAudioStores
from app.adapters.audio_store.rules import StoreLimits
from app.domain.audio import AudioFormat
from app.domain.errors import StoreError, StoreFullError
from app.domain.segment import Caption
from app.entrypoints.http.app import create_app
from app.entrypoints.http.errors import EXCEPTION_HANDLERS
from app.entrypoints.http.files import StoredAudioController
from app.entrypoints.http.schemas import CONTENT_TYPES
from app.entrypoints.services import Services
from app.ports.audio_store import AudioStores, StoredAudio
from tests.examples import table
from tests.serving import Fakes, serving

FILES: Final = "/v1/audio/files"
CONTENT: Final = bytes(range(256)) * 4
CAPTIONS: Final = [Caption(0, 0.0, 1.5, "Fish & chips."), Caption(1, 1.5, 3.0, "Grüße.")]


@pytest.fixture(params=["filesystem", "fake"])
def stores(request: pytest.FixtureRequest, fakes: Fakes, directory: Path) -> AudioStores:
    if request.param == "fake":
        return fakes.stores
    return FilesystemAudioStores(directory, StoreLimits(), fakes.clock)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "outer" / "store"


@pytest.fixture
async def url(fakes: Fakes, stores: AudioStores) -> AsyncIterator[str]:
    ports = msgspec.structs.replace(fakes.ports(), stores=stores)
    async with serving(create_app(ports, fakes.settings)) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url) as client:
        yield client


async def keep(
    stores: AudioStores,
    content: bytes = CONTENT,
    *,
    stem: str = "speech",
    audio_format: AudioFormat = AudioFormat.WAV,
    owner: str | None = None,
) -> StoredAudio:
    async def parts() -> AsyncIterator[bytes]:
        yield content

    store = await stores.for_owner(owner)
    return await store.save(
        parts(), stem=stem, audio_format=audio_format, captions=lambda: CAPTIONS
    )


def assert_error(answer: httpx.Response, status: int, param: str | None, code: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["param"], error["code"]) == (param, code)
    assert answer.headers["x-request-id"]


# List


async def test_files_are_listed_newest_first_as_openai_lists_files(
    client: httpx.AsyncClient, stores: AudioStores
) -> None:
    for audio_format in AudioFormat:
        await keep(stores, b"12345", audio_format=audio_format)
    page = (await client.get(FILES)).json()
    assert (page["object"], page["has_more"]) == ("list", False)
    assert [item["content_type"] for item in page["data"]] == list(CONTENT_TYPES.values())[::-1]
    assert page["data"][0] == {
        "id": "speech_000010.alaw",
        "object": "audio.file",
        "bytes": 5,
        "created_at": 1_767_225_600,
        "content_type": "audio/PCMA",
    }
    assert (page["first_id"], page["last_id"]) == ("speech_000010.alaw", "speech_000001.mp3")


async def test_an_empty_store_is_an_empty_page(client: httpx.AsyncClient) -> None:
    assert (await client.get(FILES)).json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_the_last_id_leads_to_the_next_page(
    client: httpx.AsyncClient, stores: AudioStores, order: str
) -> None:
    names = [(await keep(stores)).name for _ in range(7)]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3, "order": order}
    while True:
        page = (await client.get(FILES, params=query)).json()
        seen += [item["id"] for item in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert seen == (names if order == "asc" else names[::-1])


async def test_a_page_has_twenty_files_unless_asked_otherwise(
    client: httpx.AsyncClient, stores: AudioStores
) -> None:
    for _ in range(21):
        await keep(stores, b"")
    page = (await client.get(FILES)).json()
    assert (len(page["data"]), page["has_more"]) == (20, True)
    assert len((await client.get(FILES, params={"limit": 100})).json()["data"]) == 21


@table(
    ("query", "param", "code"),
    [
        ("limit=0", "limit", "invalid_value"),
        ("limit=101", "limit", "invalid_value"),
        ("limit=-1", "limit", "invalid_value"),
        ("limit=many", "limit", "invalid_value"),
        ("limit=", "limit", "invalid_value"),
        ("order=up", "order", "invalid_value"),
        ("after=speech_000009.wav", "after", "unknown_cursor"),
        ("after=../x", "after", "unknown_cursor"),
        ("after=", "after", "unknown_cursor"),
    ],
)
async def test_a_query_that_cannot_work_names_its_part(
    client: httpx.AsyncClient, query: str, param: str, code: str
) -> None:
    assert_error(await client.get(f"{FILES}?{query}"), 400, param, code)


# Retrieve


@table(("audio_format", "content_type"), CONTENT_TYPES.items())
async def test_a_file_is_sent_whole_with_its_type_and_length(
    client: httpx.AsyncClient,
    stores: AudioStores,
    audio_format: AudioFormat,
    content_type: str,
) -> None:
    file = await keep(stores, audio_format=audio_format)
    answer = await client.get(f"{FILES}/{file.name}")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == f'attachment; filename="{file.name}"'
    assert answer.headers["last-modified"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["vary"] == "authorization"
    assert "transfer-encoding" not in answer.headers


async def test_an_empty_file_is_sent(client: httpx.AsyncClient, stores: AudioStores) -> None:
    file = await keep(stores, b"")
    answer = await client.get(f"{FILES}/{file.name}")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_asking_for_the_headers_gives_those_of_the_whole_file(
    client: httpx.AsyncClient, stores: AudioStores
) -> None:
    file = await keep(stores)
    whole = await client.get(f"{FILES}/{file.name}")
    for headers in ({}, {"range": "bytes=0-1"}):
        answer = await client.head(f"{FILES}/{file.name}", headers=headers)
        assert (answer.status_code, answer.content) == (200, b"")
        for name in ("content-type", "content-length", "etag", "last-modified", "accept-ranges"):
            assert answer.headers[name] == whole.headers[name]


async def test_a_range_is_sent_as_a_part(client: httpx.AsyncClient, stores: AudioStores) -> None:
    file = await keep(stores)
    for value, start, end in [
        ("0-0", 0, 1),
        ("100-", 100, 1024),
        ("-24", 1000, 1024),
        ("-1", 1023, 1024),
    ]:
        answer = await client.get(f"{FILES}/{file.name}", headers={"range": f"bytes={value}"})
        assert (answer.status_code, answer.content) == (206, CONTENT[start:end])
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/1024"
        assert answer.headers["content-length"] == str(end - start)


async def test_a_file_can_be_fetched_in_parts(
    client: httpx.AsyncClient, stores: AudioStores
) -> None:
    content = os.urandom(300_000)
    file = await keep(stores, content)
    first = await client.get(f"{FILES}/{file.name}", headers={"range": "bytes=0-123456"})
    rest = await client.get(
        f"{FILES}/{file.name}",
        headers={"range": "bytes=123457-", "if-range": first.headers["etag"]},
    )
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.content + rest.content == content


THOUSAND_RANGES: Final = "bytes=" + ",".join(f"{n}-{n}" for n in range(1_000))


@table("value", ["bytes=0-1,5-6", "bytes=abc", "bytes=9-2", "lines=1-2", THOUSAND_RANGES])
async def test_several_ranges_or_other_words_give_the_whole_file(
    client: httpx.AsyncClient, stores: AudioStores, value: str
) -> None:
    file = await keep(stores)
    answer = await client.get(f"{FILES}/{file.name}", headers={"range": value})
    assert (answer.status_code, answer.content) == (200, CONTENT)


async def test_two_lines_of_ranges_are_several_ranges(
    client: httpx.AsyncClient, stores: AudioStores
) -> None:
    file = await keep(stores)
    lines = [("range", "bytes=0-1"), ("range", "bytes=5-6")]
    answer = await client.get(f"{FILES}/{file.name}", headers=lines)
    assert (answer.status_code, answer.content) == (200, CONTENT)


@table("value", ["bytes=1024-", "bytes=-0"])
async def test_a_range_without_a_byte_of_the_file_is_told_the_size(
    client: httpx.AsyncClient, stores: AudioStores, value: str
) -> None:
    file = await keep(stores)
    answer = await client.get(f"{FILES}/{file.name}", headers={"range": value})
    assert_error(answer, 416, None, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */1024"


@table("method", ["GET", "HEAD"])
async def test_a_copy_that_is_still_right_is_not_sent_again(
    client: httpx.AsyncClient, stores: AudioStores, method: str
) -> None:
    file = await keep(stores)
    whole = await client.get(f"{FILES}/{file.name}")
    for headers in (
        {"if-none-match": whole.headers["etag"]},
        {"if-none-match": f'"x", {whole.headers["etag"]}'},
        {"if-modified-since": whole.headers["last-modified"]},
    ):
        answer = await client.request(method, f"{FILES}/{file.name}", headers=headers)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == whole.headers["etag"]
        assert "content-type" not in answer.headers


@table("method", ["GET", "HEAD"])
async def test_a_request_for_another_state_fails(
    client: httpx.AsyncClient, stores: AudioStores, method: str
) -> None:
    file = await keep(stores)
    for headers in (
        {"if-match": '"other"'},
        {"if-unmodified-since": "Wed, 31 Dec 2025 23:59:59 GMT"},
    ):
        answer = await client.request(method, f"{FILES}/{file.name}", headers=headers)
        assert answer.status_code == 412
        if method == "GET":
            assert_error(answer, 412, None, "precondition_failed")


async def test_files_of_one_name_have_different_tags(
    client: httpx.AsyncClient, stores: AudioStores, fakes: Fakes
) -> None:
    tags = set()
    for content in (b"a", b"b", b"cc"):
        await fakes.clock.advance(0.001)
        file = await keep(stores, content)
        tags.add((await client.head(f"{FILES}/{file.name}")).headers["etag"])
    assert len(tags) == 3
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)


@table("method", ["GET", "HEAD", "DELETE"])
async def test_a_file_that_is_not_there_is_not_found(
    client: httpx.AsyncClient, method: str
) -> None:
    answer = await client.request(method, f"{FILES}/speech_000001.wav")
    assert answer.status_code == 404
    if method != "HEAD":
        assert_error(answer, 404, "file_name", "file_not_found")


def count_open_descriptors() -> int:
    return len(names_in(Path("/proc/self/fd")))


async def test_a_client_that_leaves_early_does_no_harm(
    client: httpx.AsyncClient, stores: AudioStores
) -> None:
    file = await keep(stores, os.urandom(20_000_000))
    await asyncio.sleep(0.1)
    num_fds = count_open_descriptors()
    async with client.stream("GET", f"{FILES}/{file.name}") as answer:
        await anext(answer.aiter_raw(1000))
    async with asyncio.timeout(10):
        while count_open_descriptors() > num_fds:
            await asyncio.sleep(0.01)
    assert (await client.head(f"{FILES}/{file.name}")).status_code == 200


async def test_a_file_that_shrinks_while_it_is_sent_cuts_the_connection(
    client: httpx.AsyncClient, fakes: Fakes, directory: Path, stores: AudioStores
) -> None:
    if stores is fakes.stores:
        pytest.skip("a fake's content cannot shrink")
    file = await keep(stores, bytes(20_000_000))
    with pytest.raises(httpx.RemoteProtocolError):
        async with client.stream("GET", f"{FILES}/{file.name}") as answer:
            os.truncate(directory / file.name, 1_000)
            async for _ in answer.aiter_raw():
                pass


async def test_the_methods_of_an_address_are_told(client: httpx.AsyncClient) -> None:
    path = f"{FILES}/speech_000001.wav"
    told = await client.options(path)
    refused = await client.post(path)
    assert (told.status_code, refused.status_code) == (204, 405)
    for answer in (told, refused):
        assert set(answer.headers["allow"].split(", ")) == {"DELETE", "GET", "HEAD", "OPTIONS"}


# Delete, captions


async def test_a_deleted_file_is_gone_and_so_are_its_captions(
    client: httpx.AsyncClient, stores: AudioStores
) -> None:
    file = await keep(stores)
    answer = await client.delete(f"{FILES}/{file.name}")
    assert answer.status_code == 200
    assert answer.json() == {"id": file.name, "object": "audio.file", "deleted": True}
    for path in ("", "/captions.srt", "/captions.vtt"):
        answer = await client.get(f"{FILES}/{file.name}{path}")
        assert_error(answer, 404, "file_name", "file_not_found")


async def test_a_file_is_deleted_only_in_the_state_that_the_request_is_for(
    client: httpx.AsyncClient, stores: AudioStores
) -> None:
    file = await keep(stores)
    path = f"{FILES}/{file.name}"
    etag = (await client.head(path)).headers["etag"]
    for headers in (
        {"if-match": '"other"'},
        {"if-none-match": "*"},
        {"if-none-match": etag},
        {"if-unmodified-since": "Wed, 31 Dec 2025 23:59:59 GMT"},
    ):
        refused = await client.delete(path, headers=headers)
        assert_error(refused, 412, None, "precondition_failed")
    assert (await client.get(path)).content == CONTENT
    assert (await client.delete(path, headers={"if-match": etag})).status_code == 200
    missing = await client.delete(path, headers={"if-match": etag})
    assert_error(missing, 404, "file_name", "file_not_found")


async def test_a_file_deleted_while_it_is_sent_arrives_whole(
    client: httpx.AsyncClient, stores: AudioStores
) -> None:
    content = os.urandom(5_000_000)
    file = await keep(stores, content)
    async with client.stream("GET", f"{FILES}/{file.name}") as answer:
        parts = answer.aiter_raw()
        received = await anext(parts)
        assert (await client.delete(f"{FILES}/{file.name}")).status_code == 200
        received += b"".join([part async for part in parts])
    assert received == content
    assert (await client.get(f"{FILES}/{file.name}")).status_code == 404


@table(
    ("extension", "content_type", "words"),
    [
        (
            "srt",
            "application/x-subrip; charset=utf-8",
            ["1\n00:00:00,000 --> 00:00:01,500\nFish & chips.\n"],
        ),
        (
            "vtt",
            "text/vtt; charset=utf-8",
            ["WEBVTT\n", "00:00:01.500 --> 00:00:03.000\nGrüße.\n", "&amp;"],
        ),
    ],
)
async def test_captions_are_subtitles(
    client: httpx.AsyncClient,
    stores: AudioStores,
    extension: str,
    content_type: str,
    words: list[str],
) -> None:
    file = await keep(stores)
    answer = await client.get(f"{FILES}/{file.name}/captions.{extension}")
    assert answer.headers["content-type"] == content_type
    assert answer.headers["cache-control"] == "private, no-cache"
    for each in words:
        assert each in answer.content.decode()


async def test_a_file_without_captions_says_so(
    client: httpx.AsyncClient, stores: AudioStores
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"sound"

    store = await stores.for_owner(None)
    file = await store.save(parts(), stem="speech", audio_format=AudioFormat.WAV)
    answer = await client.get(f"{FILES}/{file.name}/captions.srt")
    assert_error(answer, 404, "file_name", "captions_not_found")


# Owners, failures


async def test_an_owner_reaches_only_its_own_files(fakes: Fakes) -> None:
    names = {owner: (await keep(fakes.stores, stem=owner, owner=owner)).name for owner in "ab"}
    async with serving(app_for_owner(fakes, "a")) as url, httpx.AsyncClient(base_url=url) as client:
        listed = [item["id"] for item in (await client.get(FILES)).json()["data"]]
        assert listed == [names["a"]]
        assert (await client.get(f"{FILES}/{names['a']}")).status_code == 200
        for method in ("GET", "DELETE"):
            assert (await client.request(method, f"{FILES}/{names['b']}")).status_code == 404


def app_for_owner(fakes: Fakes, name: str) -> Litestar:
    """The controller alone, for requests that all come with the key `name`."""
    services = Services(fakes.ports(), fakes.settings)
    return Litestar(
        route_handlers=[StoredAudioController],
        dependencies={
            "library": Provide(lambda: services.library, sync_to_thread=False),
            "owner": Provide(lambda: name, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        state=State({"services": services}),
    )


@pytest.mark.parametrize(
    ("error", "status"), [(StoreError("no disk"), 503), (StoreFullError("no room"), 507)]
)
async def test_a_store_that_fails_is_a_clear_error_and_nothing_else_fails(
    fakes: Fakes, error: StoreError, status: int
) -> None:
    fakes.stores.fail_with = error
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        for path in ("", "/speech_000001.wav", "/speech_000001.wav/captions.srt"):
            assert_error(await client.get(f"{FILES}{path}"), status, None, error.code)
        assert (await client.post("/v1/audio/speech", json={"input": "Hi."})).status_code == 200
        assert fakes.observer.store_failures == [("open", error)]


async def test_files_over_a_limit_are_removed_when_the_server_starts(
    fakes: Fakes, directory: Path
) -> None:
    stores = FilesystemAudioStores(directory, StoreLimits(max_files=1), fakes.clock)
    for owner in (None, None, "a", "a"):
        await keep(stores, owner=owner)
    ports = msgspec.structs.replace(
        fakes.ports(),
        stores=FilesystemAudioStores(directory, StoreLimits(max_files=1), fakes.clock),
    )
    async with serving(create_app(ports, fakes.settings)), asyncio.timeout(10):
        while len(fakes.observer.num_removed) < 2:
            await asyncio.sleep(0.01)
    assert fakes.observer.num_removed == [1, 1]
    for owner in (None, "a"):
        files = await (await stores.for_owner(owner)).list()
        assert [file.name for file in files] == ["speech_000002.wav"]


# Odd names, as bytes on the wire

ODD_NAMES: Final = [
    "../x", "..%2fx", "..%2F..%2Fsecret_000001.wav", "%2e%2e/secret_000001.wav",
    "%2e%2e%2fsecret_000001.wav", "%252e%252e%252fsecret_000001.wav", "..\\secret_000001.wav",
    "..%5csecret_000001.wav", "/etc/passwd", "%2fetc%2fpasswd", "//etc/passwd", ".", "..", "%2e",
    "%2e%2e", "./secret_000001.wav", "x/../../secret_000001.wav", "speech_000001.wav%00",
    "%00", "speech_000001%00.wav", "speech_000001.wav%0a", "%0aspeech_000001.wav",
    "speech_000001.wav.", "speech_000001.wav%20", "%20", "a" * 300, "a" * 300 + "_000001.wav",
    "%e2%80%a4%e2%80%a4/secret_000001.wav", "..%e2%88%95secret_000001.wav",
    "%ef%bd%93peech_000001.wav", ".tmp-1-0123456789abcdef", ".lock", ".sequence",
    ".speech_000001.wav.captions", "owner-anna", "owner-anna/speech_000001.wav",
    "owner-anna%2fspeech_000001.wav", "Speech_000001.wav", "speech_000001.WAV", "SPEECH_000001.wav",
    "linked_000007.wav", "pipe_000008.wav", "directory_000009.wav", "%ff%fe", "%c0%ae%c0%ae/x",
    "speech_000001.wav%2f", "speech_000001.wav%2F%2f", "%2fspeech_000001.wav", "%2f",
    "speech_000001.wav%2fcaptions.srt", "speech_000001.wav%2fcaptions.srt%00",
    "speech_000001.wav;x", "speech_000001.wav%3fx",
    "%", "%zz", "*", "~root", "speech_000001.wav/captions.txt", "speech_000001.wav/..",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_no_name_on_the_wire_reaches_anything_but_stored_audio(
    url: str, stores: AudioStores, fakes: Fakes, directory: Path, method: str
) -> None:
    """Each answer is a 400 or 404 in OpenAI's shape, and every file is still there."""
    await keep(stores)
    await keep(stores, b"secret of anna", owner="anna")
    if stores is not fakes.stores:
        plant(directory)
    port = int(url.rpartition(":")[2])
    for name in ODD_NAMES:
        status, body = await send_raw(port, method, f"{FILES}/{name}")
        assert status in {400, 404}, (name, status, body)
        assert b"secret" not in body.replace(b"secret_000001", b"")
        if method != "HEAD":
            error = msgspec.json.decode(body)["error"]
            assert set(error) == {"message", "type", "param", "code"}, name
            assert str(directory) not in error["message"]
    assert len(await (await stores.for_owner(None)).list()) == 1
    assert len(await (await stores.for_owner("anna")).list()) == 1
    if stores is not fakes.stores:
        assert (directory.parent / "secret_000001.wav").read_bytes() == b"secret"
        assert {"linked_000007.wav", "pipe_000008.wav"} <= names_in(directory)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_an_encoded_slash_after_a_name_is_a_404_and_the_file_is_still_there(
    url: str, stores: AudioStores, method: str
) -> None:
    file = await keep(stores)
    port = int(url.rpartition(":")[2])
    status, body = await send_raw(port, method, f"{FILES}/{file.name}%2f")
    assert status == 404
    assert method == "HEAD" or msgspec.json.decode(body)["error"]["code"] == "not_found"
    assert await (await stores.for_owner(None)).list() == [file]


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def plant(directory: Path) -> None:
    """Beside the store a file that is nobody's business, in it what only looks like audio."""
    (directory.parent / "secret_000001.wav").write_bytes(b"secret")
    (directory / "linked_000007.wav").symlink_to(directory.parent / "secret_000001.wav")
    os.mkfifo(directory / "pipe_000008.wav")
    (directory / "directory_000009.wav").mkdir()


async def send_raw(port: int, method: str, target: str) -> tuple[int, bytes]:
    """Status and body of the answer to a target that no client library has touched."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(10):
            answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    start, _, body = answer.partition(b"\r\n\r\n")
    return int(start.split()[1]), body
