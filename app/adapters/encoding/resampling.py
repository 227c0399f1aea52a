"""One stateful resampler per stream, so that chunk borders cannot be heard."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Resampler:
    """Samples at one rate in, at another out; passes them through where the rates are equal.

    Args:
        input_rate: in Hz.
        output_rate: in Hz.
    """

    def __init__(self, input_rate: int, output_rate: int) -> None:
        self._stream: Any = None
        if input_rate != output_rate:
            import soxr

            self._stream = soxr.ResampleStream(input_rate, output_rate, 1, dtype="float32")

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take (num_samples,) float32; what is ready comes back, maybe nothing yet."""
        return self._run(samples, is_last=False)

    def finish(self) -> NDArray[np.float32]:
        """What the filter still holds."""
        return self._run(np.zeros(0, np.float32), is_last=True)

    def _run(self, samples: NDArray[np.float32], *, is_last: bool) -> NDArray[np.float32]:
        if self._stream is None:
            return samples
        resampled: NDArray[np.float32] = self._stream.resample_chunk(samples, last=is_last)
        return resampled
