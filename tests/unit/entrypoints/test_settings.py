import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.entrypoints.settings import FORMER, Settings, default_toml, shown_value
from app.entrypoints.settings_loader import (
    SettingsError,
    all_keys,
    environment_without_settings,
    load_settings,
)

CONFIG = Path(__file__).parents[3] / "config"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_the_default_file_is_the_one_that_the_settings_make() -> None:
    assert (CONFIG / "default.toml").read_text() == default_toml()


@pytest.mark.parametrize("key", FORMER)
def test_a_former_setting_stops_the_start_and_says_what_became_of_it(key: str) -> None:
    environ = {f"SOPRANO_{key.replace('.', '__').upper()}": "1"}
    with pytest.raises(SettingsError, match=re.escape(FORMER[key])):
        load_settings(environ=environ)
    for word in FORMER[key].split():
        assert "." not in word or word.rstrip(".") in all_keys()


def test_the_default_file_documents_every_setting_with_its_default() -> None:
    tables = tomllib.loads((CONFIG / "default.toml").read_text())
    assert tables == msgspec.to_builtins(Settings())


def test_each_setting_in_the_default_file_has_a_comment() -> None:
    lines = (CONFIG / "default.toml").read_text().splitlines()
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            assert lines[number - 1].startswith("#"), line


def test_the_production_file_is_valid_and_says_only_what_differs() -> None:
    loaded = load_settings(config=str(CONFIG / "production.toml"), environ={})
    default = load_settings(environ={})
    for key, source in loaded.sources.items():
        if source != "default":
            assert value(loaded.settings, key) != value(default.settings, key), key


def value(settings: Settings, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.toml", '[server]\nport = 1\nhost = "file"\nkeep_alive_s = 9\n[log]\n'
    )
    environ = {"SOPRANO_SERVER__PORT": "2", "SOPRANO_SERVER__HOST": "env", "HOME": "/"}
    loaded = load_settings({"server.port": "3", "server.host": None}, path, environ)
    server = loaded.settings.server
    assert (server.port, server.host, server.keep_alive_s, server.shutdown_s) == (3, "env", 9, 30)
    assert loaded.sources["server.port"] == "command line"
    assert loaded.sources["server.host"] == "environment SOPRANO_SERVER__HOST"
    assert loaded.sources["server.keep_alive_s"] == f"file {path}"
    assert loaded.sources["server.shutdown_s"] == "default"


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", "[server]\nport = 7\n")
    assert load_settings(environ={"SOPRANO_CONFIG": path}).settings.server.port == 7


@pytest.mark.parametrize(
    ("environ", "parts"),
    [
        (
            {"SOPRANO_SERVER__PORT": "70000"},
            ["server.port", "'70000'", "from 0 to 65535", "environment SOPRANO_SERVER__PORT"],
        ),
        ({"SOPRANO_SERVER__PORT": "x"}, ["server.port", "'x'", "a whole number"]),
        ({"SOPRANO_LOG__LEVEL": "loud"}, ["log.level", "'loud'", "debug, error, info, warning"]),
        ({"SOPRANO_SPEECH__MAX_CHARS": "0"}, ["speech.max_chars", "'0'", "from 1 to"]),
        ({"SOPRANO_MODEL__LOAD_WAIT_S": "-1"}, ["model.load_wait_s", "'-1'", "a number from 0"]),
        ({"SOPRANO_SERVER__HOST": ""}, ["server.host", "at least 1 character"]),
        ({"SOPRANO_SERVER__PROT": "1"}, ["server.prot", "SOPRANO_SERVER__PROT", "host, port"]),
        ({"SOPRANO_PORT": "1"}, ["port", "SOPRANO_PORT", "server, auth, model"]),
    ],
)
def test_a_bad_value_names_key_value_range_and_origin(
    environ: dict[str, str], parts: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=environ)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[server]\nport = '8000'", "[server]\nprot = 1", "[sever]\nport = 1", "port = 1", "[server",
        '[store]\ndirectory = "a\\u0000b"', '[auth]\nkeys = "a\\u0000b"',
        "[store]\ndirectory = " + "[" * 20_000,
    ],
)  # fmt: skip
def test_a_file_is_strict(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "c.toml", text)
    with pytest.raises(SettingsError, match=r"c\.toml"):
        load_settings(config=path, environ={})


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", "\ufeff[server]\nport = 9000\n")
    assert load_settings(config=path, environ={}).settings.server.port == 9000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        load_settings(config=str(tmp_path / "nowhere.toml"), environ={})


