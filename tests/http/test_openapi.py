"""The description of the interface: valid, and true of what it describes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest

from app.domain.errors import (
    EngineBusyError,
    EngineUnavailableError,
    SpeechError,
    SpeechTimeoutError,
    SynthesisError,
)
from app.entrypoints.http.request_headers import MAX_HEADERS
from app.entrypoints.http.schemas import CONTENT_TYPES
from tests.examples import table
from tests.serving import Fakes, serving

SPEECH: Final = "/v1/audio/speech"
USES: Final = ("simple", "streaming", "events", "whole")

PROVOCATIONS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("400", "invalid_value"): {"json": {"input": "Hi.", "speed": 9}},
    ("400", "missing_required_parameter"): {"json": {"voice": "bee"}},
    ("400", "voice_not_found"): {"json": {"input": "Hi.", "voice": "af_sky"}},
    ("400", "string_above_max_length"): {"json": {"input": "a" * 5_000}},
    ("400", "invalid_json"): {"content": b"{"},
    ("404", "model_not_found"): {"json": {"input": "Hi.", "model": "gpt-5"}},
    ("413", "request_too_large"): {"json": {"input": "a" * 300_000}},
    ("415", "unsupported_media_type"): {"data": {"input": "Hi."}},
}
"""Requests that meet with the error, whatever the state of the server."""


async def read_schema(client: httpx.AsyncClient) -> dict[str, Any]:
    schema: dict[str, Any] = (await client.get("/schema/openapi.json")).json()
    return schema


async def read_speech(client: httpx.AsyncClient) -> dict[str, Any]:
    operation: dict[str, Any] = (await read_schema(client))["paths"][SPEECH]["post"]
    return operation


def error_examples(operation: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Bodies by status and code."""
    return {
        (status, code): example["value"]
        for status, response in operation["responses"].items()
        if int(status) >= 400
        for code, example in response["content"]["application/json"]["examples"].items()
    }


@pytest.mark.integration
async def test_the_schema_is_valid_openapi_3_1(client: httpx.AsyncClient) -> None:
    import schemathesis  # takes seconds to import

    schema = await read_schema(client)
    assert schema["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(schema).validate()


@table("use", USES)
async def test_each_example_of_a_request_is_answered(client: httpx.AsyncClient, use: str) -> None:
    examples = (await read_speech(client))["requestBody"]["content"]["application/json"]["examples"]
    assert set(examples) == set(USES)
    assert examples[use]["summary"]
    answer = await client.post(SPEECH, json=examples[use]["value"])
    assert answer.status_code == 200
    assert answer.content


async def test_the_answer_has_every_type_and_the_headers_that_are_promised(
    client: httpx.AsyncClient,
) -> None:
    described = (await read_speech(client))["responses"]["200"]
    assert set(described["content"]) == {*CONTENT_TYPES.values(), "text/event-stream"}
    assert all(media["schema"]["description"] for media in described["content"].values())
    promised = {name for name, header in described["headers"].items() if header["required"]}
    assert promised == {
        "cache-status", "server-timing", "x-request-id", "x-sample-rate", "x-speech-backend",
        "x-speech-voice",
    }  # fmt: skip
    answer = await client.post(SPEECH, json={"input": "Hi.", "instructions": "Whisper."})
    assert set(described["headers"]) <= set(answer.headers)


async def test_every_error_has_an_example_in_openais_shape(client: httpx.AsyncClient) -> None:
    operation = await read_speech(client)
    examples = error_examples(operation)
    assert {status for status, _ in examples} == set(operation["responses"]) - {"200", "304"}
    for (_, code), body in examples.items():
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["error"]["code"] == code


@table(("status", "code"), PROVOCATIONS)
async def test_the_example_of_an_error_is_what_the_server_answers(
    client: httpx.AsyncClient, status: str, code: str
) -> None:
    operation = await read_speech(client)
    headers = {"content-type": "application/json"} if code == "invalid_json" else {}
    answer = await client.post(SPEECH, headers=headers, **PROVOCATIONS[status, code])
    assert_is_as_described(answer, operation, status, code)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SynthesisError(), "500"),
        (EngineUnavailableError(4.2), "503"),
        (EngineBusyError(10.0), "503"),
        (SpeechTimeoutError(10.0), "504"),
    ],
    ids=["synthesis_failed", "engine_unavailable", "engine_busy", "speech_timeout"],
)
async def test_the_example_of_a_failure_is_what_the_server_answers(
    client: httpx.AsyncClient, fakes: Fakes, error: SpeechError, status: str
) -> None:
    operation = await read_speech(client)
    fakes.model.fail_on = ("Hi.", error)
    answer = await client.post(SPEECH, json={"input": "Hi."})
    assert_is_as_described(answer, operation, status, error.code)


async def test_the_example_of_a_loading_model_is_what_the_server_answers(fakes: Fakes) -> None:
    fakes.model.may_load.clear()
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        operation = await read_speech(client)
        asking = asyncio.create_task(client.post(SPEECH, json={"input": "Hi."}))
        while fakes.settings.model.load_wait_s not in fakes.clock.slept_s:
            await asyncio.sleep(0.01)
        await fakes.clock.advance(fakes.settings.model.load_wait_s)
        answer = await asking
    assert_is_as_described(answer, operation, "503", "model_loading")
    assert int(answer.headers["retry-after"]) > 0
    assert "retry-after" in operation["responses"]["503"]["headers"]


async def test_the_example_of_a_server_that_is_about_to_end_is_what_it_answers(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    operation = await read_speech(client)
    fakes.intake.drain()
    answer = await client.post(SPEECH, json={"input": "Hi."})
    assert_is_as_described(answer, operation, "503", "server_draining")


async def test_the_example_of_too_many_headers_is_what_the_server_answers(
    client: httpx.AsyncClient,
) -> None:
    operation = await read_speech(client)
    headers = {f"x-{number}": "a" for number in range(MAX_HEADERS)}
    answer = await client.post(SPEECH, json={"input": "Hi."}, headers=headers)
    assert_is_as_described(answer, operation, "431", "headers_too_large")


async def test_the_example_of_a_late_body_is_what_the_server_answers(
    client: httpx.AsyncClient, fakes: Fakes
) -> None:
    is_late = asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        yield b'{"input":'
        await is_late.wait()  # this client reads no answer before it has sent all

    operation = await read_speech(client)
    headers = {"content-type": "application/json"}
    asking = asyncio.create_task(client.post(SPEECH, content=drip(), headers=headers))
    while fakes.settings.server.read_timeout_s not in fakes.clock.slept_s:
        await asyncio.sleep(0.01)
    await fakes.clock.advance(fakes.settings.server.read_timeout_s)
    is_late.set()
    assert_is_as_described(await asking, operation, "408", "request_too_slow")


def assert_is_as_described(
    answer: httpx.Response, operation: dict[str, Any], status: str, code: str
) -> None:
    """The status, the body but for names and numbers in its message, the promised headers."""
    assert str(answer.status_code) == status, answer.text
    expected, found = error_examples(operation)[status, code]["error"], answer.json()["error"]
    assert without_message(found) == without_message(expected)
    assert found["message"].split()[:2] == expected["message"].split()[:2]
    headers = operation["responses"][status]["headers"]
    assert {name for name, each in headers.items() if each["required"]} <= set(answer.headers)


def without_message(error: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in error.items() if name != "message"}
