import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog.testing

from app.adapters.audio_store.object_store import ObjectAudioStores
from app.adapters.clock import SystemClock
from app.domain.errors import CheckpointError, ModelLoadError
from app.domain.resilience import TimeLimits
from app.domain.text.front_end import segment_text
from app.entrypoints.bootstrap.instances import (
    Assignment,
    application_arguments,
    build_assigned,
    check_assignment,
    worker_environment,
)
from app.entrypoints.bootstrap.ports import build_ports, identify_sound, time_limits
from app.entrypoints.settings import (
    CacheSettings,
    LogSettings,
    ModelSettings,
    ResilienceSettings,
    Settings,
    StoreSettings,
    TelemetrySettings,
    ValkeySettings,
)
from app.entrypoints.settings_loader import SettingsError
from tests.fakes.speech_observer import FakeSpeechObserver


def identify(backend: str = "embedded", **settings: Any) -> str:
    return identify_sound(backend, Settings(model=ModelSettings(**settings)), SystemClock())


def test_the_same_settings_and_files_are_the_same_model(
    make_checkpoint: Callable[..., Path],
) -> None:
    directory = str(make_checkpoint(tokens_per_sentence=30))
    assert identify() == identify()
    assert identify("onnx", checkpoint=directory) == identify("onnx", checkpoint=directory)


def test_another_backend_or_setting_is_another_model() -> None:
    changed: list[dict[str, Any]] = [
        {"precision": "int8"},
        {"temperature": 0.5},
        {"revision": "v2"},
    ]
    identities = [identify(), *(identify(**each) for each in changed)]
    assert len(set(identities)) == len(identities)


SHARED = ValkeySettings(url="valkey://127.0.0.1:1/0")


def test_servers_of_one_fleet_have_the_same_model_whatever_their_machines_are(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    original = make_checkpoint(tokens_per_sentence=30)
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    os.utime(copy / "model.safetensors", (1, 1))
    mine = ModelSettings(checkpoint=str(original))
    other = ModelSettings(
        checkpoint=str(copy), graph_directory="graphs", num_threads=3, instances=2, load_wait_s=1.0
    )

    def identify_shared(model: ModelSettings, gain: float) -> str:
        settings = Settings(model=model, valkey=SHARED)
        return identify_sound("onnx", settings, SystemClock(), {"soprano": gain})

    assert identify_shared(mine, 1.23456) == identify_shared(other, 1.23457)
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    assert identify_shared(mine, 1.23456) != identify_shared(other, 1.23457)
    (copy / "decoder.pth").unlink()
    with pytest.raises(CheckpointError):
        identify_shared(other, 1.23456)


def test_another_gain_is_another_sound() -> None:
    louder = identify_sound("embedded", Settings(), SystemClock(), {"heart": 9.0})
    assert louder != identify_sound("embedded", Settings(), SystemClock(), {})


def test_other_weights_in_the_same_place_are_another_model(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    directory = tmp_path / "checkpoint"
    shutil.copytree(make_checkpoint(tokens_per_sentence=30), directory)
    before = identify("onnx", checkpoint=str(directory))
    os.utime(directory / "model.safetensors", (1, 1))
    assert identify("onnx", checkpoint=str(directory)) != before
    (directory / "decoder.pth").unlink()
    with pytest.raises(CheckpointError):
        identify("onnx", checkpoint=str(directory))


def test_the_model_is_its_own_cache_and_its_size_is_a_metric() -> None:
    ports = build_ports(Settings(cache=CacheSettings(directory="nowhere")))
    assert id(ports.cache) == id(ports.model)
    assert b"soprano_cache_bytes 0.0" in ports.metrics.render()
    assert not Path("nowhere").exists()


def test_the_numbers_of_resilience_have_one_default_and_each_setting_its_place() -> None:
    assert time_limits(ResilienceSettings()) == TimeLimits()
    settings = ResilienceSettings(chunk_timeout_s=9.0)
    assert time_limits(settings) == TimeLimits(first_chunk_s=18.0, chunk_gap_s=9.0)


def test_what_runs_is_a_metric_before_it_is_loaded() -> None:
    page = build_ports(Settings()).metrics.render().decode()
    assert 'soprano_build_info{backend="embedded"' in page
    assert f'version="{version("soprano-tts-api")}"' in page
    assert "soprano_store_free_bytes " in page
    assert "soprano_store_free_bytes NaN" not in page


async def test_requests_are_followed_if_that_is_asked_for() -> None:
    assert build_ports(Settings()).tracing is None
    tracing = build_ports(Settings(telemetry=TelemetrySettings(traces=True))).tracing
    assert tracing is not None
    await tracing.close()


def test_traces_without_their_extra_stop_the_start_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError, match=r"pip install 'soprano-tts-api\[telemetry\]'"):
        build_ports(Settings(telemetry=TelemetrySettings(traces=True)))


def test_a_shared_cache_is_built_if_that_is_asked_for_and_connects_to_nothing() -> None:
    assert build_ports(Settings()).limits is None
    assert build_ports(Settings(valkey=SHARED)).limits is not None


def test_valkey_without_its_extra_stops_the_start_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "valkey.asyncio", None)
    with pytest.raises(SettingsError, match=r"pip install 'soprano-tts-api\[valkey\]'"):
        build_ports(Settings(valkey=SHARED))


