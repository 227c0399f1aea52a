"""Connections that send as many tiny pieces as they can, and what that costs the server."""

import socket
import threading
import time
from pathlib import Path
from typing import Final

import httpx
import psutil
import pytest

from tests.serving import server_process, wait_for_status

NUM_PIECES: Final = 300_000
NUM_CONNECTIONS: Final = 8
MAX_PROCESSOR_S: Final = 5.0

CHUNKED: Final = b"host: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
UPGRADE: Final = (
    b"GET /v1/audio/speech/stream HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
    b"connection: upgrade\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FLOODS: Final = {
    "chunks of a GET": (b"GET /health/live HTTP/1.1\r\n" + CHUNKED, b"1\r\na\r\n"),
    "chunks of a POST": (b"POST /v1/audio/speech HTTP/1.1\r\n" + CHUNKED, b"1\r\na\r\n"),
    "pings": (UPGRADE, b"\x89\x80\0\0\0\0"),
    "empty frames of one message": (UPGRADE, b"\x00\x80\0\0\0\0"),
}


class Flood(threading.Thread):
    """Sends a head and pieces, and lives until the server has had enough."""

    def __init__(self, port: int, head: bytes, piece: bytes) -> None:
        super().__init__()
        self._port = port
        self._head = head
        self._pieces = piece * NUM_PIECES

    def run(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=60) as connection:
            try:
                connection.sendall(self._head)
                if self._head is UPGRADE:
                    while b'"ready"' not in connection.recv(4_096):
                        pass
                    connection.sendall(b"\x01\x80\0\0\0\0")  # a text begins
                connection.sendall(self._pieces)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass
            except OSError:
                pass  # the server has had enough


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_tiny_pieces_is_ended_and_costs_little(kind: str, tmp_path: Path) -> None:
    """All pieces of all connections take some 20 s of processor."""
    with server_process(tmp_path / "log", "--backend", "embedded") as server:
        wait_for_status(f"{server.url}/health/ready")
        before_s = sum(psutil.Process(server.pid).cpu_times()[:2])
        floods = [Flood(server.port, *FLOODS[kind]) for _ in range(NUM_CONNECTIONS)]
        for flood in floods:
            flood.start()
        for flood in floods:
            flood.join()
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        used_s = sum(psutil.Process(server.pid).cpu_times()[:2]) - before_s
        assert server.log_events(level="error") == []
    assert used_s < MAX_PROCESSOR_S


KEY = "sk-" + "a" * 32
ONE_AT_A_TIME = {"SOPRANO_AUTH__KEYS": f"anna:{KEY}", "SOPRANO_AUTH__MAX_CONCURRENT": "1"}
UNREAD = b'{"type": "text", "text": "%s"}' % (b"Words go on and on here. " * 120)


def frame(opcode: int, content: bytes) -> bytes:
    """A final frame with an empty mask (RFC 6455, section 5.2)."""
    is_long = len(content) > 125
    length = b"\xfe" + len(content).to_bytes(2) if is_long else bytes([0x80 | len(content)])
    return bytes([0x80 | opcode]) + length + bytes(4) + content


@pytest.mark.parametrize("farewell", ["half a close", "cancel and close"])
def test_a_socket_that_is_left_unread_gives_its_slot_back(tmp_path: Path, farewell: str) -> None:
    head = UPGRADE.removesuffix(b"\r\n") + f"Authorization: Bearer {KEY}\r\n\r\n".encode()
    with (
        server_process(tmp_path / "log", "--backend", "embedded", environ=ONE_AT_A_TIME) as server,
        socket.socket() as client,
        httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}) as other,
    ):
        wait_for_status(f"{server.url}/health/ready")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(head)
        client.sendall(frame(1, UNREAD) + frame(1, b'{"type": "end"}'))
        time.sleep(2)  # until audio waits for its reader
        speech = {"input": "Hi."}
        assert other.post("/v1/audio/speech", json=speech).status_code == 429
        if farewell == "half a close":
            client.shutdown(socket.SHUT_WR)
        else:
            client.sendall(frame(1, b'{"type": "cancel"}') + frame(8, b"\x03\xe8"))
        left_at = time.monotonic()
        while other.post("/v1/audio/speech", json=speech).status_code == 429:
            assert time.monotonic() - left_at < 5
            time.sleep(0.05)
        assert not server.log_events(level="error")
