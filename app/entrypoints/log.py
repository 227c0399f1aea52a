"""Logging, configured once: events with fields on standard error, JSON or readable."""

import json
import logging
import os
import stat
import sys
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog
from structlog.types import EventDict, Processor

from app.entrypoints.settings import LogSettings

CHATTY_LIBRARIES: Final = ("uvicorn", "httpx", "httpx2", "huggingface_hub", "asyncio", "websockets")
"""Loggers whose informational messages repeat our own events, or show headers, and so keys."""

LOGGED_BY_US: Final = (
    "ASGI callable returned without completing response.",  # a stream that was cut
    "ASGI callable returned without completing handshake.",  # a socket that was refused
    "Invalid HTTP request received.",
    "socket.send() raised exception.",  # for each message to a client that has left
)
"""What libraries say of it."""

TRACES: Final = ("exception", "exc_info", "stack")
"""Fields of several lines."""


def configure_logging(settings: LogSettings) -> None:
    """Send structlog's events and those of libraries to standard error in one format."""
    is_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    # Tracebacks are without the values of variables: one of them is the text that is spoken.
    renderers: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if is_json:
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        renderers += [
            structlog.processors.ExceptionRenderer(tracebacks),
            structlog.processors.JSONRenderer(serializer=_encode),
        ]
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        renderers += [_escape, console]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _name_library_event], processors=renderers
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in CHATTY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).filters[:] = [
            lambda record: record.getMessage() not in LOGGED_BY_US
        ]


def never_wait() -> None:
    """Lose lines, rather than stop all work, while nobody reads the pipe that they go to."""
    with suppress(OSError):
        descriptor = sys.stderr.fileno()
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.set_blocking(descriptor, False)
    logging.raiseExceptions = False


def _encode(event: EventDict, **_: Any) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=str).decode()
    except UnicodeEncodeError:  # a path whose name is no text
        return json.dumps(event, default=str)


def _escape(_: Any, __: str, event: EventDict) -> EventDict:
    """What clients send must not move the cursor of a reader of the log, or more."""
    for name, value in event.items():
        if isinstance(value, str) and name not in TRACES and not value.isprintable():
            event[name] = "".join(
                char if char.isprintable() else char.encode("unicode_escape").decode()
                for char in value
            )
    return event


def _name_library_event(_: Any, __: str, event: EventDict) -> EventDict:
    """A library's free text becomes a field of one event, so that events stay countable."""
    record = event.get("_record")
    event["logger"] = record.name if record is not None else None
    event["message"] = event["event"]
    event["event"] = "library.message"
    return event
