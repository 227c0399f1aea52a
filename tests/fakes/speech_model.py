"""A SpeechModel that hums: quick, exact, and able to fail or wait on command."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import numpy as np

from app.domain.audio import AudioChunk
from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo, SynthesisParams, Voice
from app.domain.text.mapped_text import MappedText
from app.domain.text.splitting import fit, is_speakable, split_sentences

HUM_HZ = 220.0
SECONDS_PER_CHAR = 0.02
CHUNK_S = 0.1

FAKE_INFO = ModelInfo(
    id="hum",
    backend="fake",
    sample_rate=16_000,
    voices=(Voice(id="bee", name="Bee"), Voice(id="fan", name="Fan")),
    min_speed=0.8,
    max_speed=1.25,
)


class FakeSpeechModel:
    """Hums 20 ms per character, in chunks of 100 ms; a token is a character, or a chunk.

    Attributes:
        spoken: (text, voice id, speed) of each segment, in the order in which it was begun.
        deliveries: of each segment, likewise.
        due_at: of each segment, likewise.
        num_chunks: handed out so far.
        is_loaded, is_closed: its life.
        load_error: raised by `load`.
        may_load: `load` waits for it.
        fail_on: text of the segment that fails, with the error it fails with.
        fail_after_chunks: how many chunks of that segment come first.
        failures: errors of the next segments, one each, first come first; they come after
            `fail_after_chunks`, too.
        before_speaking: awaited with each segment before its first chunk.
        before_chunk: awaited with the number of each chunk, from 0 on, before it.
    """

    def __init__(self, info: ModelInfo = FAKE_INFO) -> None:
        self.info = info
        self.spoken: list[tuple[str, str, float]] = []
        self.deliveries: list[SynthesisParams] = []
        self.due_at: list[float] = []
        self.num_chunks = 0
        self.num_running = 0
        self.is_loaded = False
        self.is_closed = False
        self.load_error: Exception | None = None
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.fail_on: tuple[str, Exception] | None = None
        self.fail_after_chunks = 0
        self.failures: list[Exception] = []
        self.before_speaking: Callable[[TextSegment], Awaitable[None]] | None = None
        self.before_chunk: Callable[[int], Awaitable[None]] | None = None

    async def load(self) -> None:
        await self.may_load.wait()
        if self.load_error is not None:
            raise self.load_error
        self.is_loaded = True

    async def close(self) -> None:
        self.is_closed = True

    def split(self, paragraphs: Sequence[MappedText]) -> list[MappedText]:
        return [
            piece
            for paragraph in paragraphs
            for sentence in split_sentences(paragraph)
            for piece in fit(sentence, 100)
            if is_speakable(piece.text)
        ]

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        self.spoken.append((segment.text, params.voice.id, params.speed))
        self.deliveries.append(params)
        self.due_at.append(due_at)
        self.num_running += 1
        failure = self.failures.pop(0) if self.failures else None
        try:
            if self.before_speaking is not None:
                await self.before_speaking(segment)
            for number, samples in enumerate(self._chunks(segment.text, params.speed)):
                self._maybe_fail(segment.text, number)
                if failure is not None and number >= self.fail_after_chunks:
                    raise failure
                if self.before_chunk is not None:
                    await self.before_chunk(number)
                await asyncio.sleep(0)
                self.num_chunks += 1
                num_read = 0 if number else len(segment.text)
                yield AudioChunk(samples, self.info.sample_rate, num_read, 1)
        finally:
            self.num_running -= 1

    def _chunks(self, text: str, speed: float) -> list[np.ndarray]:
        rate = self.info.sample_rate
        time_s = np.arange(round(len(text) * SECONDS_PER_CHAR * rate / speed)) / rate
        samples = (0.3 * np.sin(2 * np.pi * HUM_HZ * time_s)).astype(np.float32)
        size = round(CHUNK_S * rate)
        return [samples[i : i + size] for i in range(0, len(samples), size)]

    def _maybe_fail(self, text: str, number: int) -> None:
        if self.fail_on is None or number < self.fail_after_chunks:
            return
        failing_text, error = self.fail_on
        if text == failing_text:
            raise error
