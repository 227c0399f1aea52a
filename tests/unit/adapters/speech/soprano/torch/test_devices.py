import pytest

from app.adapters.speech.soprano.engine import as_instance_error
from app.adapters.speech.soprano.torch.engine import missing_package, resolve_device
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
    error = missing_package("soprano", ImportError("no", name="torch"))
    assert str(error) == "The package torch is missing: pip install 'soprano-tts-api[soprano]'."