def test_no_more_of_a_file_is_read_than_a_mebibyte(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", "#" * 2**20)
    assert load_settings(config=path, environ={}).settings == Settings()
    write(tmp_path / "c.toml", "#" * (2**20 + 1))
    with pytest.raises(SettingsError, match=r"c\.toml cannot be read: it has more than 1048576"):
        load_settings(config=path, environ={})


def test_every_default_lies_in_its_own_range() -> None:
    environ = {
        f"SOPRANO_{key.upper().replace('.', '__')}": str(value(Settings(), key))
        for key in all_keys()
    }
    assert load_settings(environ=environ).settings == Settings()


SECRET = "sk-soprano-0123456789abcdef"


@pytest.mark.parametrize(
    "text",
    [
        f'[auth]\nkeys = ["{SECRET}"]',
        f'auth = "{SECRET}"',
        f'keys = "a:{SECRET}"',
        f'[auth]\nkey = "a:{SECRET}"',
    ],
)
def test_a_bad_setting_never_shows_a_key(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "c.toml", text)
    with pytest.raises(SettingsError, match=r"c\.toml") as caught:
        load_settings(config=path, environ={})
    assert SECRET not in str(caught.value)


def test_settings_are_written_out_without_their_keys() -> None:
    settings = load_settings(environ={"SOPRANO_AUTH__KEYS": f"a:{SECRET}"}).settings
    assert settings.auth.keys == f"a:{SECRET}"
    assert SECRET not in repr(settings)
    assert "keys_file=''" in repr(settings)
    assert shown_value("auth.keys", SECRET) == "(hidden)"
    assert shown_value("auth.keys", "") == "''"


VALKEY_URL = f"valkey://:{SECRET}@host:6379/0"


def test_the_address_of_valkey_is_not_shown_because_it_may_have_a_password() -> None:
    settings = load_settings(environ={"SOPRANO_VALKEY__URL": VALKEY_URL}).settings
    assert settings.valkey.url == VALKEY_URL
    assert SECRET not in repr(settings)
    assert "ValkeySettings(url=(hidden))" in repr(settings)
    with pytest.raises(SettingsError, match="an address such as valkey://") as caught:
        load_settings(environ={"SOPRANO_VALKEY__URL": f"http://{SECRET}@host"})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("0", False)])
def test_yes_and_no_are_read_from_the_environment(text: str, *, value: bool) -> None:
    environ = {"SOPRANO_TELEMETRY__TRACES": text}
    assert load_settings(environ=environ).settings.telemetry.traces is value


def test_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(SettingsError, match="expected true or false"):
        load_settings(environ={"SOPRANO_TELEMETRY__TRACES": "maybe"})


@pytest.mark.parametrize(
    "origins",
    ["", "*", "https://a.org", "http://a.org:80, tauri://localhost", "https://*.a.org,"],
)
def test_origins_have_a_scheme_and_a_host(origins: str) -> None:
    environ = {"SOPRANO_SERVER__CORS_ORIGINS": origins}
    assert load_settings(environ=environ).settings.server.cors_origins == origins


@pytest.mark.parametrize("origins", ["a.org", "https://a.org/", "https://a.org/page", "**"])
def test_what_no_browser_calls_an_origin_is_refused(origins: str) -> None:
    with pytest.raises(SettingsError, match=r"server\.cors_origins"):
        load_settings(environ={"SOPRANO_SERVER__CORS_ORIGINS": origins})


@pytest.mark.parametrize(
    "directory", ["speech", "/var/lib/s3", "s3", "s3://a-bucket.1", "s3://bucket/a/b_1.c/"]
)
def test_a_store_is_a_directory_or_a_prefix_in_a_bucket(directory: str) -> None:
    environ = {"SOPRANO_STORE__DIRECTORY": directory}
    assert load_settings(environ=environ).settings.store.directory == directory


@pytest.mark.parametrize(
    "directory",
    ["", "s3:", "s3://", "s3:///a", "s3://Bucket", "s3://bucket/a//b", "s3://bucket/.."],
)
def test_what_is_neither_directory_nor_bucket_is_refused(directory: str) -> None:
    with pytest.raises(SettingsError, match=r"store\.directory"):
        load_settings(environ={"SOPRANO_STORE__DIRECTORY": directory})


def test_the_environment_for_others_has_none_of_our_settings() -> None:
    environ = {
        "SOPRANO_AUTH__KEYS": "bob:key",
        "SOPRANO_CONFIG": "c.toml",
        "HOME": "/",
        "PATH": ".",
    }
    assert environment_without_settings(environ) == {"HOME": "/", "PATH": "."}


def test_what_kubernetes_says_of_a_service_of_our_name_is_no_setting() -> None:
    environ = {
        "SOPRANO_PORT": "tcp://10.0.0.1:8000",
        "SOPRANO_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "SOPRANO_PORT_8000_TCP_ADDR": "10.0.0.1",
        "SOPRANO_SERVICE_HOST": "10.0.0.1",
        "SOPRANO_SERVICE_PORT": "8000",
        "SOPRANO_SERVER_SERVICE_PORT_HTTP": "8000",
    }
    assert load_settings(environ=environ).settings == Settings()
