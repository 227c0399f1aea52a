"""A model that lives in a process of its own, as a SpeechModel here.

Who the worker is and how it is started comes from outside; whether it lives is the line's to tell.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from app.adapters.speech.worker.failures import restore
from app.adapters.speech.worker.line import Line
from app.adapters.speech.worker.messages import Failed
from app.adapters.speech.worker.process import Worker
from app.domain.audio import AudioChunk
from app.domain.errors import InstanceDeadError, SentenceError, SpeechError
from app.domain.segment import TextSegment
from app.domain.speech import ModelInfo, SynthesisParams
from app.domain.text.mapped_text import MappedText
from app.ports.clock import Clock
from app.ports.speech_model import SpeechModel
from app.ports.speech_observer import SentenceObserver


class WorkerModel:
    """SpeechModel over a worker. One that dies is not replaced here.

    Args:
        outline: the same model, never loaded: it knows itself and splits texts.
        start: the process.
        clock: waits for signs of life.
        observer: told of sentences, in the context of whoever listens to them.
        on_death: called once if the worker dies after it was loaded, before any listener is told.
    """

    def __init__(
        self,
        outline: SpeechModel,
        start: Callable[[], Awaitable[Worker]],
        clock: Clock,
        observer: SentenceObserver,
        on_death: Callable[[InstanceDeadError], None],
    ) -> None:
        self._outline = outline
        self._start = start
        self._clock = clock
        self._observer = observer
        self._on_death = on_death
        self._line: Line | None = None

    @property
    def info(self) -> ModelInfo:
        return self._outline.info

    @property
    def num_running(self) -> int:
        """Sentences that the worker has not ended."""
        return self._line.num_open if self._line is not None else 0

    @property
    def pid(self) -> int | None:
        """Of the worker, once there is one."""
        return self._line.pid if self._line is not None else None

    def split(self, paragraphs: Sequence[MappedText]) -> list[MappedText]:
        return self._outline.split(paragraphs)

    async def load(self) -> None:
        self._line = Line(await self._start(), self._clock, self._on_death)
        await self._line.loaded

    async def close(self) -> None:
        if self._line is not None:
            await self._line.close()

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        if self._line is None:
            raise InstanceDeadError
        with self._line.speak(segment, params, due_at) as items:
            while (item := await items.get()) is not None:
                match item:
                    case SpeechError():
                        raise item
                    case Failed():
                        self._tell(item)
                    case AudioChunk():
                        yield item

    def _tell(self, news: Failed) -> None:
        error = restore(news.failure)
        if isinstance(error, SentenceError):
            self._observer.sentence_failed(error, news.attempt)
