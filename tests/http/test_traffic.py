"""What is told of requests and sockets, over fakes, on a real socket."""

from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from app.domain.errors import SynthesisError
from tests.eventually import eventually
from tests.fakes.tracing import TRACE_ID, FakeSpan, FakeTracing
from tests.serving import Fakes, serving
from tests.spans import in_memory_tracing

SOCKET = "/v1/audio/speech/stream"


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("GET", "/v1/models/hum", ("GET", "/v1/models/{model_id}", 200)),
        ("HEAD", "/v1/models/hum", ("HEAD", "/v1/models/{model_id}", 200)),
        ("GET", "/v1/models/nothing", ("GET", "/v1/models/{model_id}", 404)),
        ("GET", "/v1/audio/files/x.wav", ("GET", "/v1/audio/files/{name}", 404)),
        ("GET", "/wp-admin/7", ("GET", None, 404)),
        ("DELETE", "/v1/models", ("DELETE", None, 405)),
        ("BREW", "/v1/models", ("BREW", None, 405)),
        ("POST", "/v1/audio/speech", ("POST", "/v1/audio/speech", 400)),
    ],
)
async def test_a_request_is_told_by_the_template_of_its_address(
    fakes: Fakes, client: httpx.AsyncClient, method: str, path: str, told: tuple[Any, ...]
) -> None:
    await client.request(method, path)
    await eventually(lambda: bool(fakes.requests.reports))
    (report,) = fakes.requests.reports
    assert (report.method, report.route) == told[:2]
    assert report.status // 100 == told[2] // 100


async def test_sockets_are_counted_while_they_are_open(fakes: Fakes) -> None:
    async with serving(fakes.app()) as url:
        address = url.replace("http", "ws", 1) + SOCKET
        async with connect(address), connect(address):
            await eventually(lambda: len(fakes.requests.nums_open) == 2)
        await eventually(lambda: len(fakes.requests.reports) == 2)
    assert fakes.requests.nums_open == [1, 2, 1, 0]
    report = fakes.requests.reports[0]
    assert (report.method, report.route, report.status) == ("WEBSOCKET", SOCKET, 101)


async def test_a_socket_that_is_refused_was_never_open(fakes: Fakes) -> None:
    async with serving(fakes.app()) as url:
        address = url.replace("http", "ws", 1) + SOCKET
        with pytest.raises(InvalidStatus):
            await connect(address, origin="https://elsewhere.example")  # type: ignore[arg-type]
        await eventually(lambda: bool(fakes.requests.reports))
    assert fakes.requests.nums_open == []
    assert fakes.requests.reports[0].status == 403


@pytest.fixture
def tracing(fakes: Fakes) -> FakeTracing:
    tracing = FakeTracing()
    fakes.tracing = tracing
    return tracing


async def ask(fakes: Fakes, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        await client.post("/v1/audio/speech", json=body, headers=headers)
        await eventually(lambda: bool(fakes.requests.reports))


async def test_a_request_is_a_span_by_the_conventions_for_http(
    fakes: Fakes, tracing: FakeTracing
) -> None:
    await ask(fakes, {"input": "A secret."}, {"traceparent": "from-elsewhere"})
    span: FakeSpan = tracing.spans[0]
    assert span.name == "POST /v1/audio/speech"
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/audio/speech",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "url.path": "/v1/audio/speech",
        "url.scheme": "http",
    }
    assert (span.error, span.num_ends) == (None, 1)
    assert tracing.headers[0]["traceparent"] == "from-elsewhere"
    assert tracing.is_closed


async def test_an_answer_of_500_is_an_error_of_its_span(fakes: Fakes, tracing: FakeTracing) -> None:
    fakes.model.fail_on = ("Bad.", SynthesisError())
    await ask(fakes, {"input": "Bad."})
    assert tracing.spans[0].error == "synthesis_failed"


async def test_all_events_of_a_request_have_the_number_of_its_trace(
    fakes: Fakes, tracing: FakeTracing
) -> None:
    with capture_logs(processors=[_with_context]) as events:
        await ask(fakes, {"input": "Hi."})
    (event,) = [event for event in events if event["event"] == "http.request"]
    assert event["trace_id"] == TRACE_ID
    assert event["request_id"]


def _with_context(logger: Any, name: str, event: Any) -> Any:
    from structlog.contextvars import merge_contextvars

    return merge_contextvars(logger, name, event)


@pytest.mark.parametrize("path", ["/health/ready", "/metrics", "/", "/nothing"])
async def test_what_supervisors_ask_is_not_followed(
    fakes: Fakes, tracing: FakeTracing, path: str
) -> None:
    async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
        await client.get(path)
    assert tracing.spans == []


async def test_long_words_of_a_request_are_shortened_in_spans_and_in_the_log(
    fakes: Fakes, tracing: FakeTracing
) -> None:
    path, method = "/v1/" + "a" * 8_000, "B" * 4_000
    with capture_logs() as events:
        async with serving(fakes.app()) as url, httpx.AsyncClient(base_url=url) as client:
            assert (await client.request(method, path)).status_code == 404
            await eventually(lambda: bool(fakes.requests.reports))
    (event,) = [event for event in events if event["event"] == "http.request"]
    (span,) = tracing.spans
    assert path.startswith(event["path"].removesuffix("..."))
    assert method.startswith(event["method"].removesuffix("..."))
    assert span.attributes["url.path"] == event["path"]
    assert span.attributes["http.request.method_original"] == event["method"]
    assert len(str(events)) < 2_000
    assert len(str(span.attributes)) < 2_000


async def test_the_text_is_in_no_span(fakes: Fakes) -> None:
    tracing, exporter = in_memory_tracing()
    fakes.tracing = tracing
    await ask(fakes, {"input": "A secret."}, {"authorization": "Bearer sk-hidden"})
    spans = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "POST /v1/audio/speech" in spans
    assert "secret" not in spans
    assert "hidden" not in spans


@pytest.mark.parametrize(
    ("method", "path", "body", "error"),
    [
        ("GET", "/v1/models", None, None),
        ("GET", "/v1/models/nothing", None, "model_not_found"),
        ("GET", "/nothing", None, "not_found"),
        ("POST", "/v1/audio/speech", {"input": 1}, "invalid_value"),
        ("POST", "/v1/audio/speech", None, "invalid_json"),
        ("GET", "/v1/audio/files?limit=x", None, "invalid_value"),
    ],
)
async def test_the_event_of_a_request_names_the_error_it_was_answered_with(
    client: httpx.AsyncClient, method: str, path: str, body: Any, error: str | None
) -> None:
    with capture_logs() as events:
        answer = await client.request(method, path, json=body)
        await eventually(lambda: any(event["event"] == "http.request" for event in events))
    (event,) = [event for event in events if event["event"] == "http.request"]
    assert event["error"] == error
    if error is not None:
        assert answer.json()["error"]["code"] == error


async def test_so_does_that_of_a_socket_that_was_refused(fakes: Fakes) -> None:
    with capture_logs() as events:
        async with serving(fakes.app()) as url:
            address = url.replace("http", "ws", 1) + SOCKET
            with pytest.raises(InvalidStatus):
                await connect(address, origin="https://elsewhere.example")  # type: ignore[arg-type]
            await eventually(lambda: any(event["event"] == "http.request" for event in events))
    (event,) = [event for event in events if event["event"] == "http.request"]
    assert (event["status"], event["error"]) == (403, "origin_not_allowed")
