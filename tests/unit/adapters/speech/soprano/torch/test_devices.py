from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from app.adapters.speech.soprano.checkpoint.checkpoint import read_checkpoint
from app.adapters.speech.soprano.engine import Sampling, as_instance_error, loading
from app.adapters.speech.soprano.torch.engine import load_torch_engine, resolve_device
from app.domain.errors import DeviceError, InstanceDeadError, ModelLoadError


def test_without_an_accelerator_auto_is_the_cpu() -> None:
    assert resolve_device("auto", 3) in ("cpu", "mps", "cuda", "cuda:0", "cuda:1")
    assert resolve_device("cpu", 3) == "cpu"


@pytest.mark.parametrize("asked", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_named(asked: str) -> None:
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has an accelerator")
    with pytest.raises(ModelLoadError, match=asked):
        resolve_device(asked, 0)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: device-side assert triggered"),
    ],
)
def test_memory_and_lost_devices_are_typed_and_may_be_tried_elsewhere(error: Exception) -> None:
    failure = as_instance_error(error)
    assert isinstance(failure, DeviceError)
    assert failure.is_retryable
    assert "GiB" not in str(failure)


def test_any_other_failure_is_a_dead_instance() -> None:
    failure = as_instance_error(ValueError("shape"))
    assert type(failure) is InstanceDeadError
    assert failure.__cause__ is not None


def test_a_missing_package_says_what_to_install() -> None:
    with pytest.raises(ModelLoadError) as caught, loading("It fails", "soprano"):
        raise ImportError("no", name="torch")
    expected = "The package torch is missing: pip install 'soprano-tts-api[soprano]'."
    assert str(caught.value) == expected


@pytest.mark.parametrize("extra", ["", "soprano"])
def test_any_other_failure_of_loading_says_why_in_one_line(extra: str) -> None:
    with pytest.raises(ModelLoadError) as caught, loading("It fails", extra):
        raise RuntimeError("no kernel\nfor this device")
    assert str(caught.value) == "It fails: RuntimeError: no kernel"


def test_without_an_extra_an_import_that_fails_is_a_failure_like_any() -> None:
    with pytest.raises(ModelLoadError, match="It fails: ImportError: libgomp"), loading("It fails"):
        raise ImportError("libgomp")


class FakeLanguageModel:
    """SopranoLanguageModel that is there at once."""

    def close(self) -> None:
        pass

    def generate(self, prompt: str, sampling: Sampling, due_at: float) -> NoReturn:
        raise NotImplementedError


def test_a_device_that_torch_refuses_is_a_failure_of_loading(
    make_checkpoint: Callable[..., Path],
) -> None:
    import torch

    if torch.xpu.is_available():
        pytest.skip("this machine has an XPU")
    checkpoint = read_checkpoint(make_checkpoint())
    with pytest.raises(ModelLoadError, match="Soprano cannot be loaded on xpu: "):
        load_torch_engine(checkpoint, "xpu", 0, lambda *_: FakeLanguageModel())
