import asyncio

import msgspec
import pytest
from structlog.testing import capture_logs

from app.domain.admission import ANYBODY, AdmissionLimits, Caller
from app.domain.services.access_control import AccessControl
from app.domain.services.admission import Admission
from app.entrypoints.http.overload import OverloadCheck, has_whole_body
from tests.fakes.clock import FakeClock
from tests.fakes.key_source import FakeKeySource
from tests.fakes.request_observer import FakeRequestObserver

KEY = "sk-soprano-0123456789abcdef"
OTHER_KEY = "sk-soprano-fedcba9876543210"
SPEAK = "POST /v1/audio/speech HTTP/1.1"


def request(*headers: str, start: str = SPEAK, body: str = "{}") -> bytes:
    return "\r\n".join([start, "host: localhost", *headers, "", body]).encode()


class Rig:
    """A server that speaks one text, and lets two wait."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.keys = FakeKeySource()
        self.observer = FakeRequestObserver()
        self.access = AccessControl(self.keys, clock, lambda: 0.0)
        limits = AdmissionLimits(max_running=1, max_queued=2)
        self.admission = Admission(limits, clock, lambda: 0.5)
        self.check = OverloadCheck(self.access, self.admission, self.observer)
        self.tasks: list[asyncio.Task[None]] = []

    async def fill(self, caller: Caller = ANYBODY) -> None:
        """Until no more of that caller's requests find a place."""
        await self.access.needs_key()
        for _ in range(3):
            self.tasks.append(asyncio.create_task(self.admission.slot(caller).enter(10)))
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_a_request_without_a_place_is_refused_in_the_form_of_all_errors() -> None:
    rig = Rig()
    assert rig.check.answer(request()) is None
    await rig.fill()
    answer = rig.check.answer(request("x-request-id: mine"), (b"date", b"now"))
    await rig.close()
    assert answer is not None
    head, _, body = answer.decode().partition("\r\n\r\n")
    start, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert start == "HTTP/1.1 503 Service Unavailable"
    assert msgspec.json.decode(body)["error"]["code"] == "server_overloaded"
    assert headers["content-length"] == str(len(body))
    assert (headers["x-request-id"], headers["connection"]) == ("mine", "close")
    assert headers["date"] == "now"
    assert int(headers["retry-after"]) >= 1
    assert headers["cross-origin-resource-policy"] == "same-origin"
    rig.check.report()
    (report,) = rig.observer.reports
    assert (report.method, report.route, report.status) == ("POST", "/v1/audio/speech", 503)
    assert rig.observer.refused == ["server_overloaded"]


@pytest.mark.parametrize(
    "data",
    [
        request(start="GET /health/live HTTP/1.1"),
        request(start="GET /v1/audio/speech HTTP/1.1"),
        request(start="POST /v1/audio/speech HTTP/1.0"),
        request(start="POST /v1/audio/speech/stream HTTP/1.1"),
        request(start="POST /v1/audio/speech?a HTTP/1.1"),
        request("Origin: http://127.0.0.1:3000"),  # needs the headers of CORS
        b"POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\n",
        b"",
    ],
)
async def test_everything_else_takes_the_ordinary_way(data: bytes) -> None:
    rig = Rig()
    await rig.fill()
    assert rig.check.answer(data) is None
    await rig.close()
    assert rig.observer.reports == []


async def test_before_the_keys_are_known_every_request_takes_the_ordinary_way() -> None:
    rig = Rig()
    await rig.fill()
    fresh = AccessControl(rig.keys, FakeClock(), lambda: 0.0)
    assert OverloadCheck(fresh, rig.admission, rig.observer).answer(request()) is None
    await rig.close()


async def test_with_keys_only_a_request_whose_own_key_has_no_place_is_refused() -> None:
    rig = Rig()
    rig.keys.give("alice", KEY)
    rig.keys.give("bob", OTHER_KEY)
    await rig.fill(Caller("alice"))
    answers = {
        name: rig.check.answer(request(*headers))
        for name, headers in {
            "alice": [f"authorization: Bearer {KEY}"],
            "ALICE": [f"Authorization: bearer {KEY}"],
            "bob": [f"authorization: Bearer {OTHER_KEY}"],  # takes the place of one of alice's
            "nobody": [],
            "two keys": [f"authorization: Bearer {KEY}", f"authorization: Bearer {OTHER_KEY}"],
            "in the body": ["", f"authorization: Bearer {KEY}"],
            "stranger": ["authorization: Bearer sk-soprano-unknown"],
        }.items()
    }
    await rig.close()
    assert {name for name, answer in answers.items() if answer} == {"alice", "ALICE"}


@pytest.mark.parametrize(
    ("data", "is_whole"),
    [
        (request("content-length: 2"), True),
        (request("Content-Length:2"), True),
        (request("content-length: 3"), False),
        (request("content-length: 1"), False),
        (request("transfer-encoding: chunked", body="0\r\n\r\n"), False),
    ],
)
def test_a_request_is_whole_once_all_of_its_body_is_there(data: bytes, *, is_whole: bool) -> None:
    assert has_whole_body(data) is is_whole


async def test_refusals_are_told_to_the_log_together() -> None:
    rig = Rig()
    await rig.fill()
    with capture_logs() as events:
        rig.check.report()
        for _ in range(3):
            rig.check.answer(request())
        rig.check.report()
        rig.check.report()
    await rig.close()
    assert events == [{"event": "server.overloaded", "num_refused": 3, "log_level": "warning"}]
