"""Requests generated from the server's own description of itself."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import httpx
import msgspec
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import Interaction, ScenarioRecorder

from tests.fuzz.expectations import assert_is_openai_error
from tests.serving import ServerProcess

pytestmark = pytest.mark.timeout(900)  # all requests are sent for the first test

MIN_REQUESTS: Final = 2_000

CONFIG: Final = {
    "seed": 20_260_101,
    "workers": 1,
    "continue-on-failure": True,
    "request-timeout": 60,
    "generation": {
        "deterministic": True,
        "database": "none",
        "no-shrink": True,
        "max-examples": 450,
    },
    "operations": [
        {"include-name": "POST /v1/audio/speech", "generation": {"max-examples": 1_400}},
    ],
    # Nothing that one operation makes is read by another.
    "phases": {"stateful": {"enabled": False}},
    # Voice names, the empty text and the rates of a format are refused beyond what a schema says.
    "checks": {"positive_data_acceptance": {"enabled": False}},
}

UNKNOWN_HEADER: Final = "in header - object with unexpected properties"
"""No reason to refuse: whoever does not know a header ignores it (RFC 9110, section 5.1)."""


class Run(msgspec.Struct):
    """What was sent, by phase and operation, and what was wrong with the answers."""

    num_sent: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    num_checks: Counter[str] = msgspec.field(default_factory=Counter)
    failed_checks: list[str] = msgspec.field(default_factory=list)
    answers: list[tuple[str, Interaction]] = msgspec.field(default_factory=list)

    def add(self, phase: str, recorder: ScenarioRecorder) -> None:
        """Take what one phase sent to one operation."""
        self.num_sent[phase, recorder.label] += len(recorder.interactions)
        self.answers += [(recorder.label, one) for one in recorder.interactions.values()]
        for nodes in recorder.checks.values():
            self.num_checks.update(node.name for node in nodes)
        self.failed_checks += failed_checks(recorder)


@pytest.fixture(scope="module")
def run(server: ServerProcess) -> Run:
    """All requests of the examples, coverage and fuzzing phases, sent once."""
    config = SchemathesisConfig.from_dict(CONFIG)
    schema = schemathesis.openapi.from_url(f"{server.url}/schema/openapi.json", config=config)
    found = Run()
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                found.add(event.phase.value, event.recorder)
            case events.NonFatalError():
                found.failed_checks.append(f"{event.label}: {event.value!r}")
            case events.FatalError():
                raise event.exception
            case _:
                pass
    return found


def failed_checks(recorder: ScenarioRecorder) -> Iterator[str]:
    """Each failed check with the command that repeats its request."""
    for nodes in recorder.checks.values():
        for node in nodes:
            if node.status is not Status.SUCCESS:
                info = node.failure_info
                why = f"{info.failure.message}\n{info.code_sample}" if info else "the check crashed"
                if UNKNOWN_HEADER not in why:
                    yield f"{recorder.label}: {node.name}: {why}"


def body_of(answer: Interaction) -> bytes:
    assert answer.response is not None, f"no answer to {answer.request.uri}"
    return answer.response.content or b""


def status_of(answer: Interaction) -> int:
    assert answer.response is not None, f"no answer to {answer.request.uri}"
    return answer.response.status_code


def test_enough_requests_of_all_phases_reach_all_operations(
    run: Run, server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = httpx.get(f"{server.url}/schema/openapi.json").json()["paths"]
    by_phase: Counter[str] = Counter()
    for (phase, _), number in run.num_sent.items():
        by_phase[phase] += number
    with capsys.disabled():
        print(f"\nopenapi: {run.num_sent.total()} requests, {dict(by_phase)}")
    assert run.num_sent.total() >= MIN_REQUESTS
    assert all(by_phase[phase] for phase in ("examples", "coverage", "fuzzing"))
    assert {label for (_, label), number in run.num_sent.items() if number} == {
        f"{method.upper()} {path}" for path, methods in paths.items() for method in methods
    }


def test_every_answer_is_as_the_schema_describes_it(run: Run) -> None:
    assert not run.failed_checks, "\n\n".join(run.failed_checks[:5])
    assert run.num_checks["not_a_server_error"] == run.num_sent.total()
    for name in (
        "status_code_conformance", "content_type_conformance", "response_schema_conformance",
        "response_headers_conformance", "negative_data_rejection", "unsupported_method",
    ):  # fmt: skip
        assert run.num_checks[name] > MIN_REQUESTS // 2, name


def test_no_answer_is_a_failure_of_the_server(run: Run) -> None:
    failures = [(label, one.request.body) for label, one in run.answers if status_of(one) >= 500]
    assert not failures, failures[:5]


def test_no_answer_shows_a_traceback(run: Run) -> None:
    shown = [one.request.body for _, one in run.answers if b"Traceback" in body_of(one)]
    assert not shown, shown[:5]


def test_every_error_has_openais_body(run: Run) -> None:
    errors = [one for _, one in run.answers if status_of(one) >= 400]
    bodies = [body_of(one) for one in errors if one.request.method != "HEAD"]
    assert len(bodies) > MIN_REQUESTS // 4
    for body in bodies:
        assert_is_openai_error(body)
