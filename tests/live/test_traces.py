"""A server that sends traces, to a collector of the test's own."""

import gzip
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.serving import server_process, wait_for_status

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
SECRET = "Marmalade"
TIMEOUT_S = 30.0


class Collector:
    """What was sent to it by OTLP over HTTP."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.bodies: list[bytes] = []

    def spans(self) -> list[Span]:
        return [
            span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            is_packed = self.headers.get("content-encoding") == "gzip"
            collector.bodies.append(gzip.decompress(body) if is_packed else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(server.server_port)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_request_can_be_followed_through_the_server_and_its_text_cannot(tmp_path: Path) -> None:
    body = {"input": f"{SECRET} for breakfast. And once more."}
    with collecting() as collector:
        environ = {
            "SOPRANO_TELEMETRY__TRACES": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with server_process(tmp_path / "log", environ=environ) as server:
            wait_for_status(f"{server.url}/health/ready")
            headers = {"traceparent": TRACEPARENT}
            answer = httpx.post(f"{server.url}/v1/audio/speech", json=body, headers=headers)
            assert answer.status_code == 200
            deadline = time.monotonic() + TIMEOUT_S
            while "POST /v1/audio/speech" not in {span.name for span in collector.spans()}:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        ours = [span for span in collector.spans() if span.trace_id.hex() == TRACE_ID]
        events = server.wait_for_events(2, trace_id=TRACE_ID)
    (request,) = [span for span in ours if span.kind == Span.SPAN_KIND_SERVER]
    parts = [span for span in ours if span is not request]
    assert sorted(part.name for part in parts) == [
        "speech.queue",
        "speech.sentence",
        "speech.sentence",
    ]
    assert all(part.parent_span_id == request.span_id for part in parts)
    assert {event["event"] for event in events} == {"speech.ended", "http.request"}
    assert not any(SECRET.encode() in body for body in collector.bodies)


def test_a_server_whose_collector_is_away_speaks_and_stops(tmp_path: Path) -> None:
    environ = {
        "SOPRANO_TELEMETRY__TRACES": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with server_process(tmp_path / "log", environ=environ) as server:
        wait_for_status(f"{server.url}/health/ready")
        answer = httpx.post(f"{server.url}/v1/audio/speech", json={"input": "Hello."})
        assert answer.status_code == 200
    assert server.exit_code() == 0  # and soon: it is killed if it does not stop by itself
