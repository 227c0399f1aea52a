"""What every Soprano backend is: an engine that turns a prompt into audio as it is generated.

With how the next token is chosen, and how a runaway is found.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.errors import DeviceError, InstanceDeadError, ModelLoadError, SpeechError
from app.domain.speech import SamplingParams

_DEVICE_WORDS: Final = ("out of memory", "CUDA error", "device-side assert", "MPS backend")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


# What the package takes for a temperature of 0.
GREEDY_TEMPERATURE: Final = 0.001

# A lower one chooses as 0 does, and logits divided by it would leave the range of float32.
MIN_TEMPERATURE: Final = 1e-4

# Lowest temperature of a second attempt at a sentence; at 0 it would be the first again. Other
# engines run this model with it.
RETRY_TEMPERATURE: Final = 0.3

# Of one sentence, in the package and on the model card.
MAX_NEW_TOKENS: Final = 512


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the sampler."""

    temperature: float = 0.0  # 0 is greedy
    top_p: float = 0.95  # probability mass of the nucleus, in (0, 1]
    # On every token id of prompt and continuation; 1 is none. Positive logits are divided by it,
    # negative ones multiplied (Keskar et al., CTRL, 2019, section 4.1).
    repetition_penalty: float = 1.2
    seed: int = 0  # of each sentence's random numbers
    attempt: int = 0  # at the same sentence, from 0 on; each has other random numbers

    def for_attempt(self, attempt: int) -> "Sampling":
        """These settings for an attempt from 0 on: a later one must not choose as the first did."""
        if attempt == 0:
            return self
        temperature = max(self.temperature, RETRY_TEMPERATURE)
        return msgspec.structs.replace(self, attempt=attempt, temperature=temperature)

    def chosen(self, choice: SamplingParams) -> "Sampling":
        """These settings with what a request overrides."""
        fields = msgspec.structs.asdict(choice)
        made = {name: value for name, value in fields.items() if value is not None}
        chosen = msgspec.structs.replace(self, **made)
        if chosen.temperature < MIN_TEMPERATURE:
            return msgspec.structs.replace(chosen, temperature=0.0)
        return chosen


# Two values of the package's detector. A smaller distance or a longer run finds fewer runaways; the
# audio of a run is held back, so a longer run also delays it.
MIN_DISTANCE: Final = 300.0  # L1; consecutive hidden states below it are alike
MAX_RUN_LENGTH: Final = 16  # more alike states are a runaway


class RunawayDetector:
    """Follows the hidden states of one sentence.

    Attributes:
        run_length: number of latest states that are suspect; their audio should wait.
    """

    def __init__(self) -> None:
        self.run_length = 0
        self._last: NDArray[np.float32] | None = None

    def push(self, state: NDArray[np.float32]) -> bool:
        """Take the next (hidden_size,) state; True if the sentence has run away."""
        if self._last is not None:
            is_alike = float(np.abs(state - self._last).sum()) < MIN_DISTANCE
            self.run_length = self.run_length + 1 if is_alike else max(0, self.run_length - 1)
        self._last = state
        return self.run_length > MAX_RUN_LENGTH


class Stream(Protocol[T_co]):
    """An async iterator that is closed before its end to stop the work behind it."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    def __anext__(self) -> Awaitable[T_co]: ...

    def aclose(self) -> Awaitable[None]: ...


class Engine(Protocol):
    """Synthesizes prompts, several at once."""

    def close(self) -> None:
        """Stop all work and free threads and memory. Blocks. May be called twice."""

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
        self.is_complete = False  # its end was sent
        self.is_closed = False

    def send(self, item: T | SpeechError | None) -> None:
        """Add an item, from any thread; an error or None is the end."""
        self.is_complete = item is None or isinstance(item, SpeechError)
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
