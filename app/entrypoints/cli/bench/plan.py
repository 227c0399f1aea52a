"""How much is measured."""

from typing import Final

import msgspec

NUM_STREAMS: Final = (8, 16)
"""Streams at once whose playback is watched."""

NUM_OTHERS: Final = 15
"""Streams that go on while a new request comes."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        clients: how many at once, in turn.
        rounds: in which everything is measured once.
        num_repeats: of one sentence per round, for ours; the package is asked once.
        lengths: of one text, in sentences.
        num_stream_sentences: of each stream whose playback is watched.
        num_other_sentences: of each stream that goes on while a new request comes.
        num_newcomers: new requests per round.
        long_text_s: playing time of the text whose memory is measured.
        slow_reader_s: for how long a slow reader takes it.
    """

    clients: tuple[int, ...]
    rounds: int
    num_repeats: int = 5
    lengths: tuple[int, ...] = (1, 5, 10, 20, 40)
    num_stream_sentences: int = 4
    num_other_sentences: int = 10
    num_newcomers: int = 10
    long_text_s: float = 600.0
    slow_reader_s: float = 30.0


def quick_plan(clients: tuple[int, ...]) -> Plan:
    """One short round: shows that all of it works, and little else."""
    return Plan(
        clients=clients,
        rounds=1,
        num_repeats=1,
        lengths=(1, 2),
        num_stream_sentences=1,
        num_other_sentences=2,
        num_newcomers=2,
        long_text_s=20.0,
        slow_reader_s=1.0,
    )
