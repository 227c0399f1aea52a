"""Adapters that fail where their port allows no failure: the server lives, and lets nobody in."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from litestar import Litestar

from app.domain.api_keys import Keyring
from app.domain.errors import SpeechError
from app.entrypoints.http.app import create_app
from tests.serving import Fakes, serving

SPEECH = "/v1/audio/speech"
KEY = {"authorization": "Bearer key-of-ann-0123456789"}


class BrokenKeys:
    """A KeySource that raises, against its contract."""

    async def current(self) -> Keyring:
        raise OSError("a secret path")

    async def wait_for_change(self, known: Keyring) -> Keyring:
        raise OSError("a secret path")


async def test_a_source_of_keys_that_fails_lets_nobody_in() -> None:
    async with (
        serving(Fakes().app(keys=BrokenKeys())) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        for headers in ({}, KEY):
            answer = await client.post(SPEECH, json={"input": "Hi."}, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
            assert "secret" not in answer.text
        assert (await client.get("/health/live")).status_code == 200


@pytest.mark.parametrize("error", [RuntimeError("a secret detail"), MemoryError(), OSError(5, "x")])
async def test_a_load_that_ends_in_an_unforeseen_error_is_fatal_and_told(error: Exception) -> None:
    fakes = Fakes()

    async def fail() -> None:
        raise error

    fakes.model.load = fail  # type: ignore[method-assign]
    failures: list[SpeechError | None] = []
    async with (
        serving(app_of(fakes, failures.append)) as url,
        httpx.AsyncClient(base_url=url) as client,
        asyncio.timeout(5),
    ):
        while not failures:
            await asyncio.sleep(0.01)
        assert (await client.get("/health/ready")).json()["status"] == "failed"
        answer = await client.post(SPEECH, json={"input": "Hi."})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_load_failed")
        assert "secret" not in answer.text
    assert [type(each) for each in fakes.observer.load_failures] == [type(failures[0])]


def app_of(fakes: Fakes, on_settled: Callable[[SpeechError | None], None]) -> Litestar:
    return create_app(fakes.ports(), fakes.settings, on_settled=on_settled)
