"""What callers see of a model that fails, and comes back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from app.adapters.clock import SystemClock
from app.adapters.observers.log import FanOut
from app.adapters.observers.prometheus import PrometheusMetrics
from app.adapters.speech.resilient import ResilientModel
from app.domain.errors import SynthesisError
from app.domain.resilience import BreakerPolicy, ResiliencePolicy
from app.entrypoints.http.app import create_app
from app.entrypoints.services import Ports
from app.ports.clock import Clock
from tests.pools import pool_of
from tests.serving import Fakes, serving

SPEECH = "/v1/audio/speech"


def resilient_ports(fakes: Fakes, clock: Clock, policy: ResiliencePolicy) -> Ports:
    metrics = PrometheusMetrics()
    observer = FanOut(fakes.observer, metrics)
    pool = pool_of(fakes.model, clock)
    model = ResilientModel(pool, clock, policy, observer, lambda: 0.5)
    return msgspec.structs.replace(
        fakes.ports(),
        model=model,
        health=model.health,
        clock=clock,
        observer=observer,
        metrics=metrics,
    )


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
async def client(fakes: Fakes) -> AsyncIterator[httpx.AsyncClient]:
    policy = ResiliencePolicy(max_retries=0)
    app = create_app(resilient_ports(fakes, fakes.clock, policy), fakes.settings)
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        await until_ready(client)
        await fakes.clock.advance(31)  # what warmed the model up counts no longer
        yield client


async def until_ready(client: httpx.AsyncClient) -> None:
    while (await client.get("/health/ready")).status_code != 200:
        await asyncio.sleep(0.01)


async def ask(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post(SPEECH, json={"input": "Hi."})


async def fail(client: httpx.AsyncClient, fakes: Fakes, times: int = 5) -> None:
    fakes.model.failures = [SynthesisError()] * times
    answers = [await ask(client) for _ in range(times)]
    assert [answer.status_code for answer in answers] == [500] * times


async def read_health(client: httpx.AsyncClient) -> tuple[int, dict[str, Any]]:
    answer = await client.get("/health/ready")
    return answer.status_code, answer.json()


async def test_after_five_failures_callers_are_told_when_to_come_back(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    await fail(client, fakes)
    num_spoken = len(fakes.model.spoken)
    answer = await ask(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert answer.headers["retry-after-ms"] == "5000"
    assert "x-should-retry" not in answer.headers
    assert len(fakes.model.spoken) == num_spoken
    page = (await client.get("/metrics")).text
    assert "soprano_breaker_state 2.0" in page
    assert 'soprano_breaker_transitions_total{to="open"} 1.0' in page


async def test_after_that_time_they_are_served(client: httpx.AsyncClient, fakes: Fakes) -> None:
    await fail(client, fakes)
    await fakes.clock.advance(5)
    assert (await ask(client)).status_code == 200


async def test_the_server_is_not_ready_only_after_ten_seconds_and_says_why(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    await fail(client, fakes)
    status, report = await read_health(client)
    assert (status, report["status"], report["breaker"]) == (200, "ready", "open")
    assert report["parts"]["engine"]["ok"] is False
    assert report["parts"]["engine"]["reason"]
    fakes.model.failures = [SynthesisError()]
    await fakes.clock.advance(10)
    assert (await read_health(client))[0] == 200
    await fakes.clock.advance(1)
    status, report = await read_health(client)
    assert (status, report["status"], report["breaker"]) == (503, "unavailable", "open")
    assert "11 s" in report["reason"]
    assert report["parts"]["engine"]["reason"] == report["reason"]
    assert report["parts"]["engine"]["open_for_s"] == 11.0
    assert (await client.get("/health/live")).status_code == 200
    await fakes.clock.advance(4)
    status, report = await read_health(client)
    assert (status, report["breaker"], report["reason"]) == (200, "closed", None)


async def test_a_model_that_hangs_is_a_timeout(client: httpx.AsyncClient, fakes: Fakes) -> None:
    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    fakes.model.before_speaking = hang
    asking = asyncio.create_task(ask(client))
    while not fakes.model.num_running:
        await asyncio.sleep(0.01)
    await fakes.clock.advance(10)
    answer = await asking
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "speech_timeout")


async def test_a_whole_life_on_the_machine_s_own_clock(fakes: Fakes) -> None:
    """The model fails until it is mended; then the server serves again by itself."""
    policy = ResiliencePolicy(
        breaker=BreakerPolicy(open_s=0.2, max_open_s=0.2),
        max_retries=0,
    )
    app = create_app(resilient_ports(fakes, SystemClock(), policy), fakes.settings)
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        await until_ready(client)
        await fail(client, fakes, times=4)  # and one success, that of the warm-up
        fakes.model.failures = [SynthesisError()] * 2  # for the probes
        assert (await ask(client)).status_code in {500, 503}
        while (await read_health(client))[1]["breaker"] != "closed":
            await asyncio.sleep(0.02)
        assert (await ask(client)).status_code == 200
        states = [new.value for _, new, _ in fakes.observer.breaker_changes]
        assert states[:2] == ["open", "half_open"]
        assert states[-2:] == ["half_open", "closed"]
        assert "soprano_breaker_state 0.0" in (await client.get("/metrics")).text
