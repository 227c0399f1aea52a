"""Speeds beyond what a model can do by itself, by time-stretching its audio without changing pitch.

The model speaks at the nearest speed it has; FFmpeg's `atempo` filter (waveform similarity
overlap-add) does the rest.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from fractions import Fraction
from typing import Final

import msgspec
import numpy as np

from app.domain.audio import AudioChunk
from app.domain.errors import SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import MAX_SPEED, MIN_SPEED, ModelInfo, SynthesisParams
from app.domain.text.mapped_text import MappedText
from app.ports.speech_model import SpeechModel

MIN_TEMPO: Final = 0.5
MAX_TEMPO: Final = 2.0
"""Tempo range in which one `atempo` filter blends samples instead of skipping some
(FFmpeg filters documentation, section atempo); further away, several are chained."""


class TimeStretchedModel:
    """SpeechModel with any speed in [0.25, 4] around one that has fewer."""

    def __init__(self, model: SpeechModel) -> None:
        self._model = model

    @property
    def info(self) -> ModelInfo:
        return msgspec.structs.replace(self._model.info, min_speed=MIN_SPEED, max_speed=MAX_SPEED)

    async def load(self) -> None:
        await self._model.load()

    async def close(self) -> None:
        await self._model.close()

    def split(self, paragraphs: Sequence[MappedText]) -> list[MappedText]:
        return self._model.split(paragraphs)

    def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        native = self._model.info
        own_speed = min(max(params.speed, native.min_speed), native.max_speed)
        own = msgspec.structs.replace(params, speed=own_speed)
        chunks = self._model.synthesize(segment, own, due_at)
        if own_speed == params.speed:
            return chunks
        return _stretch(chunks, TimeStretcher(native.sample_rate, params.speed / own_speed))


async def _stretch(
    chunks: AsyncGenerator[AudioChunk, None], stretcher: "TimeStretcher"
) -> AsyncGenerator[AudioChunk, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            for stretched in await asyncio.to_thread(stretcher.push, chunk):
                yield stretched
        for stretched in await asyncio.to_thread(stretcher.finish):
            yield stretched


class TimeStretcher:
    """Plays samples `tempo` times as fast, at the same pitch; holds the state of one segment."""

    def __init__(self, sample_rate: int, tempo: float) -> None:
        import av.filter

        self._sample_rate = sample_rate
        self._num_pushed = 0
        self._num_input_tokens = 0
        self._num_output_tokens = 0
        self._graph = av.filter.Graph()
        self._graph.threads = 1  # filters of one channel have no use for more
        source = self._graph.add_abuffer(
            sample_rate=sample_rate,
            format="flt",
            layout="mono",
            time_base=Fraction(1, sample_rate),
        )
        filters = [self._graph.add("atempo", repr(factor)) for factor in chain_tempos(tempo)]
        self._graph.link_nodes(source, *filters, self._graph.add("abuffersink"))
        self._graph.configure()

    def push(self, chunk: AudioChunk) -> list[AudioChunk]:
        """Take a chunk; what is ready comes back, and the tokens of all taken so far with it."""
        import av

        samples = chunk.samples
        self._num_input_tokens += chunk.num_input_tokens
        self._num_output_tokens += chunk.num_output_tokens
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
        frame.sample_rate = self._sample_rate
        frame.pts = self._num_pushed
        self._num_pushed += len(samples)
        self._graph.push(frame)
        return self._pull()

    def finish(self) -> list[AudioChunk]:
        """What is left."""
        if not self._num_pushed:
            return []
        self._graph.push(None)
        return self._pull()

    def _pull(self) -> list[AudioChunk]:
        import av

        chunks: list[AudioChunk] = []
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return chunks
            except av.error.FFmpegError as error:
                raise SynthesisError("Time-stretching failed.") from error
            samples = np.ascontiguousarray(frame.to_ndarray()[0], dtype=np.float32)
            if len(samples):
                num_input, self._num_input_tokens = self._num_input_tokens, 0
                num_output, self._num_output_tokens = self._num_output_tokens, 0
                chunks.append(AudioChunk(samples, self._sample_rate, num_input, num_output))


def chain_tempos(tempo: float) -> list[float]:
    """Factors in [0.5, 2] whose product is `tempo`."""
    factors = []
    rest = tempo
    while rest < MIN_TEMPO:
        factors.append(MIN_TEMPO)
        rest /= MIN_TEMPO
    while rest > MAX_TEMPO:
        factors.append(MAX_TEMPO)
        rest /= MAX_TEMPO
    return [*factors, rest]
