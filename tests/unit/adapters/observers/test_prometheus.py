import pytest

from app.adapters.observers.prometheus import PrometheusMetrics
from app.domain.audio import AudioFormat
from app.domain.errors import InstanceDeadError, RunawaySpeechError
from app.domain.resilience import BreakerState
from app.domain.speech import CacheStatus, Outcome, SpeechReport
from app.ports.telemetry import RequestReport
from tests.fakes.speech_model import FAKE_INFO


def report(outcome: Outcome) -> SpeechReport:
    return SpeechReport(
        num_chars=10,
        format=AudioFormat.MP3,
        audio_s=2.0,
        first_audio_s=0.03,
        total_s=0.5,
        outcome=outcome,
    )


def test_what_happened_is_counted() -> None:
    metrics = PrometheusMetrics()
    metrics.model_loaded(FAKE_INFO, 1.0, 5.0)
    metrics.speech_ended(report(Outcome.COMPLETED))
    metrics.speech_ended(report(Outcome.COMPLETED))
    metrics.speech_ended(report(Outcome.CANCELLED))
    metrics.sentence_failed(RunawaySpeechError(), 0)
    lines = metrics.render().decode().splitlines()
    assert 'soprano_requests_total{format="mp3",outcome="completed"} 2.0' in lines
    assert 'soprano_requests_total{format="mp3",outcome="cancelled"} 1.0' in lines
    assert "soprano_characters_total 30.0" in lines
    assert "soprano_audio_seconds_total 6.0" in lines
    assert 'soprano_first_audio_seconds_bucket{le="0.05"} 3.0' in lines
    assert 'soprano_first_audio_seconds_bucket{le="0.02"} 0.0' in lines
    assert 'soprano_real_time_factor_bucket{le="0.5"} 3.0' in lines
    assert 'soprano_sentences_failed_total{error="runaway_speech"} 1.0' in lines
    assert 'soprano_model_ready{backend="fake",model="hum"} 1.0' in lines


def test_what_was_kept_is_counted_by_request_and_measured_in_bytes() -> None:
    metrics = PrometheusMetrics()
    num_bytes = [0]
    metrics.watch_cache(lambda: num_bytes[0])
    for status in (CacheStatus.HIT, CacheStatus.HIT, CacheStatus.BYPASS, None):
        ended = report(Outcome.COMPLETED)
        ended.cache = status
        metrics.speech_ended(ended)
    num_bytes[0] = 1_500
    lines = metrics.render().decode().splitlines()
    assert 'soprano_cache_requests_total{result="hit"} 2.0' in lines
    assert 'soprano_cache_requests_total{result="bypass"} 1.0' in lines
    assert 'soprano_cache_requests_total{result="miss"} 0.0' in lines
    assert "soprano_cache_bytes 1500.0" in lines


def test_two_servers_in_one_process_count_apart() -> None:
    first, second = PrometheusMetrics(), PrometheusMetrics()
    first.speech_ended(report(Outcome.COMPLETED))
    assert b"soprano_characters_total 0.0" in second.render()


def test_the_breaker_is_a_number_and_its_changes_and_retries_are_counted() -> None:
    metrics = PrometheusMetrics()
    metrics.breaker_changed(BreakerState.CLOSED, BreakerState.OPEN, "")
    assert b"soprano_breaker_state 2.0" in metrics.render()
    metrics.breaker_changed(BreakerState.OPEN, BreakerState.HALF_OPEN, "")
    metrics.speech_retried(InstanceDeadError(), 1)
    lines = metrics.render().decode().splitlines()
    assert "soprano_breaker_state 1.0" in lines
    assert 'soprano_breaker_transitions_total{to="open"} 1.0' in lines
    assert 'soprano_breaker_transitions_total{to="half_open"} 1.0' in lines
    assert "soprano_retries_total 1.0" in lines


def request_report(
    method: str = "GET", route: str | None = "/", status: int = 200
) -> RequestReport:
    return RequestReport(method=method, route=route, status=status, duration_s=0.3)


