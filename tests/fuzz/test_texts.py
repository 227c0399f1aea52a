"""Any text that is not too long can be spoken."""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import av
import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from app.domain.audio import PCM_SAMPLE_RATE
from app.domain.speech import MAX_SPEED, MIN_SPEED
from tests.examples import examples
from tests.fuzz.expectations import TOKEN, assert_is_openai_error
from tests.serving import ServerProcess

MAX_CHARS: Final = 4_096

ANSWER_TIMEOUT_S: Final = 60.0
"""A long text takes some seconds on a busy machine; more than this is a runaway."""

BATCH: Final = 5
"""Requests in flight at once."""

FRAGMENTS: Final = (
    # markup
    "<speak>Hi <break time='9999s'/></speak>", '<voice name="x">', "<script>alert(1)</script>",
    "<!-- ", "]]>", "&amp;&lt;&#0;", "[word](/wɜːd/)", "](", "[](", "(/", "/)", "{{x}}", "${x}",
    "%s%n%d", "# Title", "**bold** _it_ `code`", "```py\nx = 1\n```", "| a | b |\n|---|---|",
    "- one\n- two", "![i](http://a/b.png)", "\\frac{a}{b}", "$x^2$",
    # tokens of models
    "[START]", "[STOP]", "<|endoftext|>", "<s></s>", "[INST]", "<unk>", "<pad>", "[UNK]", "\x00",
    # numbers
    "0", "-0", "1e999999", "1" * 60, "0.1.2.3", "1,2,3,4", "1,000,000", "$-5", "€3.50", "50%",
    "1/0", "½", "²³", "MMMMCMXCIX", "12:61", "32/13/2024", "1990s", "1st 2nd 3th", "NaN", "inf",
    "0x1F", "१२३", "٣٤", "１２", "①", "#1", "+1 (555) 010-9999", "3:00pm", "1-2-3", "°C", "10km/h",
    # addresses and abbreviations
    "https://user:pw@example.com:80/a?b=c&d=%20#e", "a@b.co", "C:\\x\\y.txt", "../../etc/passwd",
    "Dr. Mr. Mrs. St. e.g. i.e.", "U.S.A.", "A.B.C.", "I'm can't o'clock", "COVID-19", "i18n",
    # writing systems
    "你好，世界。", "こんにちは", "안녕", "Привет", "مرحبا", "שלום", "नमस्ते", "สวัสดี", "ქართული",
    "𓀀𓂀", "𝔘𝔫𝔦", "ﷺ", "ﬁ", "ß", "İı", "Ǆ", "e\u0301", "a" + "\u0300" * 40,
    "Z\u0351\u0352\u0363\u0489",
    # invisible
    "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u202e", "\u2066", "\u2069", "\u061c",
    "\ufff9", "\ufffd", "\uffff", "\U0010ffff", "\ue000", "\x1b[31m", "\x7f", "\x85", "\u2028",
    # emoji and marks
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "☃", "♥", "…", "—", "«»", "“”", "'", '"', "!?!?!?", "....", "---", "~",
    "^",
    # words
    "the", "buffalo", "pneumonoultramicroscopicsilicovolcanoconiosis", "a", "I", "xyzzy", "bcdfg",
)  # fmt: skip

CLASSES: Final = (
    st.characters(codec="utf-8"),
    st.characters(min_codepoint=0x10000, exclude_categories=["Cs"]),
    st.characters(categories=["Cc", "Cf"]),
    st.characters(categories=["Nd", "Nl", "No"]),
    st.characters(categories=["Mn", "Me", "Mc"]),
    st.characters(categories=["Sm", "Sc", "Sk", "So"]),
    st.characters(categories=["Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"]),
    st.characters(categories=["Zs", "Zl", "Zp"]),
    st.characters(categories=["Co", "Cn"]),
    st.characters(min_codepoint=0x590, max_codepoint=0x8FF),
    st.sampled_from("0123456789.,:/-+%$ "),
    st.sampled_from("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'- "),
)


def is_small(part: str) -> bool:
    return len(part) < 12


RUNS: Final = st.sampled_from(CLASSES).flatmap(
    lambda chars: st.text(chars, min_size=1, max_size=24)
)
NASTY: Final = st.sampled_from(FRAGMENTS)
REPEATED: Final = st.builds(lambda part, n: part * n, NASTY.filter(is_small), st.integers(2, 6))

SHORT_TEXTS: Final = st.builds(
    lambda glue, parts: glue.join(parts),
    st.sampled_from(["", " ", ". ", "\n"]),
    st.lists(st.one_of(RUNS, NASTY, REPEATED, st.just(TOKEN)), min_size=1, max_size=3),
)


