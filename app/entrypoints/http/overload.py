"""Requests for speech that find no place, answered from the first bytes of their head.

At many times the load that can be served nearly every request ends here, so it must cost next to
nothing: no parser, no framework, no log event of its own, and a body that is not read. What this is
not sure of takes the ordinary way, and gets the same answer there.
"""

import os
import re
from dataclasses import dataclass
from typing import Final

import structlog

from app.domain.errors import ServerOverloadedError
from app.domain.services.access_control import AccessControl
from app.domain.services.admission import Admission
from app.entrypoints.http.errors import encode_answer
from app.ports.telemetry import RequestObserver, RequestReport

SPEECH_PATH: Final = "/v1/audio/speech"

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d{1,9})\r\n", re.IGNORECASE)
_KEY: Final = re.compile(rb"\r\nauthorization: *bearer +([!-~]+)(?=\r\n)", re.IGNORECASE)
_ORIGIN: Final = re.compile(rb"\r\norigin:", re.IGNORECASE)  # pages need headers of CORS, too
_REQUEST_ID: Final = re.compile(rb"\r\nx-request-id: *([A-Za-z0-9._:-]{1,128})\r\n", re.IGNORECASE)

REFUSAL: Final = RequestReport(method="POST", route=SPEECH_PATH, status=503, duration_s=0.0)

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class OverloadCheck:
    """Rejects requests before they are parsed, while there is no place for any of them."""

    access: AccessControl
    admission: Admission
    observer: RequestObserver
    root_path: str = ""  # which a proxy may leave before the path
    _num_refused: int = 0

    def __post_init__(self) -> None:
        paths = {SPEECH_PATH, self.root_path + SPEECH_PATH}
        self._starts = tuple(f"POST {path} HTTP/1.1\r\n".encode() for path in paths)

    def report(self) -> None:
        """Tell how many requests were refused since the last time; called about every second."""
        if self._num_refused:
            for _ in range(self._num_refused):
                self.observer.request_ended(REFUSAL)
            self.observer.refused_unread(ServerOverloadedError.code, self._num_refused)
            _log.warning("server.overloaded", num_refused=self._num_refused)
            self._num_refused = 0

    def answer(self, data: bytes, *headers: tuple[bytes, bytes]) -> bytes | None:
        """The answer, with `headers`, to a request that begins with `data`, or None.

        It is the last one on its connection: the head is not parsed, so that nobody knows for sure
        where the next request would begin.
        """
        head, end, _ = data.partition(_HEAD_END)
        if not end or not data.startswith(self._starts) or _ORIGIN.search(head):
            return None
        head += b"\r\n"
        keys = _KEY.findall(head)
        caller = self.access.recognize(keys[0].decode("latin-1") if len(keys) == 1 else None)
        if caller is None:
            return None
        try:
            self.admission.check(caller.name)
        except ServerOverloadedError as error:
            self._num_refused += 1
            own = _REQUEST_ID.search(head)
            request_id = own[1] if own else os.urandom(16).hex().encode()
            more = (b"x-request-id", request_id), (b"connection", b"close")
            return encode_answer(error, *headers, *more)
        return None


def has_whole_body(data: bytes) -> bool:
    """Whether a request that begins with `data` also ends with it."""
    head, _, body = data.partition(_HEAD_END)
    length = _LENGTH.search(head + b"\r\n")
    return length is not None and int(length[1]) == len(body)
