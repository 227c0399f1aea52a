"""Parsing requests with h11, and the limits and rules for their heads that h11 does not have."""

import re
from dataclasses import replace
from typing import Any, Final

import h11

from app.domain.errors import SpeechError
from app.entrypoints.http.errors import HttpError

# Of the request line and all headers. h11 has this limit for a head that comes in parts, and none
# for one that comes at once.
MAX_HEAD_BYTES: Final = 16_384

MAX_TARGET_BYTES: Final = 8_192  # path and query; RFC 9110, section 4.1, asks for 8000 at least
MAX_HEADERS: Final = 100  # of one request; browsers send about twenty, and a proxy adds a few
HEAD: Final = b"HEAD "  # start of a request whose answer has no body
HTTP_VERSIONS: Final = (b"1.0", b"1.1")

# Chunks of fewer bytes in one body. Each takes some 10 us to parse, as a large one does: six bytes
# on the wire would cost as much as four thousand.
SMALL_CHUNK_BYTES: Final = 64
MAX_SMALL_CHUNKS: Final = 1_024

_EMPTY_LINES = re.compile(rb"(\r?\n)+")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([^#]*)", re.IGNORECASE)
_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\n[ \t]")
_REQUEST_LINE = re.compile(rb"[^ ]+ [^ ]+ HTTP/([0-9]+(?:\.[0-9]+)?)\r?")


class FaultyHeadError(h11.RemoteProtocolError):
    """A head that h11 would accept and we do not; `error` says why."""

    def __init__(self, error: SpeechError) -> None:
        super().__init__(str(error))
        self.error = error


class RequestReader(h11.Connection):
    """h11, with a check of each head before it is parsed, and a limit on small chunks.

    A path below `root_path` is taken without it.
    """

    def __init__(self, root_path: bytes = b"") -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self._root_path = root_path
        self.is_head = False  # the last request that has begun, even if it cannot be parsed
        self.has_length = False  # the length of its body was announced
        self.num_body_bytes = 0  # so far
        self._num_small_chunks = 0

    def next_event(self) -> Any:
        """As h11 says; raises FaultyHeadError as well."""
        if self.their_state is h11.IDLE:
            self.num_body_bytes = self._num_small_chunks = 0
            if lines := _EMPTY_LINES.match(self.trailing_data[0]):  # RFC 9112, section 2.2
                self._receive_buffer.maybe_extract_at_most(lines.end())
            received = self.trailing_data[0]
            if received == b"\r":  # maybe of one more empty line
                return h11.NEED_DATA
            self.is_head = received.startswith(HEAD)
            if error := find_fault(received):
                raise FaultyHeadError(error)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.has_length = any(name == b"content-length" for name, _ in event.headers)
            return self._without_prefix(_without_authority(event))
        if isinstance(event, h11.Data):
            self.num_body_bytes += len(event.data)
            self._num_small_chunks += len(event.data) < SMALL_CHUNK_BYTES
            if self._num_small_chunks > MAX_SMALL_CHUNKS:
                self._process_error(self.their_role)
                raise h11.RemoteProtocolError("too many small chunks", error_status_hint=400)
        return event

    def _without_prefix(self, request: h11.Request) -> h11.Request:
        root_path, target = self._root_path, request.target
        rest = target.removeprefix(root_path)
        if rest == target or rest[:1] not in (b"", b"/", b"?"):
            return request
        return replace(request, target=rest if rest.startswith(b"/") else b"/" + rest)


def _without_authority(request: h11.Request) -> h11.Request:
    """A name in the target, as proxies send it, replaces `Host` (RFC 9112, section 3.2.2)."""
    target = _ABSOLUTE.fullmatch(request.target)
    if target is None:
        return request
    path = target[2] if target[2].startswith(b"/") else b"/" + target[2]
    headers = [(b"host", target[1]), *(pair for pair in request.headers if pair[0] != b"host")]
    version = request.http_version
    return h11.Request(method=request.method, target=path, headers=headers, http_version=version)


def find_fault(received: bytes) -> SpeechError | None:
    """Why a request whose head has come, maybe in part, is refused before it is parsed; or None."""
    end = _END.search(received)
    head = received[: end.end()] if end else received
    line, line_end, _ = head.partition(b"\n")
    target = line.partition(b" ")[2].partition(b" ")[0]
    if len(target) > MAX_TARGET_BYTES:
        return HttpError("uri_too_long")
    num_headers = head.count(b"\n") - 2  # without the request line and the empty one
    if len(head) > MAX_HEAD_BYTES or num_headers > MAX_HEADERS:
        return HttpError("headers_too_large")
    request_line = _REQUEST_LINE.fullmatch(line) if line_end else None
    if request_line is not None and request_line[1] not in HTTP_VERSIONS:
        return HttpError("http_version_not_supported")
    # RFC 9112, section 5.2: a server in front may read a folded header in another way.
    return HttpError("invalid_http") if _FOLD.search(head) else None
