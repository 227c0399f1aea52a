"""Which device an instance runs on."""

from app.domain.errors import ModelLoadError


def resolve_device(asked: str, index: int) -> str:
    """Torch's name of a device.

    Args:
        asked: `cpu`, `mps`, `cuda`, `cuda:N` or `auto`.
        index: of the instance; `auto` and `cuda` spread instances over the CUDA devices.

    Raises:
        ModelLoadError: there is no such device.
    """
    import torch

    num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked in ("auto", "cuda") and num_cuda:
        return "cuda" if num_cuda == 1 else f"cuda:{index % num_cuda}"
    if asked.startswith("cuda") and not num_cuda:
        raise ModelLoadError(f"The device {asked} is not there: torch sees no CUDA device.")
    has_mps = torch.backends.mps.is_available()
    if asked == "mps" and not has_mps:
        raise ModelLoadError("The device mps is not there: torch sees no Apple GPU.")
    if asked == "auto":
        return "mps" if has_mps else "cpu"
    return asked
