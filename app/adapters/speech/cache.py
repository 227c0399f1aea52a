"""A model that makes each segment once: what was made is cached, what is being made is shared.

A segment is looked for in memory, then on disk, then where several servers share what they make.
Only deterministic speech: what is sampled without a seed goes straight through.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

import msgspec

from app.adapters.speech.cache_levels import Chunks, DiskCache, SharedSegments
from app.domain.audio import AudioChunk
from app.domain.segment import TextSegment
from app.domain.services.prefetch import CHARS_PER_S
from app.domain.speech import ModelInfo, SamplingParams, SynthesisParams
from app.ports.speech_model import SpeechModel

# What Python needs beside the samples, for an entry with its key and for a chunk; rounded up.
ENTRY_BYTES: Final = 1_024
CHUNK_BYTES: Final = 512

# Segments of a text that are looked for where servers share them, before it is admitted.
MAX_COUNTED: Final = 256

# Raise it when a key would stand for other samples than before, or they are encoded otherwise.
KEY_VERSION: Final = 5


def chunk_bytes(chunk: AudioChunk) -> int:
    """What a chunk takes in memory."""
    return chunk.samples.nbytes + CHUNK_BYTES


def entry_bytes(chunks: Sequence[AudioChunk]) -> int:
    """What all chunks of a segment take in memory."""
    return ENTRY_BYTES + sum(map(chunk_bytes, chunks))


class CachedModel:
    """SpeechModel and SpeechCache around a model.

    Args:
        model: synthesizes what is not cached.
        memory: holds what was made; of size 0 it turns the cache off.
        disk: holds it beyond the life of the process; None is memory only.
        identify: names all that decides the samples but text and params: model, checkpoint,
            settings. Called in a thread once the model is loaded; until then nothing is cached.
        default_temperature: of the model, where a request chooses none.
        shared: what several servers share; None is nothing.
    """

    def __init__(
        self,
        model: SpeechModel,
        memory: "MemoryCache",
        disk: DiskCache | None,
        identify: Callable[[], str],
        default_temperature: float,
        shared: SharedSegments | None = None,
    ) -> None:
        self.info, self.split = model.info, model.split
        self._model = model
        self._memory = memory
        self._disk = disk
        self._shared = shared
        self._levels: list[DiskCache | SharedSegments] = [
            x for x in (disk, shared) if x is not None
        ]
        self._identify = identify
        self._default_temperature = default_temperature
        self._in_flight: dict[tuple[str, bool], _InFlight] = {}
        self._is_warm = False
        self._fingerprint = ""

    @property
    def num_bytes(self) -> int:
        """In memory: cached, and made so far of what is in flight."""
        return self._memory.num_bytes

    async def load(self) -> None:
        await self._model.load()
        for level in self._levels:
            await level.open()
        self._fingerprint = await asyncio.to_thread(self._identify)

    async def close(self) -> None:
        for level in self._levels:
            await level.close()
        await self._model.close()

    def can_keep(self, params: SynthesisParams) -> bool:
        is_on = self._memory.max_bytes > 0 and self._fingerprint != ""
        return is_on and is_deterministic(self.info, params.sampling, self._default_temperature)

    def holds(self, segment: TextSegment, params: SynthesisParams) -> bool:
        if not self.can_keep(params):
            return False
        key = segment_key(self._fingerprint, segment, params)
        return key in self._memory or (self._disk is not None and key in self._disk)

    async def count_shared(self, segments: Sequence[TextSegment], params: SynthesisParams) -> int:
        if self._shared is None or not 0 < len(segments) <= MAX_COUNTED:
            return 0
        keys = [segment_key(self._fingerprint, segment, params) for segment in segments]
        return await self._shared.count(keys)

    def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        if not self.can_keep(params):
            return self._model.synthesize(segment, params, due_at)
        return self._replay_or_follow(segment, params, due_at)

    async def _replay_or_follow(
        self, segment: TextSegment, params: SynthesisParams, due_at: float
    ) -> AsyncGenerator[AudioChunk, None]:
        key = segment_key(self._fingerprint, segment, params)
        cached = self._memory.get(key)
        if cached is not None:
            if self._disk is not None:
                self._disk.touch(key)
            for chunk in cached:
                yield chunk
            return
        in_flight = self._in_flight.get((key, params.is_whole))
        if in_flight is None or not in_flight.can_be_joined:
            in_flight = self._begin(key, segment, params, due_at)
        queue = in_flight.join()
        try:
            while (next_chunk := await queue.get()) is not None:
                yield next_chunk
            in_flight.task.result()
        finally:
            await in_flight.leave(queue)

    def _begin(
        self, key: str, segment: TextSegment, params: SynthesisParams, due_at: float
    ) -> "_InFlight":
        place = (key, params.is_whole)
        holder = secrets.token_hex(8)

        def keep(made: Chunks) -> None:
            self._memory.put(key, made)
            if self._disk is not None:
                self._disk.write(key, made)
            if self._shared is not None:
                self._shared.write(key, holder, made)

        def forget(task: asyncio.Task[None]) -> None:
            if self._shared is not None:
                self._shared.release(key, holder)
            if not task.cancelled():
                task.exception()  # a failure that came after the last follower left is nobody's
            if self._in_flight.get(place) is in_flight:
                del self._in_flight[place]

        chunks = self._make(key, holder, segment, params, due_at)
        in_flight = self._in_flight[place] = _InFlight(chunks, self._memory, keep)
        in_flight.task.add_done_callback(forget)
        return in_flight

    async def _make(
        self, key: str, holder: str, segment: TextSegment, params: SynthesisParams, due_at: float
    ) -> AsyncGenerator[AudioChunk, None]:
        # The first sentence warms the model up; a file would leave it cold.
        is_warm, self._is_warm = self._is_warm, True
        cached = await self._disk.read(key) if self._disk is not None and is_warm else None
        if cached is None and self._shared is not None and is_warm:
            play_s = len(segment.text) / CHARS_PER_S / params.speed
            cached = await self._shared.find(key, holder, play_s)
        for chunk in cached or ():
            yield chunk
        if cached is None:
            async with aclosing(self._model.synthesize(segment, params, due_at)) as chunks:
                async for chunk in chunks:
                    # A view would keep the whole array alive.
                    samples = chunk.samples if chunk.samples.base is None else chunk.samples.copy()
                    yield msgspec.structs.replace(chunk, samples=samples)


class _InFlight:
    """A segment that is made once, for all who ask for it meanwhile.

    Nobody waits for anybody else: each follower has a queue of its own. The work stops when the
    last follower leaves, so it must be joined at once. `memory` has room for the chunks, so that
    others can join late: `can_be_joined` tells whether nothing is missing for a follower that comes
    now. `on_whole` gets all chunks once they are made, unless there was no room for them, or there
    are none: what is silent once may be a failure, and must not stay so.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[AudioChunk, None],
        memory: "MemoryCache",
        on_whole: Callable[[Chunks], None],
    ) -> None:
        self._memory = memory
        self._on_whole = on_whole
        self._followers: set[asyncio.Queue[AudioChunk | None]] = set()
        self._made: list[AudioChunk] = []
        self._num_reserved = ENTRY_BYTES
        self.can_be_joined = memory.reserve(ENTRY_BYTES)
        self.task = asyncio.create_task(self._run(chunks))

    def join(self) -> asyncio.Queue[AudioChunk | None]:
        """A queue of all chunks from the first on, and None at the end."""
        queue: asyncio.Queue[AudioChunk | None] = asyncio.Queue()
        for chunk in self._made:
            queue.put_nowait(chunk)
        self._followers.add(queue)
        return queue

    async def leave(self, queue: asyncio.Queue[AudioChunk | None]) -> None:
        """Take no more; the last one stops the work."""
        self._followers.discard(queue)
        if not self._followers and not self.task.done():
            self._release()
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def _run(self, chunks: AsyncGenerator[AudioChunk, None]) -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    num_bytes = chunk_bytes(chunk)
                    if self.can_be_joined and self._memory.reserve(num_bytes):
                        self._num_reserved += num_bytes
                        self._made.append(chunk)
                    else:
                        self._release()
                    for queue in self._followers:
                        queue.put_nowait(chunk)
            if self.can_be_joined and self._made:
                self.can_be_joined = False
                self._on_whole(tuple(self._made))
        finally:
            self._release()
            for queue in self._followers:
                queue.put_nowait(None)

    def _release(self) -> None:
        """What was made stays with those who follow already; nobody else can join."""
        self._made.clear()
        if self.can_be_joined:
            self.can_be_joined = False
            self._memory.release(self._num_reserved)


