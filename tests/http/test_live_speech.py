"""The speech socket over fakes, on a real socket."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.adapters.encoding.encoders import StreamingEncoders
from app.domain.audio import AudioFormat
from app.domain.errors import SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import Outcome, SpeechOptions
from app.entrypoints.connections import Quota
from app.entrypoints.http.websocket import MAX_WAITING_UTTERANCES, WAITING_TEXTS, Utterance
from app.entrypoints.http.websocket_messages import End, Flush, Text
from app.entrypoints.settings import ServerSettings, Settings, SpeechSettings
from tests.eventually import eventually
from tests.fakes.speech_model import CHUNK_S, SECONDS_PER_CHAR
from tests.live_client import LiveClient
from tests.serving import Fakes, serving, serving_until_stopped, url_of

PATH = "/v1/audio/speech/stream"

MAX_UNREAD_PONG_BYTES = 400_000
"""What is written before writing is paused (64 KiB), and the answers to all pings that came with
one read (256 KiB)."""


def socket_to(url: str) -> socket.socket:
    """A connection that the system keeps little for, so that not reading shows soon."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    address = httpx.URL(url)
    connection.connect((address.host, address.port))
    return connection


@asynccontextmanager
async def connected(fakes: Fakes) -> AsyncIterator[LiveClient]:
    async with (
        serving(fakes.app()) as url,
        connect(url.replace("http", "ws", 1) + PATH, sock=socket_to(url)) as connection,
    ):
        client = LiveClient(connection)
        assert await client.receive() == {"type": "ready", "model": "hum", "backend": "fake"}
        yield client


@pytest.fixture
async def client(fakes: Fakes) -> AsyncIterator[LiveClient]:
    async with connected(fakes) as client:
        yield client


def wait_at(index: int, event: asyncio.Event) -> Callable[[TextSegment], Awaitable[None]]:
    async def wait(segment: TextSegment) -> None:
        if segment.index == index:
            await event.wait()

    return wait


async def test_a_text_in_pieces_is_one_file_with_captions(client: LiveClient, fakes: Fakes) -> None:
    for piece in ["One", " one", ". Two", " two.", " "]:
        await client.send("text", text=piece)
    await client.send("end")
    ended, sound, others = await client.until("utterance.ended")
    started, *captions = others
    assert started == {
        "type": "utterance.started",
        "utterance": 1,
        "response_format": "pcm",
        "content_type": "audio/pcm",
        "sample_rate": 24_000,
        "voice": "bee",
    }
    assert sound.startswith(b"<000000>")
    assert sound.endswith(b"!")
    assert [caption["text"] for caption in captions] == ["One one.", "Two two."]
    assert captions[1]["start"] == captions[0]["end"] == pytest.approx(8 * SECONDS_PER_CHAR)
    assert ended["usage"] == {"input_tokens": 16, "output_tokens": 4, "total_tokens": 20}
    assert [report.outcome for report in fakes.observer.reports] == [Outcome.COMPLETED]
    assert fakes.observer.reports[0].num_chars == len("One one. Two two. ")


async def test_the_first_sound_comes_before_the_second_sentence_is_whole(
    client: LiveClient, fakes: Fakes
) -> None:
    await client.send("text", text="One one. Tw")
    caption, sound, _ = await client.until("caption")
    assert caption["text"] == "One one."
    assert sound
    assert [text for text, *_ in fakes.model.spoken[-1:]] == ["One one."]


async def test_flush_speaks_what_is_there(client: LiveClient) -> None:
    await client.send("text", text="Not whole")
    await client.send("flush")
    caption, _, _ = await client.until("caption")
    assert caption["text"] == "Not whole"
    await client.send("text", text="and the rest")
    await client.send("end")
    caption, _, _ = await client.until("caption")
    assert (caption["index"], caption["text"]) == (1, "and the rest")
    await client.until("utterance.ended")


async def test_cancel_is_heard_while_speech_is_made_and_says_how_far_it_came(
    client: LiveClient, fakes: Fakes
) -> None:
    fakes.model.before_speaking = wait_at(1, asyncio.Event())
    await client.send("text", text="One one. Two two. Three")
    _, sound, _ = await client.until("caption")
    await eventually(lambda: fakes.model.num_running == 1)
    await client.send("cancel")
    cancelled, _, _ = await client.until("utterance.cancelled")
    assert cancelled["utterance"] == 1
    assert cancelled["text"] == "One one."
    assert cancelled["num_samples"] == (len(sound) - len("<000000>")) // 2
    assert fakes.model.num_running == 0
    assert fakes.observer.reports[-1].outcome is Outcome.CANCELLED


