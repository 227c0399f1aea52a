"""Heads that come at once and in parts, and what is wrong with them."""

import h11
import pytest

from app.entrypoints.http.request_headers import RequestReader, find_fault

HEAD = b"GET /health/live HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n"


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_no_part_of_a_plain_head_is_at_fault_whatever_follows_it(end: bytes) -> None:
    head = HEAD.replace(b"\r\n", end)
    for size in range(len(head) + 1):
        assert find_fault(head[:size]) is None
    assert find_fault(head + b"\n folded\n" * 200 + b"a" * 100_000) is None


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b"1.1", b"1.0", None),
        (b"1.1", b"2", "http_version_not_supported"),
        (b"1.1", b"1.10", "http_version_not_supported"),
        (b"1.1", b"11.1", "http_version_not_supported"),
        (b"HTTP/1.1", b"HTCPCP/1.0", None),  # h11 refuses it
        (b"b", b"b\r\n c", "invalid_http"),
        (b"b", b"b\r\n\tc", "invalid_http"),
        (b"1.1\r\n", b"1.1\r\n c: d\r\n", "invalid_http"),
        (b"/health/live", b"/" + b"a" * 8_191, None),
        (b"/health/live", b"/" + b"a" * 8_192, "uri_too_long"),
        (b"b", b"b" * (16_385 - len(HEAD)), None),
        (b"b", b"b" * (16_386 - len(HEAD)), "headers_too_large"),
        (b"X: b\r\n", b"X: b\r\n" * 99, None),
        (b"X: b\r\n", b"X: b\r\n" * 100, "headers_too_large"),
    ],
)
def test_the_fault_of_a_head_is_found(old: bytes, new: bytes, error: str | None) -> None:
    fault = find_fault(HEAD.replace(old, new, 1))
    assert (fault and fault.code) == error


@pytest.mark.parametrize(
    ("begun", "error"),
    [
        (b"GET /" + b"a" * 8_192, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 16_384, "headers_too_large"),
        (b"GET / HTTP/3.0\r\n", "http_version_not_supported"),
        (b"GET / HTTP/1.1\r\nX: a\r\n b", "invalid_http"),
    ],
)
def test_a_fault_is_found_before_the_head_is_whole(begun: bytes, error: str) -> None:
    fault = find_fault(begun)
    assert fault is not None
    assert fault.code == error


def read(*parts: bytes, root_path: bytes = b"") -> list[h11.Event | type[h11.NEED_DATA]]:
    """The event after each part."""
    reader = RequestReader(root_path)
    events = []
    for part in parts:
        reader.receive_data(part)
        events.append(reader.next_event())
    return events


@pytest.mark.parametrize("lines", [b"\r\n", b"\n", b"\r\n\r\n\n"])
def test_empty_lines_before_a_request_are_ignored_in_whatever_parts_they_come(lines: bytes) -> None:
    whole = lines + HEAD
    for size in range(1, len(whole)):
        *_, event = read(whole[:size], whole[size:])
        assert isinstance(event, h11.Request)
        assert event.target == b"/health/live"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/tts/health", b"/health"),
        (b"/tts", b"/"),
        (b"/tts?a=/b", b"/?a=/b"),
        (b"/ttss/health", b"/ttss/health"),
        (b"/health/tts", b"/health/tts"),
        (b"http://localhost/tts/health", b"/health"),
        (b"/tts/tts/health", b"/tts/health"),
    ],
)
def test_the_path_that_a_proxy_leaves_is_removed_once(target: bytes, path: bytes) -> None:
    head = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    (event,) = read(head, root_path=b"/tts")
    assert isinstance(event, h11.Request)
    assert event.target == path
    (event,) = read(head)
    assert isinstance(event, h11.Request)
    assert event.target == target.removeprefix(b"http://localhost")


@pytest.mark.parametrize("line", [b"\r", b"\r\r\n", b" \r\n"])
def test_what_is_not_quite_an_empty_line_is_refused(line: bytes) -> None:
    with pytest.raises(h11.RemoteProtocolError):
        read(line + HEAD)


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"http://b:80/health/live?x=/", b"/health/live?x=/", b"b:80"),
        (b"HTTPS://[::1]", b"/", b"[::1]"),
        (b"http://b?x", b"/?x", b"b"),
        (b"http:///health/live", b"http:///health/live", b"a"),
        (b"ftp://b/", b"ftp://b/", b"a"),
        (b"/http://b/", b"/http://b/", b"a"),
    ],
)
def test_the_host_in_a_target_replaces_the_header(target: bytes, path: bytes, host: bytes) -> None:
    (event,) = read(HEAD.replace(b"/health/live", target))
    assert isinstance(event, h11.Request)
    assert event.target == path
    assert sorted(event.headers) == [(b"host", host), (b"x", b"b")]
