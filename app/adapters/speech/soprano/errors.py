"""What torch and the packages raise, as errors of the domain."""

from typing import Final

from app.domain.errors import DeviceError, InstanceDeadError, ModelLoadError

_DEVICE_WORDS: Final = ("out of memory", "CUDA error", "device-side assert", "MPS backend")


def as_instance_error(error: Exception) -> InstanceDeadError:
    """A DeviceError for memory and devices that are gone, else that the instance is dead."""
    is_device = isinstance(error, MemoryError) or any(word in str(error) for word in _DEVICE_WORDS)
    failure = DeviceError() if is_device else InstanceDeadError()
    failure.__cause__ = error
    return failure


def missing_package(extra: str, error: ImportError) -> ModelLoadError:
    """What to install, in one line."""
    return ModelLoadError(
        f"The package {error.name or extra} is missing: pip install 'soprano-tts-api[{extra}]'."
    )