async def test_after_a_cancel_the_next_text_is_another_utterance(
    client: LiveClient, fakes: Fakes
) -> None:
    fakes.model.before_speaking = wait_at(0, asyncio.Event())
    for text in ("One. Two.", "Three.", "Four."):
        await client.send("text", text=text)
        await client.send("end")
    await client.until("utterance.started")
    await client.send("cancel")
    cancelled, _, _ = await client.until("utterance.cancelled")
    assert cancelled["utterance"] == 1
    fakes.model.before_speaking = None
    await client.send("text", text="Five.")
    await client.send("end")
    ended, _, others = await client.until("utterance.ended")
    assert ended["utterance"] == 4
    assert [message["text"] for message in others if message["type"] == "caption"] == ["Five."]


async def test_a_cancel_of_nothing_is_answered(client: LiveClient) -> None:
    await client.send("cancel")
    assert await client.receive() == {
        "type": "utterance.cancelled",
        "utterance": None,
        "num_samples": 0,
        "audio_s": 0.0,
        "text": "",
        "text_under_way": "",
    }


async def test_several_utterances_follow_each_other_each_a_file_of_its_own(
    client: LiveClient,
) -> None:
    await client.send("configure", voice="fan", response_format="wav", sample_rate=8_000)
    for text in ("One.", "Two.", "Three."):
        await client.send("text", text=text)
        await client.send("end")
    for number in (1, 2, 3):
        ended, sound, others = await client.until("utterance.ended")
        assert ended["utterance"] == number
        assert sound.startswith(b"<")
        assert sound.endswith(b"!")
        assert others[0]["voice"] == "fan"
        assert others[0]["response_format"] == "wav"
        assert others[0]["sample_rate"] == 8_000


@pytest.mark.parametrize(
    ("frame", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("[]", "invalid_value", None),
        ('{"type": "dance"}', "invalid_value", "type"),
        ('{"type": "text"}', "missing_required_parameter", "text"),
        ('{"type": "text", "text": 1}', "invalid_value", "text"),
        ('{"type": "configure", "speed": 9}', "invalid_value", "speed"),
        ('{"type": "configure", "voice": "other"}', "voice_not_found", "voice"),
        ('{"type": "configure", "speed": "fast"}', "invalid_value", "speed"),
        (
            '{"type": "configure", "pronunciations": {"a ": "b"}}',
            "invalid_value",
            "pronunciations",
        ),
        (b"\xff\xfe", "invalid_json", None),
        ('{"type": "ping", "x": ' + "[" * 10_000, "invalid_json", None),
    ],
)
async def test_a_bad_message_is_answered_and_the_socket_stays(
    client: LiveClient, frame: str | bytes, code: str, param: str | None
) -> None:
    await client.connection.send(frame)
    failed, _, _ = await client.until("error")
    assert failed["utterance"] is None
    assert (failed["error"]["code"], failed["error"]["param"]) == (code, param)
    await client.send("ping", id="still here")
    assert await client.receive() == {"type": "pong", "id": "still here"}


@pytest.mark.parametrize(
    ("frame", "start"),
    [
        ("{", "The message is not valid JSON"),
        (b"\xff", "The message is not UTF-8."),
        ('{"type": "ping", "x": ' + "[" * 10_000, "The message is nested too deeply."),
    ],
)
async def test_a_message_that_cannot_be_read_is_called_a_message(
    client: LiveClient, frame: str | bytes, start: str
) -> None:
    await client.connection.send(frame)
    failed, _, _ = await client.until("error")
    assert failed["error"]["message"].startswith(start)


async def test_options_are_checked_when_they_are_given(client: LiveClient, fakes: Fakes) -> None:
    fakes.encoders.unsupported.add((AudioFormat.MP3, 12_345))
    await client.send("configure", sample_rate=12_345, response_format="mp3")
    failed, _, _ = await client.until("error")
    assert failed["error"]["code"] == "unsupported_sample_rate"
    assert failed["error"]["param"] == "sample_rate"
    await client.send("text", text="One.")
    await client.send("end")
    _, _, others = await client.until("utterance.ended")
    assert others[0]["response_format"] == "pcm"  # as before


