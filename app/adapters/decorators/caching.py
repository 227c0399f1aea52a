"""A model that speaks the same thing once: what was spoken is kept, what is being spoken is shared.

Only speech that is the same by right: what is drawn by lot without a seed goes straight through.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial

from app.adapters.decorators.kept_speech import Chunks, KeptSpeech
from app.adapters.decorators.shared_speech import SharedSpeech
from app.adapters.decorators.speech_files import SpeechFiles
from app.domain.audio import AudioChunk
from app.domain.repeats import is_repeatable, segment_key
from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo, SynthesisParams
from app.domain.text.mapped_text import MappedText
from app.ports.speech_model import SpeechModel


class CachedModel:
    """SpeechModel and SpeechCache around a model.

    Args:
        model: that speaks.
        memory: keeps what was spoken; of size 0 it turns the cache off.
        files: keep it beyond the life of the process; None is memory only.
        identify: names all that decides the samples but text and params: model, checkpoint,
            settings. Called in a thread once the model is loaded; until then nothing is kept.
        default_temperature: of the model, where a request chooses none.
    """

    def __init__(
        self,
        model: SpeechModel,
        memory: KeptSpeech,
        files: SpeechFiles | None,
        identify: Callable[[], str],
        default_temperature: float,
    ) -> None:
        self._model = model
        self._memory = memory
        self._files = files
        self._identify = identify
        self._default_temperature = default_temperature
        self._shared: dict[str, SharedSpeech] = {}
        self._is_warm = False
        self._fingerprint = ""

    @property
    def info(self) -> ModelInfo:
        return self._model.info

    @property
    def num_bytes(self) -> int:
        """In memory: kept, and made so far of what is on its way."""
        return self._memory.num_bytes

    async def load(self) -> None:
        await self._model.load()
        if self._files is not None:
            await self._files.open()
        self._fingerprint = await asyncio.to_thread(self._identify)

    async def close(self) -> None:
        if self._files is not None:
            await self._files.close()
        await self._model.close()

    def split(self, paragraphs: Sequence[MappedText]) -> list[MappedText]:
        return self._model.split(paragraphs)

    def can_keep(self, params: SynthesisParams) -> bool:
        is_on = self._memory.max_bytes > 0 and self._fingerprint != ""
        return is_on and is_repeatable(self.info, params.sampling, self._default_temperature)

    def holds(self, segment: TextSegment, params: SynthesisParams) -> bool:
        if not self.can_keep(params):
            return False
        key = segment_key(self._fingerprint, segment, params)
        return key in self._memory or (self._files is not None and key in self._files)

    def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        if not self.can_keep(params):
            return self._model.synthesize(segment, params, due_at)
        key = segment_key(self._fingerprint, segment, params)
        return self._repeat(key, partial(self._model.synthesize, segment, params, due_at))

    async def _repeat(
        self, key: str, speak: Callable[[], AsyncGenerator[AudioChunk, None]]
    ) -> AsyncGenerator[AudioChunk, None]:
        kept = self._memory.get(key)
        if kept is not None:
            if self._files is not None:
                self._files.mark_used(key)
            for chunk in kept:
                yield chunk
            return
        async with aclosing(self._find_shared(key, speak).follow()) as chunks:
            async for chunk in chunks:
                yield chunk

    def _find_shared(
        self, key: str, speak: Callable[[], AsyncGenerator[AudioChunk, None]]
    ) -> SharedSpeech:
        """The speech under this key that is on its way, or begin it."""
        shared = self._shared.get(key)
        if shared is not None and shared.can_be_joined:
            return shared
        chunks = self._read_or_speak(key, speak)
        shared = SharedSpeech(chunks, self._memory, partial(self._keep, key))
        shared.when_over(partial(self._forget, key, shared))
        self._shared[key] = shared
        return shared

    def _forget(self, key: str, shared: SharedSpeech) -> None:
        if self._shared.get(key) is shared:
            del self._shared[key]

    async def _read_or_speak(
        self, key: str, speak: Callable[[], AsyncGenerator[AudioChunk, None]]
    ) -> AsyncGenerator[AudioChunk, None]:
        kept = await self._read(key)
        if kept is not None:
            for chunk in kept:
                yield chunk
            return
        async with aclosing(speak()) as chunks:
            async for chunk in chunks:
                yield chunk
        self._is_warm = True

    async def _read(self, key: str) -> Chunks | None:
        # The first sentence after a start warms the model up; a file would leave it cold.
        if self._files is None or not self._is_warm:
            return None
        return await self._files.read(key)

    def _keep(self, key: str, chunks: Chunks) -> None:
        self._memory.keep(key, chunks)
        if self._files is not None:
            self._files.write(key, chunks)
