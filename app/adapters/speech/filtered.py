"""Sound through FFmpeg's filters: speeds that a model does not have, and one loudness.

The model speaks at the nearest speed it has; `atempo` (waveform similarity overlap-add) does the
rest without changing pitch. Loudness is that of EBU R 128: each voice has a constant gain, measured
on a few sentences when the model is loaded, so that audio can be streamed; `alimiter` keeps what
becomes too loud below full scale.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from fractions import Fraction
from typing import Any, Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from app.domain.audio import AudioChunk
from app.domain.errors import SpeechError, SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import MAX_SPEED, MIN_SPEED, SamplingParams, SynthesisParams
from app.domain.text.front_end import segment_text
from app.ports.speech_model import SpeechModel

# Tempo range in which one `atempo` filter blends samples instead of skipping some (FFmpeg filters
# documentation, section atempo); further away, several are chained.
MIN_TEMPO: Final = 0.5
MAX_TEMPO: Final = 2.0

# What a voice is measured on: sentences of some length, because single words are 3 LU quieter.
MEASURED_TEXT: Final = (
    "The quick brown fox jumps over the lazy dog. It was a fine morning, and nobody was in a hurry."
    " How many of them will come back tomorrow, when the market opens?"
)

GREEDY: Final = SamplingParams(seed=0, temperature=0.0)  # the same at each start

LIMITER: Final = ("alimiter", "limit=0.891:level=false:latency=true")  # -1 dB of full scale

SILENT_LUFS: Final = -70.0  # the gate below which nothing counts (ITU-R BS.1770)

_log = structlog.get_logger(__name__)

Filter = tuple[str, str]  # FFmpeg's name of a filter, and its arguments


class FilteredModel:
    """SpeechModel with any speed in [0.25, 4], around one that has fewer.

    `loudness_lufs`: how loud its voices are to be (integrated loudness); None leaves them alone.
    """

    def __init__(self, model: SpeechModel, loudness_lufs: float | None = None) -> None:
        self.info = msgspec.structs.replace(model.info, min_speed=MIN_SPEED, max_speed=MAX_SPEED)
        self.split, self.close = model.split, model.close
        self._model = model
        self._loudness_lufs = loudness_lufs
        self.gains: dict[str, float] = {}  # in dB, by voice; known once it is loaded

    async def load(self) -> None:
        await self._model.load()
        if self._loudness_lufs is None:
            return
        for voice in self._model.info.voices:
            params = SynthesisParams(voice, sampling=GREEDY)
            pieces = [np.zeros(0, np.float32)]
            try:
                for segment in segment_text(MEASURED_TEXT, self._model.split):
                    chunks = self._model.synthesize(segment, params)
                    pieces += [chunk.samples async for chunk in chunks]
                samples, rate = np.concatenate(pieces), self._model.info.sample_rate
                measured = await asyncio.to_thread(measure_loudness, samples, rate)
            except SpeechError as error:
                _log.warning("voice.not_measured", voice=voice.id, reason=str(error))
                continue
            if measured is not None:
                self.gains[voice.id] = self._loudness_lufs - measured

    def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        native = self._model.info
        own_speed = min(max(params.speed, native.min_speed), native.max_speed)
        own = msgspec.structs.replace(params, speed=own_speed)
        chunks = self._model.synthesize(segment, own, due_at)
        filters: list[Filter] = []
        if own_speed != params.speed:
            filters += [("atempo", repr(one)) for one in chain_tempos(params.speed / own_speed)]
        if (gain := self.gains.get(params.voice.id)) is not None:
            filters += [("volume", f"{gain:.2f}dB"), LIMITER]
        return _filter(chunks, FilterChain(native.sample_rate, filters)) if filters else chunks


async def _filter(
    chunks: AsyncGenerator[AudioChunk, None], chain: "FilterChain"
) -> AsyncGenerator[AudioChunk, None]:
    async with aclosing(chunks):
        async for chunk in chunks:
            for filtered in await asyncio.to_thread(chain.push, chunk):
                yield filtered
        for filtered in await asyncio.to_thread(chain.finish):
            yield filtered


def measure_loudness(samples: NDArray[np.float32], sample_rate: int) -> float | None:
    """Integrated loudness in LUFS (ITU-R BS.1770) of (num_samples,); None if it is silent."""
    if not len(samples):
        return None
    chain = FilterChain(sample_rate, [("ebur128", "metadata=1:framelog=quiet")])
    chain.push(AudioChunk(samples, sample_rate))
    chain.finish()
    measured = float(chain.metadata.get("lavfi.r128.I", "-inf"))
    return measured if measured > SILENT_LUFS else None


class FilterChain:
    """Samples through filters, one after the other; holds the state of one segment."""

    def __init__(self, sample_rate: int, filters: Sequence[Filter]) -> None:
        import av.filter

        self._sample_rate = sample_rate
        self._num_pushed = 0
        self._num_input_tokens = 0
        self._num_output_tokens = 0
        self.metadata: dict[str, str] = {}  # the last that a filter has written
        self._graph = av.filter.Graph()
        self._graph.threads = 1  # filters of one channel have no use for more
        base = Fraction(1, sample_rate)
        source = self._graph.add_abuffer(None, sample_rate, "flt", "mono", time_base=base)
        nodes: list[Any] = [self._graph.add(name, arguments) for name, arguments in filters]
        self._graph.link_nodes(source, *nodes, self._graph.add("abuffersink"))
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
                raise SynthesisError("A filter failed.") from error
            self.metadata |= frame.metadata
            samples = np.ascontiguousarray(frame.to_ndarray()[0], dtype=np.float32)
            if len(samples):
                num_input, self._num_input_tokens = self._num_input_tokens, 0
                num_output, self._num_output_tokens = self._num_output_tokens, 0
                chunks.append(AudioChunk(samples, self._sample_rate, num_input, num_output))


def chain_tempos(tempo: float) -> list[float]:
    """Factors in [0.5, 2] whose product is `tempo`."""
    factors = []
    while not MIN_TEMPO <= tempo <= MAX_TEMPO:
        factors.append(min(max(tempo, MIN_TEMPO), MAX_TEMPO))
        tempo /= factors[-1]
    return [*factors, tempo]
