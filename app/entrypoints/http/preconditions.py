"""What part of a file a request wants, and whether it wants it now (RFC 9110, sections 13 and 14).

Headers are parsed by werkzeug; which of them counts is decided here. Knows nothing of files.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from werkzeug.http import parse_date, parse_etags, parse_range_header, unquote_etag

from app.entrypoints.http.errors import PreconditionFailedError, RangeNotSatisfiableError

# The last 0 bytes: a valid range that cannot be satisfied (RFC 9110, section 14.1.2), which
# werkzeug takes for an invalid one.
_LAST_NOTHING: Final = re.compile(r"\s*bytes\s*=\s*-0+\s*", re.ASCII | re.IGNORECASE)


class Validators(msgspec.Struct, frozen=True):
    """The state of a file."""

    etag: str  # strong, without quotes
    last_modified: datetime  # UTC, in whole seconds
    num_bytes: int


class ByteRange(msgspec.Struct, frozen=True):
    """The bytes to be sent, from `start` up to but not including `end`."""

    start: int
    end: int
    is_partial: bool = False  # they are the range that was asked for, even if that is all


def choose_span(headers: Mapping[str, str], file: Validators) -> ByteRange | None:
    """The part of `file` that a request wants; None is nothing, it has that state already (304).

    `headers` are by lower-case name; several lines of one name are joined by commas.

    Raises:
        PreconditionFailedError: the request is for another state of the file.
        RangeNotSatisfiableError: the range begins beyond the end, or is the last 0 bytes.
    """
    if _is_for_another_state(headers, file):
        raise PreconditionFailedError
    if _is_known(headers, file):
        return None
    header = headers.get("range")
    if header is None or not _may_be_partial(headers.get("if-range"), file):
        return ByteRange(0, file.num_bytes)
    if _LAST_NOTHING.fullmatch(header):
        raise RangeNotSatisfiableError(file.num_bytes)
    asked = parse_range_header(header)
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return ByteRange(0, file.num_bytes)  # several ranges, or a malformed header
    start, end = asked.ranges[0]
    if start < 0:  # so many of the last bytes; an empty file has none that a range could name
        return ByteRange(
            max(0, file.num_bytes + start), file.num_bytes, is_partial=file.num_bytes > 0
        )
    if start >= file.num_bytes:
        raise RangeNotSatisfiableError(file.num_bytes)
    return ByteRange(start, min(end or file.num_bytes, file.num_bytes), is_partial=True)


def check_change(headers: Mapping[str, str], file: Validators) -> None:
    """Raise PreconditionFailedError if a change is for another state of `file` than it has."""
    if _is_for_another_state(headers, file):
        raise PreconditionFailedError
    # If-Modified-Since is for GET and HEAD alone (RFC 9110, section 13.1.3).
    if "if-none-match" in headers and _is_known(headers, file):
        raise PreconditionFailedError


def _is_for_another_state(headers: Mapping[str, str], file: Validators) -> bool:
    if "if-match" in headers:
        return file.etag not in parse_etags(headers["if-match"])
    since = parse_date(headers.get("if-unmodified-since"))
    return since is not None and file.last_modified > since


def _is_known(headers: Mapping[str, str], file: Validators) -> bool:
    if "if-none-match" in headers:
        return parse_etags(headers["if-none-match"]).contains_weak(file.etag)
    since = parse_date(headers.get("if-modified-since"))
    return since is not None and file.last_modified <= since


def _may_be_partial(condition: str | None, file: Validators) -> bool:
    if condition is None:
        return True
    if (date := parse_date(condition)) is not None:
        return date == file.last_modified
    # A part of another state must never be joined to this one: only the exact tag will do.
    return unquote_etag(condition) == (file.etag, False)
