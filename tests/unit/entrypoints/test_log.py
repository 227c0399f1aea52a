import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from app.entrypoints.log import configure_logging
from app.entrypoints.settings import LogSettings


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_events_are_json_lines_with_level_time_and_bound_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(LogSettings(format="json"))
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("x").info("speech.ended", audio_s=1.5)
    (event,) = events(capsys)
    assert event["event"] == "speech.ended"
    assert event["level"] == "info"
    assert event["request_id"] == "r1"
    assert event["audio_s"] == 1.5
    assert str(event["timestamp"]).endswith("Z")


def test_a_librarys_message_is_one_kind_of_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(format="json"))
    logging.getLogger("some.library").warning("%d things", 3)
    (event,) = events(capsys)
    assert event["event"] == "library.message"
    assert (event["logger"], event["message"]) == ("some.library", "3 things")


def test_what_we_log_ourselves_is_not_said_by_a_library_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(LogSettings(format="json"))
    logging.getLogger("asyncio").warning("socket.send() raised exception.")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("asyncio").warning("something else")
    (event,) = events(capsys)
    assert event["message"] == "something else"


def test_what_is_no_text_is_logged_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(format="json"))
    structlog.get_logger("x").info("opened", path="a\udcff")
    (event,) = events(capsys)
    assert event["path"] == "a\udcff"


def test_an_exception_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(format="json"))
    structlog.get_logger("x").error("http.failed", exc_info=ValueError("bad"))
    (event,) = events(capsys)
    assert "bad" in json.dumps(event["exception"])


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_never_shows_the_values_of_variables(
    capsys: pytest.CaptureFixture[str], log_format: Literal["json", "console"]
) -> None:
    configure_logging(LogSettings(format=log_format))

    def speak(text: str) -> None:
        raise RuntimeError(len(text))

    try:
        speak("a " + "private"[:7] * 2 + " matter")
    except RuntimeError as error:
        structlog.get_logger("x").error("http.failed", exc_info=error)
    text = capsys.readouterr().err
    assert "RuntimeError" in text
    assert "privateprivate" not in text


def test_the_level_is_a_floor(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(format="json", level="warning"))
    structlog.get_logger("x").info("too.quiet")
    structlog.get_logger("x").warning("loud.enough")
    assert [event["event"] for event in events(capsys)] == ["loud.enough"]


def test_the_console_format_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(format="console"))
    structlog.get_logger("x").info("server.listening", url="http://127.0.0.1:8000")
    text = capsys.readouterr().err
    assert "server.listening" in text
    assert "url=http://127.0.0.1:8000" in text


def test_what_a_client_sends_does_not_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(format="console"))
    structlog.get_logger("x").info("http.request", path="/\x1b]0;mine\x07\u00e9")
    text = capsys.readouterr().err
    assert "/\\x1b]0;mine\\x07\u00e9" in text
    assert "\x07" not in text
