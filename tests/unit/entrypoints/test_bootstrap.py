import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.adapters.clock.system import SystemClock
from app.domain.errors import CheckpointError
from app.entrypoints.bootstrap import _identify, build_ports
from app.entrypoints.settings import CacheSettings, ModelSettings, Settings


def identify(backend: str = "embedded", **settings: Any) -> str:
    return _identify(backend, ModelSettings(**settings), SystemClock())


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
        {"seed": 1},
        {"revision": "v2"},
    ]
    identities = [identify(), *(identify(**each) for each in changed)]
    assert len(set(identities)) == len(identities)


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
