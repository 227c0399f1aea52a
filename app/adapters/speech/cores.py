"""How many processor cores this process may compute on: of the machine, by affinity, by quota."""

import math
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Final

import psutil

# Where the kernel shows the groups that have limits of the processor, by version (cgroups(7)).
_MOUNTS_V2: Final = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_MOUNTS_V1: Final = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")

UNLIMITED: Final = ("max", "-1")  # of version 2, of version 1


def count_cores() -> int:
    """Physical cores that this process may use, at least 1; of a quota of 1.5 cores, 2."""
    process_cores = len(os.sched_getaffinity(0)) if psutil.LINUX else psutil.cpu_count()
    num_cores = min(process_cores or 1, psutil.cpu_count(logical=False) or 1)
    return max(1, math.ceil(min(num_cores, cpu_quota())))


def cpu_quota(root: Path = Path("/")) -> float:
    """Cores that the groups of this process may use at most, infinite without a limit; Linux only.

    A group is limited by all that it lies in. A container may see its own group as the root, and
    yet be told its name outside, where nothing is found.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    return min((quota for group in groups for quota in _quotas(root, group)), default=math.inf)


def _quotas(root: Path, group: str) -> Iterator[float]:
    """Of a group, a line "number:controllers:path", and of all above it."""
    _, controllers, path = group.split(":", 2)
    mounts, names = _MOUNTS_V2, ["cpu.max"]
    if controllers:
        mounts, names = _MOUNTS_V1, ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        if "cpu" not in controllers.split(","):
            return
    place = Path(path.lstrip("/"))
    for mount, inner in product(mounts, (place, *place.parents)):
        try:
            files = [(root / mount / inner / name).read_text(encoding="utf-8") for name in names]
        except OSError:
            continue
        quota, period = " ".join(files).split()  # in microseconds
        if quota not in UNLIMITED:
            yield int(quota) / int(period)
