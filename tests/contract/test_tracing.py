"""What every Tracing keeps."""

import re
from collections.abc import Callable

import pytest

from app.ports.telemetry import Tracing
from tests.fakes.tracing import FakeTracing
from tests.spans import in_memory_tracing

TRACINGS: dict[str, Callable[[], Tracing]] = {
    "fake": FakeTracing,
    "opentelemetry": lambda: in_memory_tracing()[0],
}


@pytest.fixture(params=list(TRACINGS))
def tracing(request: pytest.FixtureRequest) -> Tracing:
    return TRACINGS[request.param]()


def test_what_begins_within_a_request_is_of_its_trace(tracing: Tracing) -> None:
    with tracing.follow("POST", {}, {"url.path": "/"}) as request:
        part = tracing.begin("part", {"soprano.characters": 3})
    assert re.fullmatch(r"[0-9a-f]{32}", request.trace_id)
    assert part.trace_id == request.trace_id


def test_no_method_of_a_span_raises(tracing: Tracing) -> None:
    with tracing.follow("POST", {"traceparent": "nonsense", "tracestate": ","}, {}) as request:
        part = tracing.begin("part", {})
        part.add_event("speech.first_audio")
        part.end({}, "speech_timeout")
        request.rename("POST /v1/audio/speech")
        request.end({"http.response.status_code": 200})


async def test_it_can_be_closed(tracing: Tracing) -> None:
    tracing.begin("part", {}).end({})
    await tracing.close()
