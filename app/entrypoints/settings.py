"""Every setting with its default and range, and the one place that reads files and environment.

Order: flag, then environment, then file, then default. The origin of each value is kept, so that a
bad one can be traced.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

ENV_PREFIX: Final = "SOPRANO_"
CONFIG_VARIABLE: Final = "SOPRANO_CONFIG"
"""Environment variable that names the settings file, unless `--config` does."""

MAX_FILE_BYTES: Final = 1_048_576
"""Of a settings file: a device may have no end."""

SECRETS: Final = frozenset({"auth.keys"})
"""Settings whose values are never shown."""

ORIGINS: Final = r"^ *((\*|[a-z][a-z0-9+.-]*://[^/, ]+) *(, *|$))*$"
"""Origins of web pages (scheme, host and port), or `*`; a path would never match."""

ORIGINS_IN_WORDS: Final = "origins like https://chat.example.org, without a path, or *; with commas"

HOSTS: Final = r"^ *((\*|[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]) *(, *|$))*$"
"""Names or addresses, IPv6 in brackets, or `*`."""

HOSTS_IN_WORDS: Final = "host names like speech.example.org, without a port, or *; with commas"

Seconds = Annotated[float, Meta(ge=0, le=86_400 * 3_650)]
Count = Annotated[int, Meta(ge=0, le=2**53)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that belong together."""


class ServerSettings(Section, frozen=True):
    """The HTTP server."""

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8000
    max_body_bytes: Annotated[int, Meta(ge=1_024, le=2**30)] = 262_144
    keep_alive_s: Annotated[int, Meta(ge=1, le=3_600)] = 5
    socket_idle_s: Annotated[float, Meta(ge=1, le=86_400)] = 60.0
    head_timeout_s: Annotated[float, Meta(ge=0.1, le=3_600)] = 10.0
    body_timeout_s: Annotated[float, Meta(ge=0.1, le=3_600)] = 10.0
    write_stall_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 30.0
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 4_096
    shutdown_s: Annotated[int, Meta(ge=0, le=3_600)] = 30
    allowed_hosts: Annotated[str, Meta(pattern=HOSTS, description=HOSTS_IN_WORDS)] = ""
    cors_origins: Annotated[str, Meta(pattern=ORIGINS, description=ORIGINS_IN_WORDS)] = ""


class AuthSettings(Section, frozen=True):
    """Who may use the server. Without keys, everybody."""

    keys: str = ""
    keys_file: str = ""
    requests_per_minute: Annotated[int, Meta(ge=0, le=2**31)] = 0
    max_concurrent: Annotated[int, Meta(ge=0, le=2**31)] = 0
    open_lists: bool = True
    open_metrics: bool = False

    def __repr__(self) -> str:
        """Without the keys."""
        shown = msgspec.structs.replace(self, keys=shown_value("auth.keys", self.keys))
        return msgspec.Struct.__repr__(shown)


class TextSettings(Section, frozen=True):
    """How what is written is read."""

    markup: Literal["auto", "off"] = "auto"
    lexicon_file: str = ""


