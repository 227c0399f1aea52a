"""Frames between two ends of a socket."""

import asyncio
import socket

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.adapters.speech.worker.protocol import (
    LENGTH,
    Audio,
    Channel,
    FromWorker,
    Heartbeat,
    SegmentEnded,
    open_channel,
)
from app.domain.audio import AudioChunk

MESSAGES = st.one_of(
    st.just(Heartbeat()),
    st.builds(SegmentEnded, id=st.integers(0, 2**63 - 1)),
    st.builds(
        Audio,
        id=st.integers(0, 2**40),
        chunk=st.builds(
            AudioChunk,
            samples=arrays(np.float32, st.integers(0, 25), elements=st.floats(-1, 1, width=32)),
            sample_rate=st.integers(1, 2**31),
            num_input_tokens=st.integers(0, 2**31),
            num_output_tokens=st.integers(0, 2**31),
        ),
    ),
)


async def pair() -> tuple[Channel[FromWorker], Channel[FromWorker]]:
    ours, theirs = socket.socketpair()
    return await open_channel(ours, FromWorker), await open_channel(theirs, FromWorker)


def plain(message: FromWorker | None) -> object:
    """What can be compared: arrays are not equal as others are."""
    if not isinstance(message, Audio):
        return message
    chunk = message.chunk
    fields = {**msgspec.structs.asdict(chunk), "samples": chunk.samples.tobytes()}
    return message.id, chunk.samples.dtype, fields


@given(st.lists(MESSAGES))
def test_whatever_is_sent_arrives_in_order(
    messages: list[Heartbeat | SegmentEnded | Audio],
) -> None:
    async def carry() -> list[FromWorker | None]:
        sender, receiver = await pair()
        for message in messages:
            sender.send(message)
        await sender.close()
        received = [await receiver.receive() for _ in range(len(messages) + 1)]
        await receiver.close()
        return received

    assert list(map(plain, asyncio.run(carry()))) == [*map(plain, messages), None]


async def test_much_audio_arrives_though_nobody_reads_at_first() -> None:
    sender, receiver = await pair()
    much = Audio(1, AudioChunk(np.linspace(-1, 1, 2_560_000, dtype=np.float32), 32_000))
    sender.send(much)
    draining = asyncio.create_task(sender.drain())
    await asyncio.sleep(0.05)
    assert not draining.done(), "the sender waits"
    assert plain(await receiver.receive()) == plain(much)
    await draining
    await sender.close()
    await receiver.close()


@pytest.mark.parametrize("length", [1, LENGTH.size, LENGTH.size + 3])
async def test_a_frame_that_breaks_off_is_the_end(length: int) -> None:
    ours, theirs = socket.socketpair()
    receiver = await open_channel(ours, FromWorker)
    theirs.sendall((LENGTH.pack(20) + bytes(20))[:length])
    theirs.close()
    assert await receiver.receive() is None
    await receiver.close()


async def test_to_an_end_that_is_gone_nothing_is_sent_and_nothing_raised() -> None:
    sender, receiver = await pair()
    await receiver.close()
    for _ in range(100):
        sender.send(Audio(1, AudioChunk(np.zeros(2_500, np.float32), 32_000)))
        await sender.drain()
    await sender.close()
    await sender.close()
    sender.send(Heartbeat())
