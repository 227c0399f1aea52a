"""Promises with their numbers: what was measured, and whether it is kept."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One promise: `measured` must be at most `limit`, or at least if `is_floor`."""

    promise: str
    measured: float | None
    limit: float
    is_floor: bool = False

    @property
    def is_kept(self) -> bool:
        """What could not be measured is not kept."""
        if self.measured is None or self.measured != self.measured:
            return False
        return self.measured >= self.limit if self.is_floor else self.measured <= self.limit


def conclude(checks: Sequence[Check], figures: dict[str, Any], path: Path | None) -> int:
    """Print each promise; the exit code."""
    for check in checks:
        mark = "kept  " if check.is_kept else "BROKEN"
        bound = f"{'at least' if check.is_floor else 'at most'} {check.limit:g}"
        measured = "not measured" if check.measured is None else f"{check.measured:.4g}"
        print(f"{mark}  {check.promise}: {measured} ({bound})")
    if path is not None:
        rows = [{**msgspec.to_builtins(check), "is_kept": check.is_kept} for check in checks]
        path.write_text(json.dumps({"checks": rows, **figures}, indent=2))
    return 0 if all(check.is_kept for check in checks) else 1
