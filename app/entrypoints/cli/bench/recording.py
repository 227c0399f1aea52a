"""What a listener notes of one answer, and what follows from it. Pure; knows nothing of sockets."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec


class Arrival(msgspec.Struct, frozen=True):
    """A piece of audio: when it came, in seconds of some clock, and its playing time."""

    at_s: float
    audio_s: float


class Recording(msgspec.Struct, frozen=True):
    """One answer.

    Attributes:
        started_s: when it was asked for.
        arrivals: all pieces with audio, in order.
        ended_s: when it was known to be whole.
    """

    started_s: float
    arrivals: Sequence[Arrival]
    ended_s: float

    @property
    def first_audio_s(self) -> float:
        """Time to first audio."""
        return self.arrivals[0].at_s - self.started_s

    @property
    def total_s(self) -> float:
        """From the question to the end of the answer."""
        return self.ended_s - self.started_s

    @property
    def audio_s(self) -> float:
        """Playing time of all of it."""
        return sum(arrival.audio_s for arrival in self.arrivals)

    @property
    def gaps_s(self) -> list[float]:
        """From each arrival to the next."""
        return [later.at_s - one.at_s for one, later in pairwise(self.arrivals)]

    @property
    def playback_margin_s(self) -> float:
        """How far playback was from silence when it was nearest to it; negative is a silence.

        The listener plays from the first arrival on. At each later one it has played for as long
        as that was ago, and had what came before; after the last nothing can run dry.
        """
        played_from_s = self.arrivals[0].at_s
        received_s = 0.0
        margins_s = []
        for one, later in pairwise(self.arrivals):
            received_s += one.audio_s
            margins_s.append(received_s - (later.at_s - played_from_s))
        return min(margins_s, default=self.audio_s)


def throughput(recordings: Sequence[Recording]) -> float:
    """Seconds of audio per second of wall time, over answers that were asked for together."""
    wall_s = max(one.ended_s for one in recordings) - min(one.started_s for one in recordings)
    return sum(one.audio_s for one in recordings) / wall_s


def percentile(values: Sequence[float], percent: float) -> float:
    """Interpolated between the two nearest ranks, as numpy does by default."""
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)
