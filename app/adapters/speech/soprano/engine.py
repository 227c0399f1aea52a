"""What every Soprano backend is: an engine that turns a prompt into audio as it is generated."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.soprano.sampling import Sampling
from app.domain.errors import DeviceError, InstanceDeadError, ModelLoadError, SpeechError

_DEVICE_WORDS: Final = ("out of memory", "CUDA error", "device-side assert", "MPS backend")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Stream(Protocol[T_co]):
    """An async iterator that is closed before its end to stop the work behind it."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    def __anext__(self) -> Awaitable[T_co]: ...

    def aclose(self) -> Awaitable[None]: ...


class Engine(Protocol):
    """Synthesizes prompts, several at once."""

    def load(self) -> None:
        """Load the weights. Blocks; called once, in a worker thread. Raises ModelLoadError."""
        ...

    def close(self) -> None:
        """Stop all work and free threads and memory. Blocks. May be called twice."""
        ...

    def synthesize(
        self, prompt: str, sampling: Sampling, due_at: float
    ) -> Stream[NDArray[np.float32]]:
        """The samples of one attempt at a prompt, in pieces of at least one sample.

        Audio that may belong to a runaway is held back until that is clear. `aclose` stops within
        two tokens.

        Raises:
            RunawaySpeechError: the model lost the text.
            TruncatedSpeechError: the token limit came before the end token.
            InstanceDeadError: this engine has failed for good.
            SynthesisError: anything else.
        """
        ...


class ThreadStream(Generic[T]):
    """A stream that worker threads fill for the event loop in which it was made.

    Args:
        on_close: called once, when it is closed, whether or not it has ended.
    """

    def __init__(self, on_close: Callable[[], None] = lambda: None) -> None:
        self._items: asyncio.Queue[T | SpeechError | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._on_close = on_close
        self._has_ended = False
        self.is_closed = False

    def send(self, item: T | SpeechError | None) -> None:
        """Add an item, from any thread; an error or None is the end."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    def __aiter__(self) -> "ThreadStream[T]":
        return self

    async def __anext__(self) -> T:
        if self._has_ended or self.is_closed:
            raise StopAsyncIteration
        item = await self._items.get()
        if item is not None and not isinstance(item, SpeechError):
            return item
        self._has_ended = True
        raise item or StopAsyncIteration

    async def aclose(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._on_close()


def as_instance_error(error: Exception) -> InstanceDeadError:
    """A DeviceError for a device that is lost or out of memory, else InstanceDeadError."""
    is_device = isinstance(error, MemoryError) or any(word in str(error) for word in _DEVICE_WORDS)
    failure = DeviceError() if is_device else InstanceDeadError()
    failure.__cause__ = error
    return failure


@contextmanager
def loading(failure: str, extra: str = "") -> Iterator[None]:
    """Turn what libraries raise into ModelLoadError: `failure` and why, in one line.

    A package that is missing is one of `extra`, which is then what to install.
    """
    try:
        yield
    except SpeechError:
        raise
    except Exception as error:
        if extra and isinstance(error, ImportError):
            reason = f"The package {error.name or extra} is missing: pip install "
            raise ModelLoadError(f"{reason}'soprano-tts-api[{extra}]'.") from error
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelLoadError(f"{failure}: {reason}") from error
