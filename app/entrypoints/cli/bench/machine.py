"""What was measured on, and with which versions."""

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec
import psutil

import app

CPU_INFO: Final = Path("/proc/cpuinfo")
VECTOR_FLAGS: Final = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm",
)  # fmt: skip
"""By Linux's names, those on which the speed of products depends: the first two are of fp32, all
others of int8."""

PACKAGES: Final = ("onnxruntime", "torch", "transformers", "soprano-tts")
OURS: Final = "soprano-tts-api"


class ProcessorTimes(msgspec.Struct, frozen=True):
    """Processor time until now, in seconds over all cores.

    Attributes:
        total: of which there was.
        busy: in which anybody computed.
        own: of this process and its children that have ended.
    """

    total: float
    busy: float
    own: float

    def used_by_others(self, before: "ProcessorTimes") -> float:
        """The part of the processor, 0 to 1, that others used since `before`."""
        others = (self.busy - before.busy) - (self.own - before.own)
        return max(0.0, others / (self.total - before.total))


def read_processor_times() -> ProcessorTimes:
    """As of now."""
    times = psutil.cpu_times()._asdict()
    total = sum(value for name, value in times.items() if not name.startswith("guest"))
    idle = times["idle"] + times.get("iowait", 0.0)
    return ProcessorTimes(total, total - idle, sum(psutil.Process().cpu_times()[:4]))


def describe_machine(used_by_others: float) -> dict[str, str]:
    """Names and values: processor, cores, memory, system, and what disturbed the run."""
    logical, physical = psutil.cpu_count(), psutil.cpu_count(logical=False)
    return {
        "processor": _processor(),
        "cores": f"{physical or 'unknown'} ({logical} logical)",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "used by other processes during the run": f"{used_by_others:.0%} of the processor",
    }


def describe_versions() -> dict[str, str]:
    """Names and versions; a package that is not installed is absent."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {**found, OURS: _own_version()}


def _processor() -> str:
    if not CPU_INFO.exists():
        return platform.processor() or platform.machine()
    return processor_of(CPU_INFO.read_text(encoding="utf-8", errors="replace"))


def processor_of(cpu_info: str) -> str:
    """The processor's name and those of VECTOR_FLAGS that it has.

    Args:
        cpu_info: the content of /proc/cpuinfo.
    """
    lines = [line.partition(":") for line in cpu_info.splitlines()]
    fields = {name.strip(): value.split() for name, _, value in reversed(lines)}
    name = " ".join(fields.get("model name", [])) or platform.machine()
    found = {*fields.get("flags", []), *fields.get("Features", [])}
    flags = [flag for flag in VECTOR_FLAGS if flag in found]
    return f"{name}, {' '.join(flags)}" if flags else name


def _own_version() -> str:
    """With the commit, in a working copy."""
    root = Path(app.__file__).parents[1]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return version(OURS)

    def ask(*arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 - fixed words
            [git, *arguments], cwd=root, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    commit = ask("rev-parse", "--short", "HEAD")
    changes = " with changes" if ask("status", "--porcelain", "--untracked-files=no") else ""
    return f"{version(OURS)}, commit {commit}{changes}" if commit else version(OURS)
