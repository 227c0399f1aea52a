"""The tools that measure load measure right."""

import asyncio
from pathlib import Path

import pytest

from app.domain.errors import EngineUnavailableError, SynthesisError
from app.domain.segment import TextSegment
from tests.load.checks import Check, conclude
from tests.load.exchange import SPEECH, Exchange, exchange, request_bytes
from tests.load.offer import Offer
from tests.load.overload import audio_within, num_other
from tests.load.report import quantile, summary
from tests.load.soak import slope_mb_per_min
from tests.load.texts import texts
from tests.load.watch import Sample, Watch
from tests.serving import Fakes, serving

BODY = {"input": "One one. Two two.", "response_format": "wav"}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_whole_answer_is_told_from_one_that_is_cut(*, stream: bool) -> None:
    fakes = Fakes()
    async with serving(fakes.app()) as url:
        sent = request_bytes(url, SPEECH, {**BODY, "stream": stream})
        whole, _ = await exchange(url, sent)
        assert whole.is_spoken
        assert 0 < whole.head_s <= whole.first_s <= whole.total_s
        fakes.model.fail_on = ("Two two.", SynthesisError())
        broken, _ = await exchange(url, sent)
        assert (broken.status, broken.is_spoken) == ((200, False) if stream else (500, False))
        assert broken.is_whole is not stream


async def test_a_refusal_has_its_status_and_when_to_come_back() -> None:
    fakes = Fakes()
    async with serving(fakes.app()) as url:
        fakes.model.fail_on = ("One one.", EngineUnavailableError(7))
        refused, beginning = await exchange(url, request_bytes(url, SPEECH, BODY))
    assert (refused.status, refused.retry_after_s, refused.is_whole) == (503, 7.0, True)
    assert b"engine_unavailable" in beginning


async def test_who_leaves_is_gone_and_who_finds_nobody_says_so() -> None:
    fakes = Fakes()

    async def forever(_: TextSegment) -> None:
        await asyncio.Event().wait()

    async with serving(fakes.app()) as url:
        fakes.model.before_speaking = forever
        left, _ = await exchange(url, request_bytes(url, SPEECH, BODY), leave_after_s=0.2)
        assert (left.status, left.is_spoken) == (0, False)
        while fakes.model.num_running:
            await asyncio.sleep(0.01)
    nobody, _ = await exchange(url, request_bytes(url, SPEECH, BODY))
    assert nobody.problem


async def test_listeners_ask_until_the_end_and_arrivals_keep_their_rate() -> None:
    async with serving(Fakes().app()) as url:
        closed, opened, watch = (Offer(url, texts(1)), Offer(url, texts(2)), Watch(url, None))
        async with watch.watching():
            await closed.closed(2, 0.3)
            await opened.open(50.0, 0.4)
    assert len(closed.done) >= 2
    assert len(opened.done) == 20
    assert all(each.is_spoken for each in closed.done + opened.done)
    assert watch.live_s
    assert watch.samples


def test_no_text_comes_twice_and_a_seed_gives_them_again() -> None:
    some, same = texts(3), texts(3)
    first = [next(some) for _ in range(500)]
    assert len(set(first)) == 500
    assert first == [next(same) for _ in range(500)]


def test_quantiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [quantile(values, part) for part in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert quantile([3.0], 0.5) == 3.0


def spoken(started: float, total_s: float, num_bytes: int = 48_000) -> Exchange:
    return Exchange(
        started, status=200, total_s=total_s, num_bytes=num_bytes, is_whole=True, first_s=0.1
    )


def test_what_comes_after_the_time_does_not_count_as_done_in_it() -> None:
    half = spoken(5.0, 9.9)  # its sound came from 5.1 s to 14.9 s
    done = [spoken(0.0, 1.0), spoken(1.0, 8.0), half, spoken(9.95, 3.0)]
    assert audio_within(done, 10.0) == pytest.approx(2.5)
    assert summary(done, 10.0)["audio_s_per_s"] == pytest.approx(0.4)


def test_everything_but_an_answer_or_a_refusal_is_counted() -> None:
    bad = [
        Exchange(0.0, problem="timeout"),
        Exchange(0.0, status=500, is_whole=True),
        Exchange(0.0, status=200),
    ]
    good = [spoken(0.0, 1.0), Exchange(0.0, status=503, is_whole=True)]
    assert num_other(bad + good) == 3


def test_memory_that_grows_after_the_warm_up_has_a_slope() -> None:
    warm = [Sample(at_s=float(t), rss_bytes=t * 10**7) for t in range(25)]
    flat = [Sample(at_s=25.0 + t, rss_bytes=250 * 10**6) for t in range(75)]
    grown = [Sample(at_s=25.0 + t, rss_bytes=(250 + t) * 10**6) for t in range(75)]
    assert slope_mb_per_min(warm + flat) == pytest.approx(0.0, abs=1e-6)
    assert slope_mb_per_min(warm + grown) == pytest.approx(60.0)
    assert slope_mb_per_min([]) is None


@pytest.mark.parametrize(
    ("check", "code"),
    [
        (Check("a", 1.0, 1.0), 0),
        (Check("a", 1.1, 1.0), 1),
        (Check("a", None, 1.0), 1),
        (Check("a", float("nan"), 1.0), 1),
        (Check("a", 0.9, 0.9, is_floor=True), 0),
        (Check("a", 0.8, 0.9, is_floor=True), 1),
    ],
)
def test_a_promise_that_is_broken_or_was_not_measured_is_a_failure(
    tmp_path: Path, check: Check, code: int
) -> None:
    assert conclude([check], {}, tmp_path / "figures.json") == code
    assert (tmp_path / "figures.json").exists()
