"""The quota of the groups that a process is in, of both versions; and a real one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from app.adapters.speech.cores import count_cores, cpu_quota

V1_CPU = Path("/sys/fs/cgroup/cpu")
V2 = Path("/sys/fs/cgroup")


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {}, inf),
        ("0::/\n", {"cpu.max": "max 100000\n"}, inf),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n", "a/cpu.max": "200000 100000\n"}, 0.5),
        ("0::/docker/outside\n", {"cpu.max": "100000 50000\n"}, 2.0),
        ("1:cpu:/\n0::/a\n", {"unified/a/cpu.max": "100000 100000\n"}, 1.0),
        (
            "5:cpuset:/\n4:cpu,cpuacct:/a\n0::/\n",
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "300000\n",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
                "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
    ],
)
def test_the_least_quota_of_a_group_and_those_around_it_counts(
    tmp_path: Path, groups: str, files: dict[str, str], quota: float
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert cpu_quota(tmp_path) == quota


def test_without_groups_nothing_is_limited(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == inf
    assert count_cores() >= 1


@pytest.fixture
def group_of_one_core() -> Iterator[Path]:
    name = f"soprano-test-{os.getpid()}"
    is_v1 = V1_CPU.is_dir()
    group = (V1_CPU if is_v1 else V2) / name
    try:
        group.mkdir()
        limit = "cpu.cfs_quota_us" if is_v1 else "cpu.max"
        (group / limit).write_text("100000")
    except OSError:
        pytest.skip("no groups can be made here")
    yield group
    group.rmdir()


@pytest.mark.integration
def test_under_a_quota_of_one_core_there_is_one_thread(group_of_one_core: Path) -> None:
    code = (
        f"open('{group_of_one_core}/cgroup.procs', 'w').write('0')\n"
        "from app.adapters.speech.cores import count_cores, cpu_quota\n"
        "print(cpu_quota(), count_cores())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "1.0 1\n", done.stderr
