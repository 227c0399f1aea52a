"""Everything that was measured, by contestant and metric. Plain data."""

from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from app.entrypoints.cli.bench.recording import percentile

OURS_INT8: Final = "int8"
OURS_FP32: Final = "fp32"
PACKAGE: Final = "package in process"
PACKAGE_SERVER: Final = "package's server"
CONTESTANTS: Final = (OURS_INT8, OURS_FP32, PACKAGE, PACKAGE_SERVER)


class Metric(StrEnum):
    """What a figure says; the unit is at the end. All but the first few depend on a number."""

    SENTENCE_SPEED = "one sentence, seconds of audio per second"
    IDLE_FIRST_AUDIO_S = "first audio of an idle contestant"
    BUSY_FIRST_AUDIO_S = "first audio while others stream"
    TEXT_SPEED = "one text of n sentences, seconds of audio per second"
    CLIENTS_SPEED = "n clients, seconds of audio per second"
    CLIENTS_FIRST_AUDIO_S = "n clients, first audio"
    STREAM_MARGIN_S = "n streams, lowest playback margin"
    STREAM_GAP_S = "n streams, gap"
    STREAM_FIRST_AUDIO_S = "n streams, first audio"
    LOADED_BYTES = "resident after loading"
    CLIENTS_BYTES = "resident after the clients of the first round"
    END_BYTES = "resident at the end"
    SENTENCE_BYTES = "new server, resident after one sentence"
    FAST_READER_BYTES = "new server, peak while a long text is read as fast as it comes"
    SLOW_READER_BYTES = "new server, peak while a long text is read slowly"


class Figures:
    """Values under a contestant, a metric and a number (of clients, streams or sentences)."""

    def __init__(self) -> None:
        self._values: defaultdict[tuple[str, Metric, int], list[float]] = defaultdict(list)

    def add(self, contestant: str, metric: Metric, values: Sequence[float], num: int = 0) -> None:
        """Note more values."""
        self._values[contestant, metric, num].extend(values)

    def percentile(self, percent: float, contestant: str, metric: Metric, num: int) -> float | None:
        """Over all rounds together; 50 is the median. None if it was not measured."""
        values = self._values.get((contestant, metric, num))
        return percentile(values, percent) if values else None

    def contestants(self) -> list[str]:
        """Of whom anything is known, in the order of the tables."""
        known = {contestant for contestant, _, _ in self._values}
        return [contestant for contestant in CONTESTANTS if contestant in known]

    def numbers(self, metric: Metric) -> list[int]:
        """For which the metric is known of anybody."""
        return sorted({num for _, known, num in self._values if known == metric})
