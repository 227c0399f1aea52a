"""The queue for the model: who waits, who is next, who is rejected. Times in, decisions out.

Callers take turns, so that one who sends many requests does not keep the others waiting; when the
queue is full, the caller with most requests in it makes room for those with fewer. Long texts may
not take all turns.
"""

import math
from collections import deque
from typing import Final

import msgspec

from app.domain.errors import ServerOverloadedError

# Weight of the past in the running means: some 20 requests are remembered.
PACE_MEMORY: Final = 0.95
# Part of the longest wait that the queue is made for: requests differ, the machine may become twice
# as slow, and one that waited for nothing is worse off than one that was rejected at once.
WAIT_MARGIN: Final = 0.5
MAX_SHORT_CHARS: Final = 1_000  # of a short text: about a minute of speech
# One of so many turns is kept for short texts: long ones that are played as fast as they are made
# have theirs for minutes.
SHORT_TEXTS_SHARE: Final = 4
# Time constant of the mean of what is made. Audio comes in pieces of up to a second for several
# requests at once, and what is not needed yet is made late: a shorter time counts that as speed.
CAPACITY_MEMORY_S: Final = 10.0
# All turns have to be taken for about so long, with short breaks, before there are more of them, or
# fewer: at first only those pieces are made that are needed at once.
MIN_FULL_S: Final = 2.0
MIN_SLOW_S: Final = 5.0
MIN_MADE_S: Final = 0.02  # what is there sooner was cached, and says nothing
# How much faster than playback those that run are to be spoken: the machine does other things, and
# sentences that begin together are slower at first. With 1.25, fp32 fell behind its listeners.
HEADROOM: Final = 1.6
MIN_RETRY_AFTER_S: Final = 1.0
MAX_RETRY_AFTER_S: Final = 60.0
# Chance adds up to this to what callers are told to wait, so that they do not return together.
RETRY_SPREAD_S: Final = 2.0


class AdmissionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is taken on."""

    min_running: int = 1  # requests that the model works for at the same time, see Capacity
    max_running: int = 8
    # that have begun and not ended, those that wait for their listeners included: all hold audio
    max_open: int = 128
    max_queued: int = 32  # requests that wait to begin
    max_queued_chars: int = 65_536  # characters of all of them; a single one may have more
    max_wait_s: float = 10.0  # for how long, in seconds
    max_short_chars: int = MAX_SHORT_CHARS  # of a text that may take any turn


class Caller(msgspec.Struct, frozen=True):
    """Who sends a request."""

    name: str | None = None  # of the key; None where nobody is told apart
    deadline: float = math.inf  # seconds of the clock by when the answer is no longer wanted


ANYBODY: Final = Caller()


class Ticket(msgspec.Struct, frozen=True, eq=False):
    """A request that waits."""

    caller: str | None  # name of who sent it
    num_chars: int  # of its text
    arrived_at: float  # seconds of the clock
    expires_at: float  # seconds of the clock; it is not begun after that


_SHORTEST: Final = Ticket(None, 1, 0.0, 0.0)


class QueueLoad(msgspec.Struct, frozen=True):
    """What is going on."""

    num_queued: int = 0  # requests that wait
    num_queued_chars: int = 0  # characters of all of them
    oldest_s: float = 0.0  # for how long the oldest of them has waited, in seconds
    num_running: int = 0  # requests that the model works for
    max_running: int = 0  # as many as may be, now
    num_open: int = 0  # requests that have begun and not ended


class Pace:
    """How fast turns come free while all are taken, by what happened lately, as running means."""

    def __init__(self) -> None:
        self._chars = self._seconds = self._weight = 0.0

    def record(self, num_chars: int, seconds: float) -> None:
        """A turn came free after so long; a text of so many characters had one."""
        self._chars = PACE_MEMORY * self._chars + num_chars
        self._seconds = PACE_MEMORY * self._seconds + seconds
        self._weight = PACE_MEMORY * self._weight + 1

    @property
    def interval_s(self) -> float:
        """Seconds until a turn comes free; 0 while nothing is known."""
        return self._seconds / self._weight if self._weight else 0.0

    def wait_s(self, num_chars: int) -> float:
        """Seconds until those with so many characters have begun; 0 while nothing is known."""
        return self._seconds * num_chars / self._chars if self._chars else 0.0


class Capacity:
    """How many requests the model can work for at once and keep ahead of playback.

    While all turns are taken it follows the audio per second that is made, a running mean: up at
    once, for few at a time are made more slowly than many, and down halfway every `MIN_FULL_S`.
    """

    def __init__(self, limits: AdmissionLimits, num: int) -> None:
        self._limits = limits
        self._num_running = 0
        self._noted_at = self._full_at = 0.0  # the last times that it was told of, and was full
        self.begin_with(num)

    def begin_with(self, num: int) -> None:
        """Let so many run, within the limits, until more is known."""
        self._set(num)
        self._forget()

    def _forget(self) -> None:
        # while all turns were taken: audio made and time gone, weighted by how long ago that was
        self._audio_s = self._full_s = 0.0
        self._since_change_s = 0.0  # of that time, not weighted

    def note_running(self, num_running: int, now: float) -> None:
        """So many requests run now."""
        self._advance(now)
        self._num_running = num_running

    def audio_made(self, audio_s: float, took_s: float, now: float) -> None:
        """There is a piece of a segment, so many seconds after that began."""
        self._advance(now)
        if self._num_running < self.num or took_s < MIN_MADE_S:
            return
        self._audio_s += audio_s
        if self._since_change_s >= MIN_FULL_S:
            change = int(self._audio_s / self._full_s / HEADROOM) - self.num
            if change > 0 or self._full_s >= MIN_SLOW_S:
                self._since_change_s = 0.0
                self._set(self.num + (change if change > 0 else change // 2))

    def _set(self, num: int) -> None:
        self.num = min(max(self._limits.min_running, num), self._limits.max_running)

    def _advance(self, now: float) -> None:
        """Count the time since the last call."""
        if self._num_running >= self.num:
            passed_s = now - self._noted_at
            weight = math.exp(-passed_s / CAPACITY_MEMORY_S)
            self._audio_s *= weight
            self._full_s = self._full_s * weight + CAPACITY_MEMORY_S * (1 - weight)
            self._since_change_s += passed_s
            self._full_at = now
        elif now - self._full_at > CAPACITY_MEMORY_S:
            self._forget()
        self._noted_at = now


class AdmissionQueue:
    """The line in front of the model, and how much goes on behind it."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self.capacity = Capacity(limits, limits.max_running)
        self._lines: dict[str | None, deque[Ticket]] = {}  # whose turn it is comes first
        self._num_queued = self._num_chars = 0
        self._num_running = self._num_long_running = self._num_open = 0
        self._pace = Pace()
        # the request that took the last turn of its kind, and when; None if one is free
        self._last_turn: tuple[Ticket, float] | None = None
        # since one of all turns came free, until all are taken again: how many of the others may
        # still leave, and when the latest one left
        self._num_beside, self._freed_at = 0, 0.0

    def load(self, now: float) -> QueueLoad:
        """What goes on at `now`."""
        oldest = min((line[0].arrived_at for line in self._lines.values()), default=now)
        return QueueLoad(
            num_queued=self._num_queued,
            num_queued_chars=self._num_chars,
            oldest_s=now - oldest,
            num_running=self._num_running,
            max_running=self.capacity.num,
            num_open=self._num_open,
        )

    def arrive(self, ticket: Ticket) -> list[Ticket]:
        """Put a request at the end of its caller's line; those that had to make room for it.

        Raises ServerOverloadedError, and changes nothing, if nobody has more in it than its caller.
        """
        removed: list[Ticket] = []
        while not self._has_room_for(ticket):
            newest = self._newest_of_greediest(ticket.caller)
            if newest is None:
                for other in reversed(removed):
                    self._append(other)
                raise ServerOverloadedError(self.retry_after_s())
            self.leave(newest)
            removed.append(newest)
        self._append(ticket)
        return removed

    def is_full(self) -> bool:
        """Whether somebody waits, and nobody else may; but see `may_take`."""
        return self._num_queued > 0 and not self._has_room_for(_SHORTEST)

    def may_take(self, caller: str | None) -> bool:
        """Whether a request of that caller could be put into the line, if it is short enough."""
        return self._has_room_for(_SHORTEST) or self._newest_of_greediest(caller) is not None

    def leave(self, ticket: Ticket) -> bool:
        """Take a request out of the line; whether it was in it."""
        line = self._lines.get(ticket.caller)
        if line is None or ticket not in line:
            return False
        line.remove(ticket)
        if not line:
            del self._lines[ticket.caller]
        self._num_queued -= 1
        self._num_chars -= ticket.num_chars
        return True

    def next(self, now: float) -> tuple[Ticket | None, list[Ticket]]:
        """The request that begins now, if one can; and those before it that waited too long."""
        expired = []
        while self._has_turn_for(_SHORTEST):
            # of the caller whose turn it is, else of the next one
            waiting = (each for line in self._lines.values() for each in line)
            ticket = next(filter(self._has_turn_for, waiting), None)
            if ticket is None:
                break
            self.leave(ticket)
            if ticket.expires_at < now:
                expired.append(ticket)
                continue
            if ticket.caller in self._lines:
                self._lines[ticket.caller] = self._lines.pop(ticket.caller)
            self._count_running(ticket, 1, now)
            self._num_open += 1
            if not self._has_turn_for(ticket):
                self._last_turn, self._num_beside = (ticket, now), 0
            return ticket, expired
        return None, expired

    def pause(self, ticket: Ticket, now: float) -> None:
        """The model has nothing to do for one that had begun."""
        if self._num_beside:
            # Only part of the turns was taken: all would have given one so much sooner.
            share = self._num_running / self.capacity.num
            self._pace.record(ticket.num_chars, (now - self._freed_at) * share)
            self._num_beside, self._freed_at = self._num_beside - 1, now
        self._count_running(ticket, -1, now)
        self._note_pace(now)

    def resume(self, ticket: Ticket, now: float) -> None:
        """It has again; such a one does not wait a second time."""
        self._count_running(ticket, 1, now)
        if self._num_running >= self.capacity.num:
            self._num_beside = 0  # others may wait now, for how long is not known

    def end(self, now: float) -> None:
        """One that had paused has ended."""
        self._num_open -= 1
        self._note_pace(now)

    def retry_after_s(self) -> float:
        """In how many seconds those that wait now will have begun."""
        wait_s = self._pace.wait_s(self._num_chars)
        return min(max(wait_s, MIN_RETRY_AFTER_S), MAX_RETRY_AFTER_S)

    def _note_pace(self, now: float) -> None:
        """If a turn has come free, say how long that took; nobody needs to have waited for it."""
        if self._last_turn and self._has_turn_for(self._last_turn[0]):
            ticket, taken_at = self._last_turn
            self._pace.record(ticket.num_chars, now - taken_at)
            self._last_turn, self._freed_at = None, now
            was_full = self._num_running == self.capacity.num - 1
            self._num_beside = self._num_running if was_full else 0

    def _has_turn_for(self, ticket: Ticket) -> bool:
        capacity, is_long = self.capacity, ticket.num_chars > self._limits.max_short_chars
        if is_long and self._num_long_running >= capacity.num - capacity.num // SHORT_TEXTS_SHARE:
            return False
        return self._num_running < capacity.num and self._num_open < self._limits.max_open

    def _count_running(self, ticket: Ticket, change: int, now: float) -> None:
        self._num_running += change
        self.capacity.note_running(self._num_running, now)
        self._num_long_running += change * (ticket.num_chars > self._limits.max_short_chars)

    def _has_room_for(self, ticket: Ticket) -> bool:
        if self._has_turn_for(ticket):  # those who wait have none, so it begins at once
            return True
        max_queued, interval_s = self._limits.max_queued, self._pace.interval_s
        if not self._num_queued:
            return max_queued > 0
        if interval_s:  # as many as will surely begin in time, at the latest pace
            servable = int(WAIT_MARGIN * self._limits.max_wait_s / interval_s)
            max_queued = min(max_queued, max(1, servable))
        num_chars = self._num_chars + ticket.num_chars
        return self._num_queued < max_queued and num_chars <= self._limits.max_queued_chars

    def _newest_of_greediest(self, caller: str | None) -> Ticket | None:
        """Of the caller with most in the queue, if that would still be more than this caller's."""
        greediest = max(self._lines.values(), key=len, default=deque[Ticket]())
        num_own = len(self._lines.get(caller, ()))
        return greediest[-1] if len(greediest) > num_own + 1 else None

    def _append(self, ticket: Ticket) -> None:
        self._lines.setdefault(ticket.caller, deque()).append(ticket)
        self._num_queued += 1
        self._num_chars += ticket.num_chars
