"""Lets requests begin when the model has time for them, and turns away what would wait too long."""

import asyncio
from collections.abc import Callable

from app.domain.admission import (
    HEADROOM,
    RETRY_SPREAD_S,
    AdmissionLimits,
    AdmissionQueue,
    Caller,
    QueueLoad,
    Ticket,
)
from app.domain.errors import QueueTimeoutError, ServerOverloadedError, SpeechError
from app.domain.services.time_limit import within
from app.ports.clock import Clock


class Admission:
    """The door to the model."""

    def __init__(self, limits: AdmissionLimits, clock: Clock, random: Callable[[], float]) -> None:
        self._limits = limits
        self.clock = clock
        self._random = random
        self.queue = AdmissionQueue(limits)
        self._waiting: dict[Ticket, asyncio.Future[None]] = {}

    def load(self) -> QueueLoad:
        """What goes on now."""
        return self.queue.load(self.clock.monotonic())

    def set_speed(self, speed: float) -> None:
        """Begin with as many as a model keeps up with that speaks one text at `speed`.

        Several at once are mostly spoken faster, which is found out when there are several.
        """
        self.queue.capacity.begin_with(int(speed / HEADROOM))

    def is_full(self) -> bool:
        """Whether nothing more may wait."""
        return self.queue.is_full()

    def check(self, caller: str | None) -> None:
        """Raise ServerOverloadedError if no request of that caller, however short, can wait."""
        if not self.queue.may_take(caller):
            raise self._overloaded()

    def slot(self, caller: Caller) -> "Slot":
        """What a request of `caller` needs to be spoken; not entered yet."""
        return Slot(self, caller)

    async def wait(self, caller: Caller, num_chars: int) -> Ticket:
        """The ticket of the request, when it may begin; it then counts as running.

        Raises ServerOverloadedError at once, or QueueTimeoutError if its turn comes too late.
        """
        now = self.clock.monotonic()
        expires_at = min(now + self._limits.max_wait_s, caller.deadline)
        ticket = Ticket(caller.name, num_chars, now, expires_at)
        try:
            removed = self.queue.arrive(ticket)
        except ServerOverloadedError:
            raise self._overloaded() from None
        turn = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        for other in removed:
            self._refuse(other, self._overloaded())
        self.serve(now)
        try:
            if not turn.done():
                await within(self.clock, expires_at - now, asyncio.wait({turn}))
        except TimeoutError:
            if self.queue.leave(ticket):
                self._refuse(ticket, QueueTimeoutError(self._retry_after_s()))
        except asyncio.CancelledError:
            self._waiting.pop(ticket, None)
            has_begun = turn.done() and not turn.cancelled() and turn.exception() is None
            if not self.queue.leave(ticket) and has_begun:  # in the same moment its turn came
                now = self.clock.monotonic()
                self.queue.pause(ticket, now)
                self.serve(now)
                self.queue.end(now)
                self.serve(now)
            raise
        turn.result()
        return ticket

    def serve(self, now: float) -> None:
        """Let every request begin that can."""
        while True:
            ticket, expired = self.queue.next(now)
            for late in expired:
                self._refuse(late, QueueTimeoutError(self._retry_after_s()))
            if ticket is None:
                return
            self._waiting.pop(ticket).set_result(None)

    def _refuse(self, ticket: Ticket, error: SpeechError) -> None:
        turn = self._waiting.pop(ticket)
        if not turn.done():
            turn.set_exception(error)

    def _overloaded(self) -> ServerOverloadedError:
        return ServerOverloadedError(self._retry_after_s())

    def _retry_after_s(self) -> float:
        return self.queue.retry_after_s() + RETRY_SPREAD_S * self._random()


class Slot:
    """The share that one request has of the model.

    It counts as running from its turn on, as long as the model works on one of its segments; while
    its listener has enough, or its writer is not done, others run.
    """

    def __init__(self, admission: Admission, caller: Caller) -> None:
        self._admission = admission
        self._caller = caller
        self._num_segments = 0
        self._is_running = False
        self._ticket: Ticket | None = None

    async def enter(self, num_chars: int) -> None:
        """Return when the request may begin; see `Admission.wait`."""
        self._ticket = await self._admission.wait(self._caller, num_chars)
        self._is_running = True

    def segment_began(self) -> None:
        """The model has one more segment of it to speak."""
        self._num_segments += 1
        if self._ticket and not self._is_running:
            self._is_running = True
            self._admission.queue.resume(self._ticket, self._admission.clock.monotonic())

    def audio_made(self, audio_s: float, took_s: float) -> None:
        """There is a piece of a segment, so many seconds after that began."""
        if self._ticket is not None:  # else everything was cached
            now = self._admission.clock.monotonic()
            self._admission.queue.capacity.audio_made(audio_s, took_s, now)
            self._admission.serve(now)

    def segment_ended(self) -> None:
        """It has one less: spoken, or given up."""
        self._num_segments -= 1
        if self._num_segments == 0:
            self._pause(self._admission.clock.monotonic())

    def leave(self) -> None:
        """The request is over. May be called twice, and without `enter`."""
        if self._ticket is not None:
            now = self._admission.clock.monotonic()
            self._pause(now)
            self._ticket = None
            self._admission.queue.end(now)
            self._admission.serve(now)

    def _pause(self, now: float) -> None:
        if self._ticket and self._is_running:
            self._is_running = False
            self._admission.queue.pause(self._ticket, now)
            self._admission.serve(now)