async def test_a_failure_breaks_off_its_utterance_alone(client: LiveClient, fakes: Fakes) -> None:
    fakes.model.fail_on = ("Two.", SynthesisError())
    for text in ("One. Two.", "Three."):
        await client.send("text", text=text)
        await client.send("end")
    failed, _, _ = await client.until("error")
    assert (failed["utterance"], failed["error"]["code"]) == (1, "synthesis_failed")
    ended, _, _ = await client.until("utterance.ended")
    assert ended["utterance"] == 2


async def test_whatever_breaks_while_it_is_spoken_is_told(client: LiveClient, fakes: Fakes) -> None:
    fakes.model.fail_on = ("One.", OSError(5, "input/output error"))
    await client.send("text", text="One.")
    await client.send("end")
    failed, _, _ = await client.until("error")
    assert (failed["utterance"], failed["error"]["code"]) == (1, "internal_error")


async def test_a_text_whose_end_cannot_be_spoken_breaks_off_and_the_next_is_spoken() -> None:
    fakes = Fakes(Settings(speech=SpeechSettings(max_chars=100)))
    async with connected(fakes) as client:
        for text in ("One. " + "\u2265" * 80, "Two."):
            await client.send("text", text=text)
            await client.send("end")
        failed, _, others = await client.until("error")
        assert failed["error"]["code"] == "string_above_max_length"
        assert failed["utterance"] == 1
        assert [message["type"] for message in others] == ["utterance.started", "caption"]
        ended, _, others = await client.until("utterance.ended")
    assert ended["utterance"] == 2
    assert [message["type"] for message in others] == ["utterance.started", "caption"]
    outcomes = [report.outcome for report in fakes.observer.reports]
    assert outcomes == [Outcome.REJECTED, Outcome.COMPLETED]


async def test_a_piece_that_cannot_be_spoken_takes_nothing_else_with_it(client: LiveClient) -> None:
    for text in ("First one. ", "$1234567.89 " * 340, "Last one."):
        await client.send("text", text=text)
    await client.send("end")
    ended, _, others = await client.until("utterance.ended")
    (failed,) = (message for message in others if message["type"] == "error")
    assert failed["error"]["code"] == "string_above_max_length"
    assert failed["utterance"] is None
    captions = [message["text"] for message in others if message["type"] == "caption"]
    assert captions == ["First one.", "Last one."]
    assert ended["usage"]["input_tokens"] == len("First one.Last one.")


async def test_an_utterance_of_which_nothing_was_taken_breaks_off(client: LiveClient) -> None:
    await client.send("text", text="$1234567.89 " * 340)
    await client.send("end")
    await client.send("text", text="Two.")
    await client.send("end")
    ended, _, others = await client.until("utterance.ended")
    errors = [message["utterance"] for message in others if message["type"] == "error"]
    assert errors == [None, 1]
    assert ended["utterance"] == 2


async def test_much_that_is_spoken_is_taken_in_pieces_as_it_is_at_once(client: LiveClient) -> None:
    for _ in range(2):
        await client.send("text", text="$1234567.89 " * 85)
    await client.send("flush")
    await client.send("end")
    _, _, others = await client.until("utterance.ended")
    started, *captions = others
    assert started["type"] == "utterance.started"
    assert {message["type"] for message in captions} == {"caption"}
    written = " ".join(caption["text"] for caption in captions)
    assert written.split() == ["$1234567.89"] * 170


async def test_what_says_nothing_does_not_wait() -> None:
    utterance = Utterance(1, SpeechOptions(format=AudioFormat.PCM), Quota(10 * WAITING_TEXTS))
    utterance.write(Text("One."))
    for _ in range(1_000):
        utterance.write(Flush())
        utterance.write(Text(""))
    utterance.write(End())
    assert utterance._written.qsize() == 3


async def test_pings_of_a_client_that_reads_nothing_do_not_fill_the_memory(fakes: Fakes) -> None:
    async with serving_until_stopped(fakes.app(), ServerSettings()) as server:
        url = url_of(server)
        async with connect(url.replace("http", "ws", 1) + PATH, sock=socket_to(url)) as connection:
            connection.transport.pause_reading()
            for number in range(30_000):
                await connection.ping(number.to_bytes(125))
            await asyncio.sleep(0.5)
            (held,) = server.server_state.connections
            assert held.transport.get_write_buffer_size() < MAX_UNREAD_PONG_BYTES
            connection.transport.resume_reading()
            await asyncio.wait_for(await connection.ping(b"the last one"), 10)


