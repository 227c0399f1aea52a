import pytest
from structlog.testing import capture_logs

from app.entrypoints.cli.serve import is_loopback, warn_if_open
from app.entrypoints.settings import AuthSettings, ServerSettings, Settings


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
