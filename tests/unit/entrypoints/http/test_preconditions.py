"""Which headers count, after RFC 9110, sections 13.2.2 and 14."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.http import http_date

from app.entrypoints.http.errors import HttpError
from app.entrypoints.http.files import ByteRange, choose_span
from app.ports.audio_store import StoredAudio


class TaggedAudio(StoredAudio, frozen=True):
    version = "tag"


MODIFIED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FILE = TaggedAudio("speech_1.wav", 100, MODIFIED.replace(microsecond=678))
WHOLE = ByteRange(0, 100)
THEN = http_date(MODIFIED)
BEFORE = http_date(MODIFIED - timedelta(seconds=1))
AFTER = http_date(MODIFIED + timedelta(seconds=1))


def test_without_headers_the_file_is_sent_whole() -> None:
    assert choose_span({}, FILE) == WHOLE


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("bytes=0-0", 0, 1), ("bytes=0-", 0, 100), ("bytes=0-99", 0, 100), ("bytes=99-", 99, 100),
        ("bytes=10-19", 10, 20), ("bytes=90-500", 90, 100), ("bytes=-1", 99, 100),
        ("bytes=-100", 0, 100), ("bytes=-5000", 0, 100), ("bytes=0-" + "9" * 300, 0, 100),
        ("BYTES=1-2", 1, 3), ("bytes= 1 - 2 ", 1, 3),
    ],
)  # fmt: skip
def test_one_range_is_sent_as_a_part(value: str, start: int, end: int) -> None:
    assert choose_span({"range": value}, FILE) == ByteRange(start, end, is_partial=True)


@pytest.mark.parametrize(
    "value",
    [
        "", "bytes", "bytes=", "bytes=abc", "bytes=-", "bytes=5-3", "bytes=--5", "bytes=1-2-3",
        "bytes=0x1-2", "bytes=1.5-2", "items=-0", "items=0-1", "0-1", "bytes 0-1", "bytes=\u0661-2",
        "bytes=0-0,2-3", "bytes=0-0, -1", ",".join(["bytes=0-0", *["1-1"] * 1000]),
        "bytes=" + "9" * 5000 + "-", "bytes=+1-2", "bytes=1_0-20",
    ],
)  # fmt: skip
def test_several_ranges_and_other_words_are_answered_with_the_whole_file(value: str) -> None:
    assert choose_span({"range": value}, FILE) == WHOLE


@pytest.mark.parametrize(
    "value",
    ["bytes=100-", "bytes=100-100", "bytes=" + "9" * 300 + "-", "bytes=-0", "Bytes = -00 "],
)
def test_a_range_without_a_byte_of_the_file_cannot_be_satisfied(value: str) -> None:
    with pytest.raises(HttpError) as caught:
        choose_span({"range": value}, FILE)
    assert caught.value.code == "range_not_satisfiable"
    assert caught.value.headers == {"content-range": "bytes */100"}


def test_an_empty_file_has_no_ranges() -> None:
    empty = TaggedAudio("speech_1.wav", 0, MODIFIED)
    assert choose_span({"range": "bytes=-5"}, empty) == ByteRange(0, 0)
    with pytest.raises(HttpError) as caught:
        choose_span({"range": "bytes=0-"}, empty)
    assert caught.value.code == "range_not_satisfiable"


@pytest.mark.parametrize(
    ("condition", "is_partial"),
    [
        ('"tag"', True), (THEN, True), ('"other"', False), ('W/"tag"', False), (BEFORE, False),
        (AFTER, False), ("", False), ("nonsense", False), ('"tag", "other"', False), ("*", False),
    ],
)  # fmt: skip
def test_a_range_is_sent_only_of_the_exact_state_it_is_for(
    condition: str,
    is_partial: bool,  # noqa: FBT001
) -> None:
    span = choose_span({"range": "bytes=0-9", "if-range": condition}, FILE)
    assert span == (ByteRange(0, 10, is_partial=True) if is_partial else WHOLE)


def test_a_range_beyond_the_end_of_another_state_is_the_whole_file() -> None:
    assert choose_span({"range": "bytes=500-", "if-range": '"other"'}, FILE) == WHOLE


def test_a_condition_on_a_range_without_a_range_is_nothing() -> None:
    assert choose_span({"if-range": '"other"'}, FILE) == WHOLE


KNOWN = [
    {"if-none-match": '"tag"'},
    {"if-none-match": 'W/"tag"'},
    {"if-none-match": '"a", W/"b", "tag"'},
    {"if-none-match": "*"},
    {"if-modified-since": THEN},
    {"if-modified-since": AFTER},
    {"if-none-match": '"tag"', "if-modified-since": BEFORE},
    {"if-none-match": '"tag"', "range": "bytes=500-"},
    {"if-match": '"tag"', "if-none-match": '"tag"'},
]


@pytest.mark.parametrize("headers", KNOWN)
def test_what_the_client_has_already_is_not_sent(headers: dict[str, str]) -> None:
    assert choose_span(headers, FILE) is None


NEW = [
    {"if-none-match": '"other"'},
    {"if-none-match": '"tag'},
    {"if-none-match": ""},
    {"if-none-match": ",,, ,"},
    {"if-modified-since": BEFORE},
    {"if-modified-since": "yesterday"},
    {"if-modified-since": ""},
    {"if-none-match": '"other"', "if-modified-since": AFTER},
    {"if-match": '"tag"'},
    {"if-match": '"a", "tag"'},
    {"if-match": "*"},
    {"if-match": '"tag"', "if-unmodified-since": BEFORE},
    {"if-unmodified-since": THEN},
    {"if-unmodified-since": AFTER},
    {"if-unmodified-since": "yesterday"},
]


@pytest.mark.parametrize("headers", NEW)
def test_what_the_client_does_not_have_is_sent(headers: dict[str, str]) -> None:
    assert choose_span(headers, FILE) == WHOLE


@pytest.mark.parametrize(
    "headers",
    [
        {"if-match": '"other"'},
        {"if-match": 'W/"tag"'},
        {"if-match": ""},
        {"if-match": '"other"', "if-unmodified-since": AFTER},
        {"if-match": '"other"', "if-none-match": '"tag"'},
        {"if-match": '"other"', "range": "bytes=500-"},
        {"if-unmodified-since": BEFORE},
    ],
)
def test_a_request_for_another_state_fails(headers: dict[str, str]) -> None:
    with pytest.raises(HttpError) as caught:
        choose_span(headers, FILE)
    assert caught.value.code == "precondition_failed"


NAMES = ["range", "if-range", "if-match", "if-none-match", "if-modified-since",
         "if-unmodified-since"]  # fmt: skip
PIECES = ['"', "W/", "tag", ",", " ", "*", "bytes=", "-", "0", "99", "=", THEN, "\xff", "GMT", ":"]
VALUES = st.one_of(
    st.text(st.characters(max_codepoint=255)), st.lists(st.sampled_from(PIECES)).map("".join)
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
@example({"if-range": "Thu, 01 Jan 99999 00:00:00 GMT", "range": "bytes=0-"})
@example({"if-modified-since": "Thu, 31 Feb 2026 00:00:00 -9999"})
def test_any_headers_have_a_defined_answer_within_the_file(headers: dict[str, str]) -> None:
    try:
        span = choose_span(headers, FILE)
    except HttpError as error:
        if error.code not in {"precondition_failed", "range_not_satisfiable"}:
            raise
        return
    assert span is None or 0 <= span.start < span.end <= FILE.num_bytes
    assert span in {None, WHOLE} or "range" in headers