class MemoryCache:
    """Chunks of segments by key, bounded in bytes; the least recently used entries go first.

    What is being made has its place reserved, so the bound holds for both together; of 0 bytes it
    keeps nothing. Used on the event loop; only `in` may be asked from other threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, Chunks] = OrderedDict()
        self._num_entry_bytes = 0
        self._num_reserved_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Of entries and reservations; never more than `max_bytes`."""
        return self._num_entry_bytes + self._num_reserved_bytes

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str) -> Chunks | None:
        """The chunks of an entry, which is then the one used last."""
        chunks = self._entries.get(key)
        if chunks is not None:
            self._entries.move_to_end(key)
        return chunks

    def reserve(self, num_bytes: int) -> bool:
        """Make room, at the cost of entries; False if others have reserved too much for that."""
        if self._num_reserved_bytes + num_bytes > self.max_bytes:
            return False
        self._num_reserved_bytes += num_bytes
        while self.num_bytes > self.max_bytes:
            self._drop(next(iter(self._entries)))
        return True

    def release(self, num_bytes: int) -> None:
        """Give back what was reserved."""
        self._num_reserved_bytes -= num_bytes

    def put(self, key: str, chunks: Chunks) -> None:
        """Turn the `entry_bytes` that were reserved for it into an entry."""
        if key in self._entries:
            self._drop(key)
        num_bytes = entry_bytes(chunks)
        self._num_reserved_bytes -= num_bytes
        self._num_entry_bytes += num_bytes
        self._entries[key] = chunks

    def _drop(self, key: str) -> None:
        self._num_entry_bytes -= entry_bytes(self._entries.pop(key))


def is_deterministic(info: ModelInfo, sampling: SamplingParams, default_temperature: float) -> bool:
    """Whether the same request always gives the same audio: nothing is sampled, or with a seed."""
    if not info.has_sampling or sampling.seed is not None:
        return True
    chosen = sampling.temperature
    return (default_temperature if chosen is None else chosen) == 0


def segment_key(fingerprint: str, segment: TextSegment, params: SynthesisParams) -> str:
    """Names the samples of a segment in 64 hexadecimal digits, wherever it stands in a text."""
    how = {"voice": params.voice.id, "speed": params.speed, "sampling": params.sampling}
    parts = (KEY_VERSION, fingerprint, segment.text, how)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