class Ask(msgspec.Struct, frozen=True):
    """A request for speech."""

    input: str
    response_format: str = "pcm"
    speed: float | None = None
    stream: bool | None = None

    def body(self, *, is_ascii: bool = False) -> bytes:
        """As JSON; the characters beyond ASCII escaped or not."""
        return json.dumps(msgspec.to_builtins(self), ensure_ascii=is_ascii).encode()


ASKS: Final = st.builds(
    Ask,
    SHORT_TEXTS,
    st.sampled_from(["pcm", "mp3"]),
    st.one_of(
        st.none(), st.floats(MIN_SPEED, MAX_SPEED), st.sampled_from([MIN_SPEED, 1.0, MAX_SPEED])
    ),
    st.sampled_from([None, True, False]),
)

LONG_TEXTS: Final = {
    "sentences": f"The {TOKEN} runs over the hill, and then it sleeps. ",
    "one word": "a",
    "repeated word": "buffalo ",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u0639\u0627\u0644\u0645 ",
    "line breaks": "a\n",
    "combining marks": "\u0301",
    "zero-width": "\u200b",
    "commas": ",",
    "brackets": "](",
    "emoji": "\u2603\ufe0f\u200d",
    "nothing but spaces": " ",
}
"""What texts of 4096 characters are made of."""


class Client:
    """Asks the server for speech."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def post(self, content: bytes) -> httpx.Response:
        """The answer to one body."""
        headers = {"content-type": "application/json"}
        return self._http.post("/v1/audio/speech", content=content, headers=headers)


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Client]:
    with httpx.Client(base_url=server.url, timeout=ANSWER_TIMEOUT_S) as http:
        yield Client(http)


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(BATCH) as executor:
        yield executor


def seconds_of_audio(ask: Ask, audio: bytes) -> float:
    """Playing time of an answer without container, or in MP3."""
    if ask.response_format == "pcm":
        assert len(audio) % 2 == 0, ask
        return len(audio) / 2 / PCM_SAMPLE_RATE
    with av.open(io.BytesIO(audio), "r") as container:
        frames = list(container.decode(container.streams.audio[0]))
    return sum(frame.samples for frame in frames) / frames[0].sample_rate


def assert_is_spoken(ask: Ask, answer: httpx.Response) -> None:
    assert answer.status_code == 200, (ask, answer.text)
    assert answer.content, ask
    assert b"Traceback" not in answer.content, ask
    assert seconds_of_audio(ask, answer.content) > 0, ask


GENERATED: Final = settings(
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)


@settings(GENERATED, max_examples=examples(340))
@given(batch=st.lists(ASKS, min_size=BATCH, max_size=BATCH), is_ascii=st.booleans())
def test_every_text_is_spoken(
    client: Client, threads: ThreadPoolExecutor, batch: list[Ask], *, is_ascii: bool
) -> None:
    answers = threads.map(client.post, [ask.body(is_ascii=is_ascii) for ask in batch])
    for ask, answer in zip(batch, answers, strict=True):
        assert_is_spoken(ask, answer)


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=ascii)
def test_every_fragment_is_spoken_alone_and_within_a_sentence(
    client: Client, fragment: str
) -> None:
    for text in (fragment, f"The {fragment}{TOKEN} is here."):
        ask = Ask(text)
        assert_is_spoken(ask, client.post(ask.body()))


@pytest.mark.parametrize("name", LONG_TEXTS)
def test_a_text_of_the_greatest_length_is_spoken_in_bounded_time(client: Client, name: str) -> None:
    ask = Ask((LONG_TEXTS[name] * MAX_CHARS)[:MAX_CHARS], speed=MAX_SPEED)
    assert len(ask.input) == MAX_CHARS
    assert_is_spoken(ask, client.post(ask.body()))


def test_hundreds_of_digits_are_spoken_in_bounded_time(client: Client) -> None:
    ask = Ask("7" * 300, "mp3")
    assert_is_spoken(ask, client.post(ask.body()))


@settings(GENERATED, max_examples=examples(60))
@given(
    before=st.text(max_size=5),
    half=st.characters(categories=["Cs"]),
    after=st.text(max_size=5),
)
def test_half_a_surrogate_pair_is_refused(
    client: Client, before: str, half: str, after: str
) -> None:
    escaped = client.post(Ask(before + half + after).body(is_ascii=True))
    raw = client.post(b'{"input":"%s"}' % half.encode("utf-8", "surrogatepass"))
    for answer in (escaped, raw):
        assert answer.status_code == 400
        assert_is_openai_error(answer.content)