def test_an_address_of_valkey_that_cannot_be_used_stops_the_start_and_is_not_shown() -> None:
    settings = Settings(valkey=ValkeySettings(url="valkey://:secret@host:notaport"))
    with pytest.raises(SettingsError, match=r"valkey\.url cannot be used") as caught:
        build_ports(settings)
    assert "secret" not in str(caught.value)


def test_a_store_on_s3_opens_nothing_and_has_no_free_space() -> None:
    ports = build_ports(Settings(store=StoreSettings(directory="s3://bucket/speech")))
    assert isinstance(ports.stores, ObjectAudioStores)
    assert b"soprano_store_free_bytes NaN" in ports.metrics.render()


def test_a_store_on_s3_without_its_extra_stops_the_start_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(SettingsError, match=r"pip install 'soprano-tts-api\[s3\]'"):
        build_ports(Settings(store=StoreSettings(directory="s3://bucket/speech")))


def test_isolated_instances_are_pooled_and_counted_also_of_the_embedded_voice() -> None:
    alone = build_ports(Settings(model=ModelSettings(backend="embedded", instances=3)))
    assert b"soprano_instances_alive 0.0" in alone.metrics.render()
    model = ModelSettings(backend="embedded", instances=3, placement="process")
    isolated = build_ports(Settings(model=model))
    assert b"soprano_instances_alive 0.0" in isolated.metrics.render()
    assert isolated.model.info.num_streams == 3 * alone.model.info.num_streams
    assert len(segment_text("One. Two.", isolated.model.split)) >= 1


def test_what_a_worker_is_told_holds_no_secret_and_builds_its_model() -> None:
    assignment = Assignment("embedded", 1, ModelSettings(num_threads=7), LogSettings(level="debug"))
    told = msgspec.json.encode(assignment)
    assert msgspec.json.decode(told, type=Assignment) == assignment
    assert set(msgspec.json.decode(told)) == {"backend", "index", "model", "log"}
    assert build_assigned(assignment, FakeSpeechObserver()).info.backend == "embedded"
    settings = "SOPRANO_AUTH__KEYS", "SOPRANO_CONFIG"
    environment = worker_environment()
    assert not any(name in environment for name in settings)
    assert environment["PYTHONPATH"].startswith(str(Path(__file__).parents[3]))


def test_what_is_set_for_another_backend_is_told() -> None:
    model = ModelSettings(backend="embedded", checkpoint="/nowhere", precision="int8")
    with structlog.testing.capture_logs() as events:
        build_ports(Settings(model=model))
    (event,) = [event for event in events if event["event"] == "backend.settings_unused"]
    assert event["settings"] == ["checkpoint", "precision"]


def test_replicas_that_would_sound_different_stop_the_start() -> None:
    arguments = [
        application_arguments("onnx", Settings(model=ModelSettings(temperature=temperature)))
        for temperature in (0.0, 0.3)
    ]
    ours, theirs = (each.assignment for each in arguments)
    check_assignment(ours, msgspec.json.encode(ours))
    with pytest.raises(ModelLoadError, match=r"other settings of \[model\] \(temperature\)"):
        check_assignment(ours, msgspec.json.encode(theirs))
