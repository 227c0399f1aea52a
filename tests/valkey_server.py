"""A real Valkey, or the Redis of the system, which speaks the same protocol."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from valkey import Valkey

from tests.eventually import wait_until
from tests.serving import free_port

START_S = 20.0
STOP_S = 10.0


class ValkeyServer:
    """Keeps nothing on disk; listens on a port of the loopback address and on a socket."""

    def __init__(self, program: str, directory: Path) -> None:
        port = free_port()
        self._socket = directory / "valkey.sock"
        self._command = [
            *(program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)),
            *("--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"),
            *("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"valkey://127.0.0.1:{port}/0"
        self.socket_url = f"unix://{self._socket}"

    def start(self) -> None:
        """Return once it listens; it is empty."""
        self._socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(self._socket.exists, START_S)

    def kill(self) -> None:
        """End it at once, with all that it keeps."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_S)

    def num_leases(self) -> int:
        """On sentences that are being made, or written."""
        with Valkey.from_url(self.url) as client:
            return len(client.keys("soprano:lease:*"))

    def pause(self) -> None:
        """Keep its connections, and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def valkey_server() -> Iterator[ValkeyServer]:
    """One that runs; skips where there is no program."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    # Not in the directory of the test: the name of a socket has 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="valkey-") as directory:
        server = ValkeyServer(program, Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.kill()