def test_requests_are_counted_by_route_and_class_of_status() -> None:
    metrics = PrometheusMetrics()
    metrics.request_ended(request_report("GET", "/v1/models/{model_id}", 404))
    metrics.request_ended(request_report("WEBSOCKET", "/v1/audio/speech/stream", 101))
    metrics.request_ended(request_report("POST", "/v1/audio/speech", 0))
    lines = metrics.render().decode().splitlines()
    for labels in (
        'method="GET",route="/v1/models/{model_id}",status="4xx"',
        'method="WEBSOCKET",route="/v1/audio/speech/stream",status="1xx"',
        'method="POST",route="/v1/audio/speech",status="none"',
    ):
        assert f"soprano_http_requests_total{{{labels}}} 1.0" in lines
    bucket = 'soprano_http_request_duration_seconds_bucket{le="0.5",route="/v1/audio/speech"} 1.0'
    assert bucket in lines


def test_nobody_can_make_up_labels() -> None:
    metrics = PrometheusMetrics()
    num_lines = []
    for number in range(3):
        metrics.request_ended(request_report(f"METHOD{number}", None, 405))
        num_lines.append(metrics.render().count(b"soprano_http_"))
    assert num_lines == [num_lines[0]] * 3
    assert b'method="other",route="other",status="4xx"} 3.0' in metrics.render()


def test_what_the_model_has_at_once_is_a_gauge_and_a_histogram() -> None:
    metrics = PrometheusMetrics()
    for num_running in (1, 2, 3):
        metrics.sentence_begun(num_running)
    metrics.sentence_ended(2)
    lines = metrics.render().decode().splitlines()
    assert "soprano_sentences_running 2.0" in lines
    assert 'soprano_batch_sentences_bucket{le="2.0"} 2.0' in lines
    assert "soprano_batch_sentences_sum 6.0" in lines


@pytest.mark.parametrize(("stalled_s", "num_observed"), [(0.0, 1), (0.3, 1), (None, 0)])
def test_silence_amid_a_request_is_observed_where_it_is_the_models(
    stalled_s: float | None, num_observed: int
) -> None:
    metrics = PrometheusMetrics()
    ended = report(Outcome.COMPLETED)
    ended.stalled_s, ended.num_stalls = stalled_s, 2 if stalled_s else 0
    metrics.speech_ended(ended)
    lines = metrics.render().decode().splitlines()
    assert f"soprano_stalled_seconds_count {num_observed}.0" in lines
    num_without = 1 if stalled_s == 0 else 0
    assert f'soprano_stalled_seconds_bucket{{le="0.0"}} {num_without}.0' in lines
    assert f"soprano_stalls_total {float(ended.num_stalls)}" in lines


def test_what_runs_is_told_and_that_it_cannot_speak_yet() -> None:
    metrics = PrometheusMetrics()
    metrics.describe_build("1.2.3", FAKE_INFO)
    lines = metrics.render().decode().splitlines()
    assert 'soprano_build_info{backend="fake",model="hum",version="1.2.3"} 1.0' in lines
    assert 'soprano_model_ready{backend="fake",model="hum"} 0.0' in lines


def test_the_free_space_of_the_store_is_that_of_now() -> None:
    metrics = PrometheusMetrics()
    free = [7]
    metrics.watch_store(lambda: free[0])
    assert b"soprano_store_free_bytes 7.0" in metrics.render()
    free[0] = 8
    assert b"soprano_store_free_bytes 8.0" in metrics.render()


@pytest.mark.parametrize(
    "line",
    [
        'soprano_requests_total{format="mp3",outcome="failed"} 0.0',
        'soprano_sentences_failed_total{error="runaway_speech"} 0.0',
        'soprano_store_failures_total{action="save",error="store_full"} 0.0',
        "soprano_retries_total 0.0",
        'soprano_breaker_transitions_total{to="open"} 0.0',
    ],
)
def test_what_alerts_watch_is_there_before_it_first_happens(line: str) -> None:
    assert line in PrometheusMetrics().render().decode().splitlines()


def test_deaths_are_counted_by_reason_and_who_lives_is_asked_each_time() -> None:
    metrics = PrometheusMetrics()
    assert b"soprano_instances_alive" not in metrics.render(), "unless there is somebody to ask"
    num_alive = [2]
    metrics.watch_instances(lambda: num_alive[0])
    metrics.instance_died(1, "crashed")
    metrics.instance_died(0, "hung")
    metrics.instance_died(1, "crashed")
    num_alive[0] = 1
    lines = metrics.render().decode().splitlines()
    assert 'soprano_instance_deaths_total{reason="crashed"} 2.0' in lines
    assert 'soprano_instance_deaths_total{reason="hung"} 1.0' in lines
    assert "soprano_instances_alive 1.0" in lines
