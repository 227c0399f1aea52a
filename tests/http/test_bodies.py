"""Bodies at the edge of what is taken: their size, their lengths, their fields."""

import asyncio
import json

import httpx
import pytest

from app.entrypoints.http.protocol import MAX_BODY_READ_BYTES, MAX_READ_BYTES, HttpProtocol
from tests.examples import table
from tests.serving import Fakes

SPEECH = "/v1/audio/speech"
HEADERS = {"content-type": "application/json"}


async def test_of_a_field_that_is_there_twice_the_last_counts(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    content = b'{"input":"First.","input":"Last.","response_format":"mp3","response_format":"wav"}'
    answer = await client.post(SPEECH, content=content, headers=HEADERS)
    assert answer.headers["content-type"] == "audio/wav"
    assert fakes.model.spoken[-1][0] == "Last."


async def test_of_a_field_that_is_there_twice_each_must_be_of_its_type(
    client: httpx.AsyncClient,
) -> None:
    for content in (b'{"input":5,"input":"Last."}', b'{"input":"First.","input":5}'):
        answer = await client.post(SPEECH, content=content, headers=HEADERS)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input")


@pytest.mark.parametrize(
    "content",
    [
        b'{"input":"Hi.\xff"}',
        b'{"input":"Hi.","other\xff":1}',
        b'{"input":"Hi.","other":"\xff"}',
        b'{"input":"Hi.","other":{"deep":["\xc3("]}}',
        b'{"input":"Hi.","other":"\xed\xa0\x80"}',
    ],
)
async def test_a_body_that_is_not_utf_8_is_refused_wherever_it_is_not(
    client: httpx.AsyncClient, content: bytes
) -> None:
    answer = await client.post(SPEECH, content=content, headers=HEADERS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
    assert answer.json()["error"]["message"] == "The body is not UTF-8."


async def test_a_body_that_is_nested_too_deeply_says_so(client: httpx.AsyncClient) -> None:
    content = b'{"input":"a","x":' + b"[" * 10_000
    answer = await client.post(SPEECH, content=content, headers=HEADERS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")
    assert answer.json()["error"]["message"] == "The body is nested too deeply."


async def test_a_byte_order_mark_is_skipped(client: httpx.AsyncClient, fakes: Fakes) -> None:
    content = b'\xef\xbb\xbf{"input":"Hi."}'
    assert (await client.post(SPEECH, content=content, headers=HEADERS)).status_code == 200
    assert fakes.model.spoken[-1][0] == "Hi."


@table("char", ["a", "\u00e9", "\u2603", "\U0001f600"])
async def test_4096_characters_are_spoken_and_4097_are_not_whatever_their_bytes(
    client: httpx.AsyncClient, char: str
) -> None:
    text = (char * 7 + " ") * 512
    for is_ascii in (True, False):
        for given, status in ((text, 200), (text + char, 400)):
            content = json.dumps(
                {"input": given, "response_format": "pcm"}, ensure_ascii=is_ascii
            ).encode()
            answer = await client.post(SPEECH, content=content, headers=HEADERS)
            assert answer.status_code == status


async def test_a_body_that_is_said_to_be_too_large_is_refused_unread(
    client: httpx.AsyncClient,
) -> None:
    """Nothing of it is sent, and the refusal comes all the same."""
    answer = await raw(client, b"content-length: 300000\r\n", b"")
    assert answer.startswith(b"HTTP/1.1 413 ")


@table("length", [b"-5", b"five", b"5, 7", b"99999999999999999999999"])
async def test_a_length_that_is_none_is_refused(client: httpx.AsyncClient, length: bytes) -> None:
    answer = await raw(client, b"content-length: %b\r\n" % length, b'{"input":"Hi."}')
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))


async def test_a_length_shorter_than_the_body_is_a_broken_body(client: httpx.AsyncClient) -> None:
    answer = await raw(client, b"content-length: 5\r\n", b'{"input":"Hi."}')
    assert answer.startswith(b"HTTP/1.1 400 ")


async def raw(client: httpx.AsyncClient, framing: bytes, content: bytes) -> bytes:
    """What comes back on a connection of its own."""
    port = client.base_url.port
    assert port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n" % SPEECH.encode()
    try:
        writer.write(head + b"content-type: application/json\r\n" + framing + b"\r\n" + content)
        async with asyncio.timeout(10):
            return await reader.read(1_000)
    finally:
        writer.close()


async def test_of_a_body_without_a_length_less_is_read_at_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    receive = HttpProtocol.data_received

    def note_size(protocol: HttpProtocol, data: bytes) -> None:
        sizes.append(len(data))
        receive(protocol, data)

    monkeypatch.setattr(HttpProtocol, "data_received", note_size)
    body = b'{"input":"Hi."' + b" " * 60_000 + b"}"
    assert b" 200 " in await raw(client, b"content-length: %d\r\n" % len(body), body)
    assert MAX_READ_BYTES < max(sizes) <= MAX_BODY_READ_BYTES
    sizes.clear()
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    assert b" 200 " in await raw(client, b"transfer-encoding: chunked\r\n", chunked)
    assert max(sizes) == MAX_READ_BYTES
