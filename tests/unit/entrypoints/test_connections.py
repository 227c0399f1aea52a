import asyncio
import socket

from hypothesis import given
from hypothesis import strategies as st

from app.entrypoints.connections import Quota, QuotaShare, WriteWatch, abort

LIMIT_S = 3.0


def test_what_waits_and_is_not_taken_stalls_after_the_limit() -> None:
    watch = WriteWatch(LIMIT_S)
    assert [watch.is_stalled(100, now) for now in (10.0, 11.0, 12.9, 13.0)] == [
        False,
        False,
        False,
        True,
    ]


def test_the_time_begins_when_something_waits() -> None:
    watch = WriteWatch(LIMIT_S)
    assert not watch.is_stalled(0, 0.0)
    assert not watch.is_stalled(100, 50.0)
    assert not watch.is_stalled(100, 52.0)
    assert watch.is_stalled(100, 53.0)


def test_more_that_comes_to_wait_is_no_progress() -> None:
    watch = WriteWatch(LIMIT_S)
    assert not watch.is_stalled(100, 0.0)
    assert not watch.is_stalled(200, 2.0)
    assert watch.is_stalled(300, 3.0)


def test_progress_that_was_seen_otherwise_counts() -> None:
    watch = WriteWatch(LIMIT_S)
    assert not watch.is_stalled(100, 0.0)
    watch.note_progress()
    assert not watch.is_stalled(100, 3.0)
    assert watch.is_stalled(100, 6.0)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=50, unique=True))
def test_a_client_that_takes_anything_each_time_is_never_cut(sizes: list[int]) -> None:
    watch = WriteWatch(LIMIT_S)
    for number, size in enumerate(sorted(sizes, reverse=True)):
        assert not watch.is_stalled(size, number * LIMIT_S * 10)


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(0, 10)), max_size=50))
def test_nothing_that_waits_is_nothing_that_stalls(steps: list[tuple[int, float]]) -> None:
    watch, now = WriteWatch(LIMIT_S), 0.0
    for size, pause_s in steps:
        now += pause_s
        assert not (watch.is_stalled(size, now) and size == 0)


def test_what_one_connection_gives_back_another_may_have() -> None:
    whole = Quota(100)
    one, other = QuotaShare(whole), QuotaShare(whole)
    assert one.resize(60)
    assert not other.resize(41)
    assert other.resize(40)
    assert not one.resize(61)
    assert one.resize(0)
    assert other.resize(100)
    assert other.resize(0)
    assert whole.used == 0


async def test_a_connection_that_ended_while_bytes_waited_may_be_aborted() -> None:
    made: list[asyncio.Transport] = []

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(bytes(10_000_000))
            transport.close()
            made.append(transport)

    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    async with server:
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.settimeout(0)
            loop = asyncio.get_running_loop()
            while await loop.sock_recv(client, 1_000_000):
                pass
            await asyncio.sleep(0.05)
            abort(made[0])
            abort(made[0])
