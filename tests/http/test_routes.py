"""Everything but speech itself, over fakes."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

import app
from app.domain.errors import ModelLoadError, SpeechError, StoreFullError
from app.domain.speech import OPENAI_MODELS, OPENAI_VOICES
from app.entrypoints.http.app import create_app
from app.entrypoints.http.pages import PAGE_FILES
from tests.examples import table
from tests.serving import Fakes, serving


async def test_models_are_listed_as_openai_lists_them(client: httpx.AsyncClient) -> None:
    listing = (await client.get("/v1/models")).json()
    assert listing["object"] == "list"
    assert [model["id"] for model in listing["data"]] == ["hum", *OPENAI_MODELS]
    assert {model["object"] for model in listing["data"]} == {"model"}
    assert {model["backend"] for model in listing["data"]} == {"fake"}


@table("name", ["hum", "tts-1", "gpt-4o-mini-tts-2025-12-15"])
async def test_a_model_is_found_by_name(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/v1/models/{name}")).json()["id"] == name


async def test_another_model_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/models/other")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


async def test_voices_and_models_are_listed_as_chat_front_ends_read_them(
    client: httpx.AsyncClient,
) -> None:
    voices = (await client.get("/v1/audio/voices")).json()["voices"]
    assert [voice["id"] for voice in voices] == ["bee", "fan", *OPENAI_VOICES]
    assert all(voice["name"] for voice in voices)
    models = (await client.get("/v1/audio/models")).json()["models"]
    assert models[0] == {"id": "hum"}


@table(
    "path",
    [
        "/nope", "/v1", "/v1/readyz", "/v1/audio", "/health/nope", "/test", "/schema/nope",
        "/schema/nope.json",
    ],
)  # fmt: skip
async def test_an_unknown_address_is_a_404_in_openais_shape(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert answer.headers["x-request-id"]


@table(
    ("method", "path"),
    [
        ("POST", "/v1/audio/speech%2f"),
        ("POST", "/v1%2Faudio/speech"),
        ("GET", "/v1/models%2f"),
        ("GET", "/v1/models/hum%2f"),
        ("GET", "/health%2flive"),
        ("GET", "/%2f"),
        ("OPTIONS", "/v1/models%2f"),
    ],
)
async def test_an_encoded_slash_separates_nothing(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path, json={"input": "Hi."})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert answer.headers["x-request-id"]


async def test_another_method_is_a_405_in_openais_shape(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/audio/speech")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    assert answer.json()["error"]["code"] == "method_not_allowed"


@table("given", ["abc-123", "a" * 128, "f47ac10b-58cc-4372-a567-0e02b2c3d479"])
async def test_a_plain_request_id_is_kept(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/health/live", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given


@table("given", ["", "a b", "a" * 129, "x" * 10_000, "\xe4", "<script>"])
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/health/live", headers=[(b"x-request-id", given.encode())])
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_the_model_loads_while_the_server_already_lives(fakes: Fakes) -> None:
    fakes.model.may_load.clear()
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/health/live")).json() == {"status": "alive"}
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "loading")
        assert answer.json()["parts"]["model"] == {
            "ok": False,
            "reason": "The speech model is still loading.",
            "state": "loading",
        }
        fakes.model.may_load.set()
        while (answer := await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.01)
        assert answer.json() == {
            "status": "ready",
            "breaker": "closed",
            "reason": None,
            "model": "hum",
            "backend": "fake",
            "skipped": [],
            "parts": {
                "model": {"ok": True, "reason": None, "state": "ready"},
                "engine": {
                    "ok": True,
                    "reason": None,
                    "breaker": "closed",
                    "open_for_s": 0.0,
                    "instances": 0,
                },
                "queue": {
                    "ok": True,
                    "reason": None,
                    "num_queued": 0,
                    "oldest_s": 0.0,
                    "num_running": 0,
                    "max_running": 8,
                },
                "store": {"ok": True, "reason": None, "code": None},
            },
        }
    assert fakes.model.is_closed


async def test_a_request_that_waited_too_long_for_the_model_is_told_when_to_come_back(
    fakes: Fakes,
) -> None:
    fakes.model.may_load.clear()
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        asking = asyncio.create_task(client.post("/v1/audio/speech", json={"input": "Hi."}))
        while fakes.settings.model.load_wait_s not in fakes.clock.slept_s:
            await asyncio.sleep(0.01)
        await fakes.clock.advance(fakes.settings.model.load_wait_s)
        answer = await asking
        assert answer.status_code == 503
        assert 1 <= int(answer.headers["retry-after"]) <= 120
        assert answer.json()["error"]["code"] == "model_loading"
        assert "x-should-retry" not in answer.headers


async def test_health_is_readiness(fakes: Fakes) -> None:
    fakes.model.may_load.clear()
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        loading, ready = [await client.get(path) for path in ("/health", "/health/ready")]
        assert (loading.status_code, loading.json()) == (503, ready.json())
        fakes.model.may_load.set()
        while (answer := await client.get("/health")).status_code != 200:
            await asyncio.sleep(0.01)
        assert answer.json()["status"] == "ready"


async def test_a_model_that_cannot_load_is_reported_as_fatal(fakes: Fakes) -> None:
    fakes.model.load_error = ModelLoadError("no weights")
    fatal: list[SpeechError | None] = []
    app = create_app(fakes.ports(), fakes.settings, on_settled=fatal.append)
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        while not fatal:
            await asyncio.sleep(0.01)
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (503, "failed")
        assert "model.load_failed" in answer.json()["reason"]
        assert answer.json()["parts"]["model"]["state"] == "failed"
        assert "no weights" not in answer.text
    assert fatal == [fakes.model.load_error]


async def test_a_store_that_fails_is_told_and_leaves_the_server_ready(fakes: Fakes) -> None:
    fakes.stores.fail_with = StoreFullError("no space on /secret/volume")
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        while (answer := await client.get("/health/ready")).json()["parts"]["store"]["ok"]:
            await asyncio.sleep(0.01)
        while (answer := await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.01)
    assert answer.json()["parts"]["store"]["code"] == "store_full"
    assert answer.json()["parts"]["store"]["reason"]
    assert "secret" not in answer.text


async def test_the_schema_describes_every_route_and_the_audio_types(
    client: httpx.AsyncClient,
) -> None:
    schema = (await client.get("/schema/openapi.json")).json()
    assert set(schema["paths"]) == {
        "/health/live", "/health/ready", "/metrics", "/v1/audio/files", "/v1/audio/files/{name}",
        "/v1/audio/files/{name}/captions.srt", "/v1/audio/files/{name}/captions.vtt",
        "/v1/audio/models", "/v1/audio/speech", "/v1/audio/speech/normalize", "/v1/audio/voices",
        "/v1/models", "/v1/models/{model_id}",
    }  # fmt: skip
    speech = schema["paths"]["/v1/audio/speech"]["post"]
    errors = {"400", "401", "404", "408", "413", "415", "429", "431", "500", "503", "504"}
    assert set(speech["responses"]) == {"200", *errors}
    assert "audio/mpeg" in speech["responses"]["200"]["content"]
    for status in errors:
        reference = speech["responses"][status]["content"]["application/json"]["schema"]
        assert reference == {"$ref": "#/components/schemas/ErrorBody"}
    assert speech["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/CreateSpeech"
    }


async def test_metrics_are_a_page_of_text(client: httpx.AsyncClient) -> None:
    page = await client.get("/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert page.text == "fake_total 1\n"


async def test_the_page_has_all_of_its_files(client: httpx.AsyncClient) -> None:
    static = Path(app.__file__).parent / "entrypoints/http/static/page"
    assert {file.name for file in static.iterdir()} == set(PAGE_FILES)
    for name, media_type in PAGE_FILES.items():
        answer = await client.get(f"/page/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.content == (static / name).read_bytes()
        assert not re.findall(r"""["'`(](?:https?:)?//[a-z]""", answer.text)  # nothing elsewhere
        for imported in re.findall(r"""from "\./([^"]+)";""", answer.text):
            assert imported in PAGE_FILES
    assert (await client.get("/page/other.js")).status_code == 404
    assert (await client.get("/")).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/schema"])
async def test_the_pages_load_nothing_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "<html" in page.text
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", page.text)
