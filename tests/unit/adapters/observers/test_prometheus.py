from app.adapters.observers.prometheus import PrometheusMetrics
from app.domain.audio import AudioFormat
from app.domain.circuit_breaker import BreakerState
from app.domain.errors import InstanceDeadError, RunawaySpeechError
from app.domain.speech import CacheStatus, Outcome, SpeechReport
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
    metrics.model_loaded(FAKE_INFO, 1.0)
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
    assert not any('result="miss"' in line for line in lines)
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
    metrics.speech_retried(InstanceDeadError(), 1, "retried")
    metrics.speech_retried(InstanceDeadError(), 1, "budget_exhausted")
    lines = metrics.render().decode().splitlines()
    assert "soprano_breaker_state 1.0" in lines
    assert 'soprano_breaker_transitions_total{to="open"} 1.0' in lines
    assert 'soprano_breaker_transitions_total{to="half_open"} 1.0' in lines
    assert 'soprano_retries_total{outcome="retried"} 1.0' in lines
    assert 'soprano_retries_total{outcome="budget_exhausted"} 1.0' in lines


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
