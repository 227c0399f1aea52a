"""What was measured on, and with which versions."""

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import psutil

import app

CPU_INFO: Final = Path("/proc/cpuinfo")
PACKAGES: Final = ("onnxruntime", "torch", "transformers", "soprano-tts")
OURS: Final = "soprano-tts-api"


def load_average() -> float:
    """Threads that wanted to run, over the last minute."""
    load: float = psutil.getloadavg()[0]
    return load


def describe_machine(load: float) -> dict[str, str]:
    """Names and values: processor, cores, memory, system, and the load before the run."""
    logical, physical = psutil.cpu_count(), psutil.cpu_count(logical=False)
    return {
        "processor": _processor(),
        "cores": f"{physical or 'unknown'} ({logical} logical)",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "load before the run": f"{load:.1f}",
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
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


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
