"""Real reverse proxies in front of the server, with the examples of the documentation."""

import os
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import psutil
import pytest
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from app.entrypoints.connections import MAX_REJECTED
from app.entrypoints.http.protocol import RESET
from tests.eventually import wait_until
from tests.listening import decode_file
from tests.serving import (
    ServerProcess,
    clean_environment,
    free_port,
    run_console,
    server_process,
    wait_for_status,
)
from tests.socket_handshake import HANDSHAKE

DEPLOY: Final = Path(__file__).parents[2] / "docs/how-to/deploy.md"
LONG: Final = " ".join(f"This is sentence {n} of very many that are spoken." for n in range(70))

NGINX: Final = """
daemon off; pid {directory}/pid; error_log stderr; worker_processes 1;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  server {{ listen 127.0.0.1:{port}; {site} }}
}}
"""
CADDY: Final = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
{site}
}}
"""
OLD: Final = "location /tts/ { proxy_http_version 1.0; proxy_pass http://127.0.0.1:8000/; }"
KEEPS_PATH: Final = "location /tts/ { proxy_http_version 1.1; proxy_pass http://127.0.0.1:8000; }"


def example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DEPLOY.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@contextmanager
def proxy(kind: str, site: str, upstream: str, directory: Path) -> Iterator[str]:
    """The address of the server behind nginx or Caddy."""
    if shutil.which(kind) is None:
        pytest.skip(f"{kind} is not installed")
    port, config = free_port(), directory / f"{kind}.conf"
    template = NGINX if kind == "nginx" else CADDY
    config.write_text(
        template.format(
            directory=directory, port=port, site=site.replace("127.0.0.1:8000", upstream)
        )
    )
    command = (
        ["nginx", "-c", str(config), "-p", str(directory)]
        if kind == "nginx"
        else ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
    )
    environ = clean_environment({"HOME": str(directory)})
    with (directory / "proxy.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
    try:
        wait_for_status(f"http://127.0.0.1:{port}/tts/health/ready", process)
        yield f"http://127.0.0.1:{port}/tts"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("kind", ["nginx", "caddy", "nginx that keeps the path"])
def test_the_server_works_below_a_path_of_a_proxy(kind: str, tmp_path: Path) -> None:
    """F11, F20, F21, F40."""
    keeps_path = kind not in ("nginx", "caddy")
    site = KEEPS_PATH if keeps_path else example(kind)
    environ = {
        "SOPRANO_SERVER__ROOT_PATH": "/tts" if keeps_path else "",
        "SOPRANO_STORE__DIRECTORY": str(tmp_path / "store"),
    }
    with (
        server_process(tmp_path / "log", "--backend", "embedded", environ=environ) as server,
        proxy(kind.split(maxsplit=1)[0], site, f"127.0.0.1:{server.port}", tmp_path) as url,
        httpx.Client() as client,
    ):
        for page in ("/", "/schema", "/schema/openapi.json", "/schema/swagger-ui.css"):
            assert client.get(url + page).status_code == 200
        body = {"input": "Kept below a path.", "response_format": "flac", "store": True}
        stored = client.post(f"{url}/v1/audio/speech", json=body)
        kept = client.get(stored.url.join(stored.headers["content-location"]))
        assert kept.content == stored.content
        began_at = time.monotonic()
        whole = {"input": LONG, "response_format": "pcm"}
        with client.stream("POST", f"{url}/v1/audio/speech", json=whole) as answer:
            parts = answer.iter_raw()
            next(parts)
            first_s = time.monotonic() - began_at
            list(parts)
        assert first_s < (time.monotonic() - began_at) / 2
        if not keeps_path:
            with connect(f"{url.replace('http', 'ws', 1)}/v1/audio/speech/stream") as live:
                assert '"ready"' in str(live.recv(10))


def test_the_page_of_the_server_asks_for_nothing_at_the_root() -> None:
    """F11: what the page asks for it asks for below its own address."""
    static = Path(__file__).parents[2] / "app/entrypoints/http/static"
    for file in (static / "index.html", *(static / "page").iterdir()):
        found = re.search(
            r"""(fetch\(|request\(|connect\(|from |href=|src=)["'`]/""", file.read_text()
        )
        assert found is None, (file.name, found)


def test_an_answer_that_is_cut_never_looks_whole_behind_http_1_0(tmp_path: Path) -> None:
    """F20: nginx as it comes, and a server that is killed."""
    with (
        pytest.raises(AssertionError, match="the server died"),
        server_process(tmp_path / "log", "--backend", "embedded") as server,
        proxy("nginx", OLD, f"127.0.0.1:{server.port}", tmp_path) as url,
    ):
        body = {"input": LONG, "response_format": "pcm"}
        with httpx.stream("POST", f"{url}/v1/audio/speech", json=body, timeout=30) as answer:
            parts = answer.iter_raw()
            next(parts)
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(httpx.RemoteProtocolError):
                list(parts)
            server.exit_code()  # its connections close before it can be waited for


def test_an_old_client_gets_whole_answers(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", "--backend", "embedded") as server:
        wait_for_status(f"{server.url}/health/ready")
        content = b'{"input": "Of an old client.", "response_format": "wav"}'
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(
                    b"POST /v1/audio/speech HTTP/1.0\r\nHost: localhost\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(content) + content
                )
                answer = b"".join(iter(lambda: connection.recv(65_536), b""))
            samples, rate, _ = decode_file(answer.partition(b"\r\n\r\n")[2])
            assert len(samples) / rate > 0.5


@contextmanager
def running(log_path: Path, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server with an address of its own kind, that listens."""
    command = [sys.executable, "-m", "app", "serve", "--backend", "embedded", *flags]
    with log_path.open("w") as log:
        process = subprocess.Popen(command, stderr=log, env=clean_environment())
    try:
        wait_until(lambda: "server.listening" in log_path.read_text())
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_server_listens_on_a_socket_in_the_file_system(tmp_path: Path) -> None:
    path, log_path = tmp_path / "server.sock", tmp_path / "log"
    for _ in range(2):  # the second time one is left of the first
        with running(log_path, "--uds", str(path)):
            transport = httpx.HTTPTransport(uds=str(path))
            with httpx.Client(transport=transport, base_url="http://localhost") as client:
                response = client.post("/v1/audio/speech", json={"input": "Hello."})
                assert response.status_code == 200
            refused = run_console("serve", "--backend", "embedded", "--uds", str(path))
            assert refused.returncode == 1
            assert b"server.bind_failed" in refused.stderr
        assert path.is_socket()
    with running(log_path, "--uds", str(path)) as process:
        process.terminate()
        assert process.wait(30) == 0
    assert not path.exists()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out"]
    subprocess.run([*command.split(), *names, str(certificate)], check=True, capture_output=True)
    return certificate, key


def test_the_server_speaks_tls(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    chain, key = certificate
    port = free_port()
    flags = ["--port", str(port), "--ssl-certfile", str(chain), "--ssl-keyfile", str(key)]
    with running(tmp_path / "log", *flags) as process:
        server = ServerProcess(process, port, tmp_path / "log")
        (listening,) = server.log_events(event="server.listening")
        assert listening["url"] == f"https://127.0.0.1:{port}"
        trusted = ssl.create_default_context(cafile=str(chain))
        with httpx.Client(verify=trusted, base_url=f"https://localhost:{port}") as client:
            body = {"input": LONG, "response_format": "pcm"}
            assert len(client.post("/v1/audio/speech", json=body, timeout=60).content) > 1_000_000
            long = client.post("/v1/audio/speech", json={"input": "word " * 40_000})
            assert long.json()["error"]["code"] == "string_above_max_length"
        with connect(f"wss://localhost:{port}/v1/audio/speech/stream", ssl=trusted) as live:
            assert '"ready"' in str(live.recv(10))
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert plain.recv(100) == b""
        process.terminate()
        assert process.wait(30) == 0
    assert not server.log_events(level="error")


HANDSHAKE_404: Final = HANDSHAKE.replace(b"/v1/audio/speech/stream", b"/nothing")
CLOSE_FRAME: Final = b"\x88\x82\0\0\0\0\x03\xe8"


def test_clients_that_leave_over_tls_in_any_way_leave_nothing(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    chain, key = certificate
    port = free_port()
    flags = ["--port", str(port), "--ssl-certfile", str(chain), "--ssl-keyfile", str(key)]
    begun = Frame(Opcode.TEXT, b'{"type": "text", "text": "Hello there. How are you?"}')
    messages = begun.serialize(mask=True)
    trusted = ssl.create_default_context(cafile=str(chain))
    with running(tmp_path / "log", *flags) as process:
        server = ServerProcess(process, port, tmp_path / "log")

        def connected(sent: bytes) -> ssl.SSLSocket:
            plain = socket.create_connection(("127.0.0.1", port), timeout=5)
            client = trusted.wrap_socket(plain, server_hostname="localhost")
            client.sendall(sent)
            return client

        # They keep their TCP connection, and do not answer the end of TLS.
        sent = (HANDSHAKE_404, HANDSHAKE + CLOSE_FRAME, HANDSHAKE + messages + CLOSE_FRAME)
        silent = [connected(each) for each in sent]
        for number in range(30):
            client = connected(HANDSHAKE + (messages if number % 2 else b""))
            time.sleep(0.1)
            if number % 3 == 0:
                client.sendall(CLOSE_FRAME)
            elif number % 3 == 1:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
        time.sleep(2.5)  # two looks at all connections
        assert process.poll() is None
        assert not server.log_events(level="error")
        stopped_at = time.monotonic()
        process.terminate()
        assert process.wait(30) == 0
        assert time.monotonic() - stopped_at < 8
        for client in silent:
            client.close()
    assert not server.log_events(level="error")


def test_handshakes_that_never_end_count_as_connections_and_end_in_time(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    chain, key = certificate
    port = free_port()
    settings = tmp_path / "settings.toml"
    settings.write_text("[server]\nmax_connections = 4\nread_timeout_s = 3\n")
    flags = ["--port", str(port), "--ssl-certfile", str(chain), "--ssl-keyfile", str(key)]
    with running(tmp_path / "log", *flags, "--config", str(settings)) as process:
        server = ServerProcess(process, port, tmp_path / "log")
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        for client in silent[::2]:
            client.sendall(b"\x16\x03\x01\x02\x00\x01")
        open_ones = set(silent)

        def num_open() -> int:
            readable, _, _ = select.select(list(open_ones), [], [], 0)
            open_ones.difference_update(readable)  # nothing is ever sent to them
            return len(open_ones)

        wait_until(lambda: num_open() <= 4 + MAX_REJECTED, 2)
        assert num_open() == 4 + MAX_REJECTED
        wait_until(lambda: num_open() == 0, 10)
        trusted = ssl.create_default_context(cafile=str(chain))
        with httpx.Client(verify=trusted, base_url=f"https://localhost:{port}") as late:
            assert late.get("/health/live").status_code == 200
        for each in silent:
            each.close()
    assert not server.log_events(level="error")


@pytest.mark.parametrize(
    "sent", [None, b"", b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
def test_what_a_tls_connection_takes_is_free_when_it_is_gone(
    certificate: tuple[Path, Path], tmp_path: Path, sent: bytes | None
) -> None:
    """Each has buffers of 300 kB; `sent` is None for a handshake that is given up."""
    chain, key = certificate
    port = free_port()
    flags = ["--port", str(port), "--ssl-certfile", str(chain), "--ssl-keyfile", str(key)]
    trusted = ssl.create_default_context(cafile=str(chain))
    with running(tmp_path / "log", *flags) as process:
        wait_until(lambda: "model.loaded" in (tmp_path / "log").read_text())
        server = psutil.Process(process.pid)
        num_idle = server.num_fds()

        def come_and_go() -> int:
            clients = []
            for _ in range(200):
                client = socket.create_connection(("127.0.0.1", port))
                if sent is None:
                    client.sendall(b"\x16\x03\x01\x02\x00\x01")
                else:
                    client = trusted.wrap_socket(client, server_hostname="localhost")
                    client.sendall(sent)
                clients.append(client)
            wait_until(lambda: server.num_fds() >= num_idle + 200)
            for client in clients:
                client.close()
            wait_until(lambda: server.num_fds() < num_idle + 20)
            return int(server.memory_info().rss)

        first, *_, last = (come_and_go() for _ in range(5))
        assert last - first < 60_000_000


def test_a_certificate_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pem", DEPLOY):
        done = run_console("serve", "--ssl-certfile", str(path))
        assert done.returncode == 1
        assert b"server.tls_failed" in done.stderr
        assert b"Traceback" not in done.stderr