class ModelSettings(Section, frozen=True):
    """The speech model."""

    backend: Literal["auto", "lmdeploy", "transformers", "onnx", "embedded"] = "auto"
    checkpoint: str = ""
    revision: str = ""
    device: Annotated[str, Meta(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    precision: Literal["fp32", "int8"] = "fp32"
    max_sentences: Annotated[int, Meta(ge=1, le=256)] = 32
    graph_directory: str = ""
    max_graph_bytes: Count = 4_000_000_000
    instances: Annotated[int, Meta(ge=1, le=64)] = 1
    isolation: Literal["none", "process"] = "none"
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Meta(gt=0, le=1)] = 0.95
    repetition_penalty: Annotated[float, Meta(ge=0.5, le=5)] = 1.2
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 0
    max_regenerations: Annotated[int, Meta(ge=0, le=10)] = 1
    num_threads: Annotated[int, Meta(ge=0, le=1_024)] = 0
    load_wait_s: Seconds = 20.0


class SpeechSettings(Section, frozen=True):
    """What may be asked for."""

    max_chars: Annotated[int, Meta(ge=1, le=10_000_000)] = 4_096
    look_ahead_segments: Annotated[int, Meta(ge=1, le=256)] = 10
    look_ahead_s: Seconds = 60.0
    sse_keep_alive_s: Annotated[float, Meta(ge=0.1, le=3_600)] = 10.0
    sse_done_marker: bool = False
    unknown_names: Literal["reject", "default"] = "reject"


class AdmissionSettings(Section, frozen=True):
    """How much is taken on at a time; the rest waits, or is refused."""

    max_running: Annotated[int, Meta(ge=0, le=10_000)] = 0
    max_open: Annotated[int, Meta(ge=1, le=100_000)] = 128
    max_queued: Annotated[int, Meta(ge=0, le=100_000)] = 32
    max_queued_chars: Annotated[int, Meta(ge=1, le=2**53)] = 65_536
    max_wait_s: Annotated[float, Meta(ge=0, le=3_600)] = 10.0
    request_timeout_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 120.0


class ResilienceSettings(Section, frozen=True):
    """What is done while the model fails."""

    unready_after_s: Seconds = 10.0
    first_chunk_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 10.0
    chunk_gap_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 5.0
    max_retries: Annotated[int, Meta(ge=0, le=10)] = 1


class CacheSettings(Section, frozen=True):
    """Speech that is kept because it may be asked for again."""

    max_bytes: Annotated[int, Meta(ge=0, le=2**40)] = 50_000_000
    directory: str = ""
    max_disk_bytes: Annotated[int, Meta(ge=1_000_000, le=2**53)] = 1_000_000_000


class StoreSettings(Section, frozen=True):
    """Where finished audio is kept, and how much of it by each owner. 0 is no limit."""

    directory: Annotated[str, Meta(min_length=1)] = "speech"
    max_files: Count = 10_000
    max_bytes: Count = 10_000_000_000
    max_age_s: Seconds = 0.0
    clean_up_interval_s: Annotated[float, Meta(ge=1, le=86_400 * 365)] = 300.0


class LogSettings(Section, frozen=True):
    """Log events, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class TelemetrySettings(Section, frozen=True):
    """What is told to systems that watch many servers."""

    traces: bool = False


class Settings(Section, frozen=True):
    """All settings."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    model: ModelSettings = ModelSettings()
    text: TextSettings = TextSettings()
    speech: SpeechSettings = SpeechSettings()
    admission: AdmissionSettings = AdmissionSettings()
    resilience: ResilienceSettings = ResilienceSettings()
    cache: CacheSettings = CacheSettings()
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()


class SettingsError(Exception):
    """A setting that cannot be used; the message names it, its value, its range and its origin."""


class Origin(msgspec.Struct, frozen=True):
    """A value as found: `key` is `section.name`, `source` says where, in words."""

    key: str
    value: Any
    source: str
    is_text: bool


class LoadedSettings(msgspec.Struct, frozen=True):
    """The settings in force, and for each `section.name` where it came from."""

    settings: Settings
    sources: dict[str, str]


def load_settings(
    flags: Mapping[str, Any] | None = None,
    config: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> LoadedSettings:
    """Merge all sources.

    Args:
        flags: by `section.name`; None values are absent.
        config: path of a TOML file; else the one that SOPRANO_CONFIG names, if any.
        environ: the environment; None is that of the process.

    Raises:
        SettingsError: an unknown key, a bad value, or a file that cannot be read.
    """
    environ = os.environ if environ is None else environ
    found: dict[str, Origin] = {}
    for origin in (
        *_from_file(config or environ.get(CONFIG_VARIABLE)),
        *_from_environment(environ),
        *_from_flags(flags or {}),
    ):
        found[origin.key] = origin
    sections: dict[str, dict[str, Any]] = {name: {} for name in _FIELDS}
    for origin in found.values():
        section, _, name = origin.key.partition(".")
        sections[section][name] = _converted(origin)
    settings = msgspec.convert(sections, Settings)
    sources = {key: found[key].source if key in found else "default" for key in all_keys()}
    return LoadedSettings(settings, sources)


def all_keys() -> list[str]:
    """Every `section.name`, in the order of their definition."""
    return [f"{section}.{name}" for section, fields in _FIELDS.items() for name in fields]


def _section_fields() -> dict[str, dict[str, Any]]:
    return {
        section.name: {field.name: field.type for field in msgspec.structs.fields(section.type)}
        for section in msgspec.structs.fields(Settings)
    }


_FIELDS: Final = _section_fields()


def _from_file(path: str | None) -> Iterator[Origin]:
    if path is None:
        return
    try:
        tables = tomllib.loads(_read_text(Path(path)))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error}") from error
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{section} from file {path}: expected a [section].")
        for name, value in table.items():
            yield _checked(Origin(f"{section}.{name}", value, f"file {path}", is_text=False))


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes.")
    return content.decode()


def _from_environment(environ: Mapping[str, str]) -> Iterator[Origin]:
    for variable, value in sorted(environ.items()):
        is_ours = variable.startswith(ENV_PREFIX) and not _is_service_link(variable, value)
        if is_ours and variable != CONFIG_VARIABLE:
            key = variable.removeprefix(ENV_PREFIX).lower().replace("__", ".", 1)
            yield _checked(Origin(key, value, f"environment {variable}", is_text=True))


_SERVICE_LINK: Final = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$")


def _is_service_link(variable: str, value: str) -> bool:
    """Whether Kubernetes set it, which names a service called soprano in the pods beside it."""
    if "__" in variable:
        return False
    return bool(_SERVICE_LINK.search(variable)) or (variable.endswith("_PORT") and "://" in value)


def _from_flags(flags: Mapping[str, Any]) -> Iterator[Origin]:
    for key, value in flags.items():
        if value is not None:
            yield _checked(Origin(key, value, "command line", is_text=True))


def environment_without_settings(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a process that gets its settings otherwise; some of ours are secret.

    Args:
        environ: the environment; None is that of the process.
    """
    environ = os.environ if environ is None else environ
    return {name: value for name, value in environ.items() if not name.startswith(ENV_PREFIX)}


def _checked(origin: Origin) -> Origin:
    section, _, name = origin.key.partition(".")
    if name in _FIELDS.get(section, {}):
        return origin
    known = ", ".join(_FIELDS.get(section, _FIELDS))
    where = f"[{section}] has" if section in _FIELDS else "the sections are"
    raise SettingsError(f"{origin.key} from {origin.source} is not a setting; {where}: {known}.")


def _converted(origin: Origin) -> Any:
    section, _, name = origin.key.partition(".")
    kind = _FIELDS[section][name]
    found = f"{origin.key} = {shown_value(origin.key, origin.value)} from {origin.source}"
    if "\0" in str(origin.value):
        raise SettingsError(f"{found}: expected no NUL character.")
    try:
        return msgspec.convert(origin.value, kind, strict=not origin.is_text)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{found}: expected {describe_range(kind)}.") from error


def shown_value(key: str, value: Any) -> str:
    """The value of `section.name` as people may see it."""
    return "(hidden)" if key in SECRETS and value else repr(value)


_KINDS: Final = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
}


def describe_range(kind: Any) -> str:
    """The values a setting may have, in words."""
    schema = msgspec.json.schema(kind)
    if "description" in schema:
        return str(schema["description"])
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    text = _KINDS[schema["type"]]
    if "minimum" in schema:
        text += f" from {schema['minimum']}"
    if "maximum" in schema:
        text += f" to {schema['maximum']}"
    if "exclusiveMinimum" in schema:
        text += f" above {schema['exclusiveMinimum']}"
    if "pattern" in schema:
        text += f" that matches {schema['pattern']}"
    if "minLength" in schema:
        text += f" of at least {schema['minLength']} characters"
    return text
