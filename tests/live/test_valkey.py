"""Two servers with one Valkey, all of them processes."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from hashlib import sha256
from itertools import count
from statistics import median

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect

from tests.eventually import wait_until
from tests.live_client import LiveClient
from tests.serving import ServerProcess, server_process, wait_for_status
from tests.valkey_server import ValkeyServer, valkey_server

SPEECH = "/v1/audio/speech"
TIMEOUT_S = 0.05  # of a command, as it is promised
BUSY_S = 0.5  # that a machine with other work may add to it
ATTEMPTS = 5
LIMITS = {
    "free": "",
    "counted": "requests_per_minute = 100000\nmax_concurrent = 1000",
    "single": "max_concurrent = 1",
    **{f"rated-{attempt}": "requests_per_minute = 6" for attempt in range(ATTEMPTS)},
}
NUMBERS = count(1)


class Fleet(msgspec.Struct):
    """Two servers and their Valkey."""

    servers: list[ServerProcess]
    valkey: ValkeyServer
    clients: list[httpx.AsyncClient] = []

    def num_spoken(self) -> int:
        """Sentences that the models of both were given."""
        pages = [httpx.get(f"{server.url}/metrics").text for server in self.servers]
        counts = [
            re.search(r"^soprano_batch_sentences_count (\S+)", page, re.MULTILINE) for page in pages
        ]
        return sum(round(float(found[1])) for found in counts if found)

    def num_failures(self) -> int:
        """How often a server gave Valkey up: on a busy machine, 50 ms may pass for no reason."""
        return sum(len(server.log_events(event="valkey.failed")) for server in self.servers)

    async def is_up(self) -> None:
        """Return once both use Valkey (again)."""
        for server in self.servers:
            await asyncio.to_thread(wait_until, partial(is_connected, server), 20.0)


def is_connected(server: ServerProcess) -> bool:
    """By its log."""
    events = [event for event in server.log_events() if event["event"].startswith("valkey.")]
    return bool(events) and events[-1]["event"] == "valkey.connected"


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("fleet")
    tables = [
        f'[keys.{name}]\nsha256 = "{sha256(bearer(name)[7:].encode()).hexdigest()}"\n{limits}\n'
        for name, limits in LIMITS.items()
    ]
    (directory / "keys.toml").write_text("\n".join(tables))
    arguments = ("--backend", "embedded")
    with valkey_server() as valkey:
        environ = {
            "SOPRANO_VALKEY__URL": valkey.url,
            "SOPRANO_AUTH__KEYS_FILE": str(directory / "keys.toml"),
            "SOPRANO_AUTH__OPEN_ROUTES": "all",
        }
        with (
            server_process(directory / "one.log", *arguments, environ=environ) as one,
            server_process(directory / "two.log", *arguments, environ=environ) as two,
        ):
            for server in (one, two):
                wait_for_status(f"{server.url}/health/ready")
            yield Fleet([one, two], valkey)


def bearer(name: str) -> str:
    return f"Bearer sk-soprano-of-{name}-0123456789"


@pytest.fixture
async def fleet(processes: Fleet) -> AsyncIterator[Fleet]:
    await processes.is_up()
    async with AsyncExitStack() as stack:
        processes.clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, timeout=60))
            for server in processes.servers
        ]
        yield processes


async def speak(
    client: httpx.AsyncClient, text: str | None = None, name: str = "free"
) -> httpx.Response:
    """Speaks something new, unless there is a text."""
    text = f"This is sentence number {next(NUMBERS)}." if text is None else text
    body = {"input": text, "response_format": "wav"}
    return await client.post(SPEECH, json=body, headers={"authorization": bearer(name)})


def statuses(answers: list[httpx.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


async def undisturbed(fleet: Fleet, check: Callable[[int], Awaitable[None]]) -> None:
    """Check it once more if it fails and Valkey was given up meanwhile, which a busy machine does.

    `check` takes the number of the attempt.
    """
    for attempt in range(ATTEMPTS):
        await fleet.is_up()
        before = fleet.num_failures()
        try:
            return await check(attempt)
        except AssertionError:
            if attempt == ATTEMPTS - 1 or fleet.num_failures() == before:
                raise
    return None


async def test_equal_requests_at_both_at_the_same_time_are_made_once(fleet: Fleet) -> None:
    async def check(_: int) -> None:
        before = fleet.num_spoken()
        text = f"Words number {next(NUMBERS)} are asked for at two servers at the same moment."
        answers = await asyncio.gather(*(speak(client, text) for client in fleet.clients))
        assert statuses(answers) == [200, 200]
        assert answers[0].content == answers[1].content
        assert len(answers[0].content) > 100_000
        assert fleet.num_spoken() - before == 1

    for _ in range(5):
        await undisturbed(fleet, check)


async def test_what_one_server_has_made_is_a_hit_at_the_other_with_the_same_bytes(
    fleet: Fleet,
) -> None:
    async def check(attempt: int) -> None:
        text = f"This was said before, in attempt {attempt}. It has two sentences."
        before = fleet.num_spoken()
        first = await speak(fleet.clients[0], text)
        assert first.headers["cache-status"].startswith("soprano; fwd=")
        num_made = fleet.num_spoken() - before
        await asyncio.to_thread(wait_until, lambda: not fleet.valkey.num_leases(), 10.0)
        second = await speak(fleet.clients[1], text)
        assert second.headers["cache-status"] == "soprano; hit"
        assert second.content == first.content
        assert 1 <= num_made <= 2
        assert fleet.num_spoken() - before == num_made

    await undisturbed(fleet, check)


async def test_requests_per_minute_hold_for_both_together(fleet: Fleet) -> None:
    async def check(attempt: int) -> None:
        name = f"rated-{attempt}"
        answers = [await speak(fleet.clients[number % 2], "Hi.", name) for number in range(12)]
        assert statuses(answers) == [200] * 6 + [429] * 6
        assert {each.json()["error"]["code"] for each in answers[6:]} == {"rate_limit_exceeded"}
        assert all(1 <= int(each.headers["retry-after"]) <= 12 for each in answers[6:])

    await undisturbed(fleet, check)


@asynccontextmanager
async def open_socket(server: ServerProcess, name: str) -> AsyncIterator[LiveClient]:
    address = server.url.replace("http", "ws", 1) + f"{SPEECH}/stream"
    async with connect(address, additional_headers={"authorization": bearer(name)}) as connection:
        client = LiveClient(connection)
        await client.until("ready")
        yield client


async def test_requests_at_the_same_time_hold_for_both_together(fleet: Fleet) -> None:
    async def check(_: int) -> None:
        for number, server in enumerate(fleet.servers):
            async with open_socket(server, "single"):
                answers = [await speak(client, "Hi.", "single") for client in fleet.clients]
                assert statuses(answers) == [429, 429]
                assert "1 at the same time" in answers[1 - number].json()["error"]["message"]
            deadline = time.monotonic() + 15  # it is tried again every ten seconds
            while (await speak(fleet.clients[1 - number], "Hi.", "single")).status_code == 429:
                assert time.monotonic() < deadline
        # What one server has answered whole is over for the other one, too.
        answers = [await speak(fleet.clients[number % 2], "Hi.", "single") for number in range(40)]
        assert statuses(answers) == [200] * 40

    await undisturbed(fleet, check)


async def speak_all_the_time(fleet: Fleet, until: asyncio.Event) -> list[httpx.Response]:
    """Both servers speak sentences that are new, and some of them at the same time."""
    answers = []
    while not until.is_set():
        text = f"This is sentence number {next(NUMBERS)}."
        answers += await asyncio.gather(
            *(speak(client, text, "counted") for client in fleet.clients),
            *(speak(client, None, "counted") for client in fleet.clients),
        )
    return answers


async def time_refusals(client: httpx.AsyncClient, num_requests: int) -> list[float]:
    """Seconds that requests take whose limits are counted, and whose bodies are refused."""
    took_s = []
    for _ in range(num_requests):
        begun = time.monotonic()
        headers = {"authorization": bearer("counted")}
        answer = await client.post(SPEECH, json={"input": 1}, headers=headers)
        took_s.append(time.monotonic() - begun)
        assert answer.status_code == 400
    return took_s


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_a_valkey_that_is_lost_costs_one_time_out_and_no_request(
    fleet: Fleet, how: str
) -> None:
    for client in fleet.clients:
        await time_refusals(client, 10)
    usual_s = max(await time_refusals(fleet.clients[0], 30))
    (fleet.valkey.kill if how == "killed" else fleet.valkey.pause)()
    took_s = await time_refusals(fleet.clients[0], 30)
    # With a time-out each they would take three times 50 ms.
    assert median(took_s) < TIMEOUT_S
    assert max(took_s) < usual_s + TIMEOUT_S + BUSY_S

    is_over = asyncio.Event()
    speaking = asyncio.create_task(speak_all_the_time(fleet, is_over))
    while not all(has_failed(server) for server in fleet.servers):
        await asyncio.sleep(0.05)
    # Limits hold for each server by itself.
    answers = [await speak(fleet.clients[1], "Hi.", "single") for _ in range(3)]
    assert statuses(answers) == [200] * 3
    (fleet.valkey.start if how == "killed" else fleet.valkey.go_on)()
    await fleet.is_up()
    is_over.set()
    answers = await speaking
    assert len(answers) >= 4
    assert set(statuses(answers)) == {200}
    await undisturbed(fleet, partial(check_sharing, fleet))


def has_failed(server: ServerProcess) -> bool:
    """By its log."""
    return bool(server.log_events(event="valkey.failed")) and not is_connected(server)


async def check_sharing(fleet: Fleet, _: int) -> None:
    """Both share sentences and limits."""
    before = fleet.num_spoken()
    text = f"Once more, for the time number {next(NUMBERS)}, and for both of them."
    answers = await asyncio.gather(*(speak(client, text) for client in fleet.clients))
    assert answers[0].content == answers[1].content
    assert fleet.num_spoken() - before == 1
    async with open_socket(fleet.servers[0], "single"):
        assert (await speak(fleet.clients[1], "Hi.", "single")).status_code == 429
