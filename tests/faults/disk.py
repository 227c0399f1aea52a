"""A disk on which any call of the system can be made to fail, by its number.

Calls are counted in worker threads alone: there the adapters touch files, and the test does not.
"""

import errno
import fcntl
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec
import pytest

CALLS: Final[dict[ModuleType, tuple[str, ...]]] = {
    os: (
        "open", "close", "fstat", "stat", "lstat", "utime", "pwrite", "pread", "write", "read",
        "fsync", "link", "unlink", "rename", "replace", "mkdir", "rmdir", "listdir", "scandir",
    ),
    fcntl: ("flock",),
}  # fmt: skip

_close: Final = os.close

MAX_CALLS: Final = 200
"""More than anything under test makes; a sweep that gets there does not end by itself."""


class Fault(msgspec.Struct, frozen=True):
    """How a call fails.

    Attributes:
        error: its number.
        is_late: the call has its effect all the same, as when an answer is lost on the network.
        is_short: no error: reading and writing handle one byte.
    """

    error: int = errno.EIO
    is_late: bool = False
    is_short: bool = False


IO_ERROR: Final = Fault()
FULL: Final = Fault(errno.ENOSPC)
INTERRUPTED: Final = Fault(errno.EINTR)
NO_DESCRIPTORS: Final = Fault(errno.EMFILE)
READ_ONLY: Final = Fault(errno.EROFS)
LATE: Final = Fault(is_late=True)
SHORT: Final = Fault(is_short=True)


class Disk:
    """Counts calls while it is told to.

    Attributes:
        calls: names of the calls that were counted, in order.
        num_hits: how many of them failed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.num_hits = 0
        self._is_counting = False
        self._fault = IO_ERROR
        self._fails: Callable[[int], bool] = lambda _: False
        self._lock = threading.Lock()
        for module, names in CALLS.items():
            for name in names:
                call = partial(self._call, name, getattr(module, name))
                monkeypatch.setattr(module, name, call)
        monkeypatch.setattr(os, "fdopen", partial(self._fdopen, os.fdopen))

    @contextmanager
    def failing(self, fault: Fault, fails: Callable[[int], bool]) -> Iterator[None]:
        """Count calls from 0 on, and let those fail whose number `fails` names."""
        self.calls, self.num_hits = [], 0
        self._fault, self._fails = fault, fails
        self._is_counting = True
        try:
            yield
        finally:
            self._is_counting = False

    def _call(self, name: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._is_counting or threading.current_thread() is threading.main_thread():
            return real(*args, **kwargs)
        with self._lock:
            is_hit = self._fails(len(self.calls))
            self.calls.append(name)
            self.num_hits += is_hit
        if name == "fsync":  # the power stays on
            real = _nothing
        return _fail(self._fault, name, real, *args, **kwargs) if is_hit else real(*args, **kwargs)

    def _fdopen(self, real: Callable[..., Any], fd: int, mode: str = "r") -> Any:
        """A file that reads and writes through the calls above; C code would go past them."""
        if not self._is_counting:
            return real(fd, mode)
        return io.BufferedWriter(_Raw(fd)) if "w" in mode else io.BufferedReader(_Raw(fd))


class _Raw(io.RawIOBase):
    """A descriptor as a file, call by call."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.read(self._fd, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)


def _nothing(*_: Any) -> None:
    pass


def _fail(fault: Fault, name: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if fault.is_short:
        return _one_byte(name, real, *args, **kwargs)
    # Linux gives the descriptor back whatever `close` reports.
    if fault.is_late or name == "close":
        result = real(*args, **kwargs)
        if name == "open":
            _close(result)  # it could not be handed over
    raise OSError(fault.error, os.strerror(fault.error))


def _one_byte(name: str, real: Callable[..., Any], fd: Any, *args: Any, **kwargs: Any) -> Any:
    if name in {"pwrite", "write"}:
        data, *rest = args
        return real(fd, data[:1], *rest)
    if name in {"pread", "read"}:
        _, *rest = args
        return real(fd, 1, *rest)
    return real(fd, *args, **kwargs)


def open_files(directory: Path) -> list[str]:
    """Where the descriptors of this process lead that lead into `directory`.

    Others come and go meanwhile: threads of the interpreter and of its libraries have their own.
    """
    targets = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that listed them, or another thread's
            targets.append(str(descriptor.readlink()))
    return [target for target in targets if target.startswith(f"{directory}/")]
