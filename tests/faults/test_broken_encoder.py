"""What a caller gets when a codec fails or is missing: a clear error, and the other formats."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from app.adapters.encoding.encoders import StreamingEncoders
from app.domain.audio import AudioChunk, AudioEncoding, AudioFormat
from app.domain.errors import EncodingError
from app.ports.audio_encoder import AudioEncoder
from tests.serving import Fakes, serving

SPEECH = "/v1/audio/speech"


class BreakableEncoder:
    """Encodes until it is told to fail."""

    def __init__(self, real: AudioEncoder, plan: "BreakableEncoders") -> None:
        self._real = real
        self._plan = plan
        self._num_chunks = 0

    def encode(self, chunk: AudioChunk) -> bytes:
        if self._plan.fails_at == f"chunk {self._num_chunks}":
            raise self._plan.error
        self._num_chunks += 1
        return self._real.encode(chunk)

    def finish(self) -> bytes:
        if self._plan.fails_at == "finish":
            raise self._plan.error
        return self._real.finish()

    def head(self) -> bytes:
        return self._real.head()


class BreakableEncoders:
    """AudioEncoders of which some formats fail.

    Attributes:
        broken: the formats.
        fails_at: "open", "chunk <number>" or "finish".
        error: how.
    """

    def __init__(self) -> None:
        self.broken: set[AudioFormat] = set()
        self.fails_at = "open"
        self.error: Exception = EncodingError("There is no such codec here.")

    def open(self, encoding: AudioEncoding, model_rate: int) -> AudioEncoder:
        real = StreamingEncoders().open(encoding, model_rate)
        if encoding.format not in self.broken:
            return real
        if self.fails_at == "open":
            raise self.error
        return BreakableEncoder(real, self)


@pytest.fixture
def encoders() -> BreakableEncoders:
    return BreakableEncoders()


@pytest.fixture
async def client(encoders: BreakableEncoders) -> AsyncIterator[httpx.AsyncClient]:
    app = Fakes().app(encoders=encoders)
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


async def ask(client: httpx.AsyncClient, audio_format: str, *, stream: bool) -> httpx.Response:
    asked = {"input": "Hello there. And more.", "response_format": audio_format, "stream": stream}
    return await client.post(SPEECH, json=asked)


async def until_ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(5):
        while (await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.01)


async def test_a_missing_codec_is_a_clear_error_and_wav_works_from_the_start() -> None:
    """MP3 is what the server warms up with; without it the others must be served all the same."""
    encoders = BreakableEncoders()
    encoders.broken = {AudioFormat.MP3, AudioFormat.OPUS}
    app = Fakes().app(encoders=encoders)
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        await until_ready(client)
        for stream in (True, False):
            for audio_format in ("mp3", "opus"):
                answer = await ask(client, audio_format, stream=stream)
                assert answer.status_code == 500
                assert answer.json()["error"]["code"] == "encoding_failed"
                assert "no such codec" in answer.json()["error"]["message"]
            for audio_format in ("wav", "pcm", "flac", "aac"):
                assert (await ask(client, audio_format, stream=stream)).status_code == 200


@pytest.mark.parametrize("error", [EncodingError("broken"), RuntimeError("a secret detail")])
@pytest.mark.parametrize("fails_at", ["open", "chunk 0"])
async def test_a_codec_that_fails_at_once_is_a_real_status(
    encoders: BreakableEncoders, client: httpx.AsyncClient, fails_at: str, error: Exception
) -> None:
    await until_ready(client)
    encoders.broken, encoders.fails_at, encoders.error = {AudioFormat.WAV}, fails_at, error
    answer = await ask(client, "wav", stream=True)
    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize("error", [EncodingError("broken"), RuntimeError("a secret detail")])
@pytest.mark.parametrize("fails_at", ["chunk 2", "finish"])
async def test_a_codec_that_fails_later_cuts_a_stream_and_is_a_status_of_a_whole_answer(
    encoders: BreakableEncoders, client: httpx.AsyncClient, fails_at: str, error: Exception
) -> None:
    await until_ready(client)
    encoders.broken, encoders.fails_at, encoders.error = {AudioFormat.WAV}, fails_at, error
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(client, "wav", stream=True)
    assert (await ask(client, "wav", stream=False)).status_code == 500
    encoders.broken = set()
    assert (await ask(client, "wav", stream=True)).status_code == 200
