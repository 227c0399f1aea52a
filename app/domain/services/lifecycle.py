"""Whether the server can do its work. The model is loaded once, in the background."""

import asyncio
from contextlib import aclosing, suppress
from enum import StrEnum
from functools import cached_property
from typing import Final

from app.domain import errors
from app.domain.audio import AudioEncoding, AudioFormat
from app.domain.services.speech_ports import SpeechPorts
from app.domain.services.time_limit import within
from app.domain.speech import SynthesisParams
from app.domain.text.front_end import segment_text

RETRY_AFTER_S: Final = 2.0  # while the model loads, which takes a few seconds
WARM_UP_TEXT: Final = "How fast is this voice?"
SHORTEST_S: Final = 1e-3  # of any work


class ModelState(StrEnum):
    """Where the model is in its life."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class Readiness:
    """The life of the model: loading, then ready or failed."""

    def __init__(self, ports: SpeechPorts, load_wait_s: float) -> None:
        self._ports = ports
        self._load_wait_s = load_wait_s
        self._settled = asyncio.Event()
        self.state = ModelState.LOADING  # where the model is in its life
        # seconds of audio per second that it makes of one text alone; None if not known
        self.speed: float | None = None

    async def load(self) -> None:
        """Load the model and speak once, so that the first caller does not wait for warm-up.

        A model that works but cannot speak that one sentence, or may not be asked to, is ready; so
        is one of which an instance died meanwhile: it is replaced. Else this raises SpeechError; an
        error that nobody foresaw is a ModelLoadError.
        """
        started = self._ports.clock.monotonic()
        try:
            await self._ports.model.load()
            with suppress(
                errors.SentenceError, errors.EngineUnavailableError, errors.InstanceDeadError
            ):
                try:
                    await self._speak_in(AudioFormat.MP3)
                except errors.EncodingError:  # a missing codec concerns its own format alone
                    await self._speak_in(AudioFormat.WAV)
        except errors.SpeechError as error:
            self._fail(error)
            raise
        except Exception as error:
            described = " ".join(f"{type(error).__name__}: {error}".split())
            failure = errors.ModelLoadError(f"The speech model could not be loaded: {described}")
            self._fail(failure)
            raise failure from error
        self.state = ModelState.READY
        self._settled.set()
        duration_s = self._ports.clock.monotonic() - started
        self._ports.observer.model_loaded(self._ports.model.info, duration_s, self.speed)

    def why_not(self) -> str | None:
        """Why the model is not ready, or None."""
        if self.state is ModelState.LOADING:
            return "The speech model is still loading."
        if self.state is ModelState.FAILED:
            return "The speech model could not be loaded; model.load_failed in the log says why."
        return None

    async def _speak_in(self, audio_format: AudioFormat) -> None:
        model, clock = self._ports.model, self._ports.clock
        rate, params = model.info.sample_rate, SynthesisParams(model.info.voices[0])
        encoding = AudioEncoding(audio_format, rate)
        encoder = await asyncio.to_thread(self._ports.encoders.open, encoding, rate)
        started, audio_s = clock.monotonic(), 0.0
        for segment in segment_text(WARM_UP_TEXT, model.split):
            async with aclosing(model.synthesize(segment, params)) as chunks:
                async for chunk in chunks:
                    audio_s += chunk.duration_s
                    await asyncio.to_thread(encoder.encode, chunk)
        self.speed = audio_s / max(clock.monotonic() - started, SHORTEST_S)

    def _fail(self, error: errors.SpeechError) -> None:
        self.state = ModelState.FAILED
        self._settled.set()
        self._ports.observer.model_load_failed(self._ports.model.info, error)

    async def wait_until_ready(self) -> None:
        """Return once the model can speak; raises ModelLoadingError or ModelLoadError."""
        if self.state is ModelState.LOADING:
            with suppress(TimeoutError):
                await within(self._ports.clock, self._load_wait_s, self._settled.wait())
        if self.state is ModelState.LOADING:
            raise errors.ModelLoadingError(RETRY_AFTER_S)
        if self.state is ModelState.FAILED:
            raise errors.ModelLoadError("The speech model could not be loaded.")


class Intake:
    """Open at first, then draining, then over; there is no way back."""

    def __init__(self) -> None:
        self._draining = asyncio.Event()

    @cached_property
    def over(self) -> "asyncio.Future[None]":
        """Done once nothing may go on. Shared by all that wait: never cancel it."""
        return asyncio.get_running_loop().create_future()

    @property
    def is_draining(self) -> bool:
        """Whether nothing new is taken in; what runs is to finish."""
        return self._draining.is_set()

    def check(self) -> None:
        """Return if something new may begin; raises ServerDrainingError."""
        if self.is_draining:
            raise errors.ServerDrainingError

    def drain(self) -> None:
        """Take in nothing new."""
        self._draining.set()

    def end(self) -> None:
        """Let nothing go on, either."""
        self._draining.set()
        if not self.over.done():
            self.over.set_result(None)

    async def wait_until_draining(self) -> None:
        """Return once nothing new is taken in."""
        await self._draining.wait()
