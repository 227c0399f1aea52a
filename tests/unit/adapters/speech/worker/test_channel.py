"""Frames between two ends of a socket."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.speech.worker.protocol import (
    LENGTHS,
    Audio,
    Channel,
    FromWorker,
    Heartbeat,
    SegmentEnded,
    open_channel,
)

MESSAGES = st.one_of(
    st.just(Heartbeat()),
    st.builds(SegmentEnded, id=st.integers(0, 2**63 - 1)),
    st.builds(
        Audio,
        id=st.integers(0, 2**40),
        sample_rate=st.integers(1, 2**31),
        num_input_tokens=st.integers(0, 2**31),
        num_output_tokens=st.integers(0, 2**31),
    ),
)


async def pair() -> tuple[Channel[FromWorker], Channel[FromWorker]]:
    ours, theirs = socket.socketpair()
    return await open_channel(ours, FromWorker), await open_channel(theirs, FromWorker)


@given(st.lists(st.tuples(MESSAGES, st.binary(max_size=100))))
def test_whatever_is_sent_arrives_in_order(
    frames: list[tuple[Heartbeat | SegmentEnded | Audio, bytes]],
) -> None:
    async def carry() -> list[tuple[FromWorker, bytes] | None]:
        sender, receiver = await pair()
        for message, beside in frames:
            sender.send(message, beside)
        await sender.close()
        received = [await receiver.receive() for _ in range(len(frames) + 1)]
        await receiver.close()
        return received

    assert asyncio.run(carry()) == [*frames, None]


async def test_much_beside_a_message_arrives_though_nobody_reads_at_first() -> None:
    sender, receiver = await pair()
    beside = bytes(range(256)) * 40_000
    sender.send(Heartbeat(), beside)
    draining = asyncio.create_task(sender.drain())
    await asyncio.sleep(0.05)
    assert not draining.done(), "the sender waits"
    assert await receiver.receive() == (Heartbeat(), beside)
    await draining
    await sender.close()
    await receiver.close()


@pytest.mark.parametrize("length", [1, LENGTHS.size, LENGTHS.size + 3])
async def test_a_frame_that_breaks_off_is_the_end(length: int) -> None:
    ours, theirs = socket.socketpair()
    receiver = await open_channel(ours, FromWorker)
    theirs.sendall((LENGTHS.pack(10, 10) + bytes(20))[:length])
    theirs.close()
    assert await receiver.receive() is None
    await receiver.close()


async def test_to_an_end_that_is_gone_nothing_is_sent_and_nothing_raised() -> None:
    sender, receiver = await pair()
    await receiver.close()
    for _ in range(100):
        sender.send(Heartbeat(), bytes(10_000))
        await sender.drain()
    await sender.close()
    await sender.close()
    sender.send(Heartbeat())
