"""What was measured, in figures."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.load.exchange import Exchange
from tests.load.watch import Watch


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that `part` of them do not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else math.nan


def summary(done: Sequence[Exchange], duration_s: float) -> dict[str, Any]:
    """Of all that was asked in a time: how it ended, how fast, how even."""
    spoken = [each for each in done if each.is_spoken]
    refused = [each for each in done if each.status in {429, 503}]
    heads = [each.head_s for each in refused]
    return {
        "seconds": round(duration_s, 1),
        "requests": len(done),
        "statuses": dict(sorted(Counter(_kind(each) for each in done).items())),
        "whole_per_s": round(len(spoken) / duration_s, 2),
        "audio_s_per_s": round(sum(each.audio_s for each in spoken) / duration_s, 2),
        "first_s": spread([each.first_s for each in spoken]),
        "total_s": spread([each.total_s for each in spoken]),
        "largest_gap_s": spread([each.largest_gap_s for each in spoken]),
        "underruns": sum(each.waited_s > 0.02 for each in spoken),
        "waited_s": spread([each.waited_s for each in spoken]),
        "refused_s": spread(heads),
        "refused_without_retry_after": sum(each.retry_after_s is None for each in refused),
    }


def _kind(each: Exchange) -> str:
    if each.status == 0:
        return each.problem or "no answer"
    return f"{each.status}" if each.is_whole else f"{each.status} cut"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95 %, 99 %, most."""
    parts = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(quantile(values, part), 4) for name, part in parts.items()}


def of_server(watch: Watch) -> dict[str, Any]:
    """The same of the server, and of our own lateness."""
    fields = ("rss_bytes", "num_fds", "num_threads", "num_queued", "num_running")
    most = {field: watch.most(field) for field in fields}
    return {"live_s": spread(watch.live_s), "client_lag_s": spread(watch.lags_s), "most": most}


def table(title: str, figures: dict[str, Any]) -> str:
    """One line per figure."""
    lines = [f"{name:>28}  {_shown(value)}" for name, value in figures.items()]
    return "\n".join([title, *lines])


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {each}" for name, each in value.items())
    return str(value)
