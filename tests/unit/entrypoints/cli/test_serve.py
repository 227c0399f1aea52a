import gc
import subprocess
import sys

import click
import pytest
from structlog.testing import capture_logs

from app.entrypoints.cli.main import cli
from app.entrypoints.cli.serve import (
    is_loopback,
    limit_connections,
    raise_open_files_limit,
    warn_if_open,
)
from app.entrypoints.settings import AuthSettings, ServerSettings, Settings


def test_garbage_is_looked_for_again_once_a_command_is_there() -> None:
    gc.disable()
    try:
        assert cli.get_command(click.Context(cli), "serve") is not None
        assert gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "speech.example.org", "fe80::1"])
def test_everything_else_may_be_reached_by_others(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "auth", "is_warned"),
    [
        ("0.0.0.0", AuthSettings(), True),
        ("0.0.0.0", AuthSettings(keys="a:b"), False),
        ("0.0.0.0", AuthSettings(keys_file="keys.toml"), False),
        ("127.0.0.1", AuthSettings(), False),
    ],
)
def test_a_server_that_everybody_reaches_and_may_use_says_so_and_what_to_do(
    host: str, auth: AuthSettings, *, is_warned: bool
) -> None:
    with capture_logs() as events:
        warn_if_open(Settings(server=ServerSettings(host=host), auth=auth))
    assert [event["event"] for event in events] == ["server.open_to_network"] * is_warned
    for event in events:
        assert event["log_level"] == "warning"
        assert "soprano-api keys create" in event["advice"]
        assert "auth.keys_file" in event["advice"]


@pytest.mark.parametrize(
    ("num_files", "most"), [(64, 16), (50, 2), (10, 1), (4_096, 4_048), (100_000, 4_096)]
)
def test_there_are_no_more_connections_than_open_files_allow(num_files: int, most: int) -> None:
    with capture_logs() as events:
        limited = limit_connections(ServerSettings(), lambda wanted: min(wanted, num_files))
    assert limited.max_connections == most
    assert len(events) == (most < ServerSettings().max_connections)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
@pytest.mark.parametrize(("soft", "hard", "given"), [(64, 1_000, 500), (64, 300, 300)])
@pytest.mark.integration
def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(
    soft: int, hard: int, given: int
) -> None:
    code = (
        "import resource; from app.entrypoints.cli.serve import raise_open_files_limit;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        "print(raise_open_files_limit(500), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"%d" % given, b"%d" % given, b"%d" % hard]


def test_a_limit_that_is_high_enough_stays() -> None:
    assert raise_open_files_limit(3) == 3