async def test_what_may_wait_is_bounded() -> None:
    fakes = Fakes(Settings(speech=SpeechSettings(max_chars=100)))
    fakes.model.before_speaking = wait_at(0, asyncio.Event())
    async with connected(fakes) as client:
        await client.send("text", text="a" * 101)
        failed, _, _ = await client.until("error")
        assert failed["error"]["code"] == "string_above_max_length"
        for _ in range(MAX_WAITING_UTTERANCES + 2):
            await client.send("text", text="One.")
            await client.send("end")
        failed, _, _ = await client.until("error")
        assert failed["error"]["code"] == "too_many_utterances"
        await client.send("cancel")
        await client.until("utterance.cancelled")
        for _ in range(WAITING_TEXTS + 1):
            await client.send("text", text="a" * 100)
        failed, _, _ = await client.until("error")
        assert failed["error"]["code"] == "string_above_max_length"
        assert str(100 * WAITING_TEXTS) in failed["error"]["message"]


async def test_text_that_is_written_faster_than_it_is_spoken_is_spoken_all() -> None:
    fakes = Fakes(Settings(speech=SpeechSettings(max_chars=100)))
    sentences = [f"This is sentence {number} of many." for number in range(40)]
    async with connected(fakes) as client:
        written = " ".join(sentences)
        for start in range(0, len(written), 40):
            await client.send("text", text=written[start : start + 40])
        await client.send("end")
        _, _, others = await client.until("utterance.ended")
    assert {message["type"] for message in others} == {"utterance.started", "caption"}
    captions = [message["text"] for message in others if message["type"] == "caption"]
    assert captions == sentences


async def test_a_socket_on_which_nothing_happens_is_closed(
    client: LiveClient, fakes: Fakes
) -> None:
    await client.send("ping")
    await client.until("pong")
    await fakes.clock.advance(59.0)
    await client.send("ping")
    await client.until("pong")
    await fakes.clock.advance(59.0)
    await client.send("ping")
    await client.until("pong")
    await fakes.clock.advance(60.0)
    failed, _, _ = await client.until("error")
    assert failed["error"]["code"] == "idle_timeout"
    with pytest.raises(ConnectionClosed) as caught:
        await client.receive()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1000, "idle")


async def test_a_client_that_leaves_stops_the_model(fakes: Fakes) -> None:
    fakes.model.before_speaking = wait_at(1, asyncio.Event())
    async with connected(fakes) as client:
        await client.send("text", text="One. Two. Three.")
        await client.send("end")
        await client.until("caption")
        client.connection.transport.abort()
        await eventually(lambda: fakes.model.num_running == 0)
        await eventually(lambda: len(fakes.observer.reports) == 1)
    assert fakes.observer.reports[0].outcome is Outcome.CANCELLED


@pytest.mark.integration
async def test_a_client_that_does_not_read_holds_up_its_own_speech() -> None:
    fakes = Fakes(Settings(speech=SpeechSettings(max_chars=1_000_000)))
    fakes.encoders = StreamingEncoders()  # type: ignore[assignment] # files of real size
    num_sentences, sentence = 400, "word " * 15 + "end. "
    num_chunks = num_sentences * math.ceil((len(sentence) - 1) * SECONDS_PER_CHAR / CHUNK_S)
    async with connected(fakes) as client:
        client.connection.transport.pause_reading()
        await client.send("text", text=sentence * num_sentences)
        await client.send("end")
        num_made, before = 0, -1
        while num_made != before:
            before = num_made
            await asyncio.sleep(0.5)
            num_made = fakes.model.num_chunks
        assert num_made < num_chunks / 2
        client.connection.transport.resume_reading()
        ended, sound, _ = await client.until("utterance.ended")
    assert ended["num_samples"] * 2 == len(sound)
    assert ended["audio_s"] == pytest.approx(
        num_sentences * (len(sentence) - 1) * SECONDS_PER_CHAR, abs=0.01
    )


async def test_the_messages_are_told_apart_by_type(client: LiveClient) -> None:
    """Whoever writes a client reads one field."""
    await client.send("ping")
    message = await client.receive()
    assert isinstance(message, dict)
    assert msgspec.json.encode(message).startswith(b'{"type":"pong"')


async def test_an_accepted_socket_has_a_request_id(fakes: Fakes) -> None:
    async with (
        serving(fakes.app()) as url,
        connect(
            url.replace("http", "ws", 1) + PATH, additional_headers={"x-request-id": "mine"}
        ) as connection,
    ):
        assert connection.response is not None
        assert connection.response.headers["x-request-id"] == "mine"
