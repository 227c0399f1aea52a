"""The one place that reads settings: from flags, environment and file.

Order: flag, then environment, then file, then default. The origin of each value is kept, so that a
bad one can be traced.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from app.entrypoints.settings import FORMER, Settings, describe_range, setting_types, shown_value

ENV_PREFIX: Final = "SOPRANO_"
CONFIG_VARIABLE: Final = "SOPRANO_CONFIG"  # names the settings file, unless `--config` does
MAX_FILE_BYTES: Final = 1_048_576  # of a settings file: a device may have no end


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
    """Merge all sources; raises SettingsError.

    `flags` are by `section.name`, and None is absent; `config` is the path of a TOML file, else the
    one that SOPRANO_CONFIG names, if any; `environ` is by default that of the process.
    """
    environ = os.environ if environ is None else environ
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    found = {}
    for origin in (
        *_from_file(config or environ.get(CONFIG_VARIABLE) or None),
        *_from_environment(environ),
        *(Origin(key, value, "command line", is_text=True) for key, value in given.items()),
    ):
        found[origin.key] = _checked(origin)
    sections: dict[str, dict[str, Any]] = {name: {} for name in _FIELDS}
    for origin in found.values():
        section, _, name = origin.key.partition(".")
        sections[section][name] = _converted(origin, _FIELDS[section][name])
    settings = msgspec.convert(sections, Settings)
    sources = {key: found[key].source if key in found else "default" for key in all_keys()}
    return LoadedSettings(settings, sources)


def all_keys() -> list[str]:
    """Every `section.name`, in the order of their definition."""
    return [f"{section}.{name}" for section, fields in _FIELDS.items() for name in fields]


_FIELDS: Final = setting_types()


def _from_file(path: str | None) -> Iterator[Origin]:
    if path is None:
        return
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"it has more than {MAX_FILE_BYTES} bytes.")  # noqa: TRY301
        # Some editors begin a file with a byte-order mark.
        tables = tomllib.loads(content.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"The settings file {path} cannot be read: {error}") from error
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsError(f"{section} from file {path}: expected a [section].")
        for name, value in table.items():
            yield Origin(f"{section}.{name}", value, f"file {path}", is_text=False)


_SERVICE_LINK: Final = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$")


def _from_environment(environ: Mapping[str, str]) -> Iterator[Origin]:
    for variable, value in sorted(environ.items()):
        # Kubernetes names a service called soprano in the pods beside it.
        is_port = variable.endswith("_PORT") and "://" in value
        is_service = "__" not in variable and (is_port or _SERVICE_LINK.search(variable))
        if variable.startswith(ENV_PREFIX) and variable != CONFIG_VARIABLE and not is_service:
            key = variable.removeprefix(ENV_PREFIX).lower().replace("__", ".", 1)
            yield Origin(key, value, f"environment {variable}", is_text=True)


def environment_without_settings(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment (by default ours), without what may be secret in a setting."""
    environ = os.environ if environ is None else environ
    return {name: value for name, value in environ.items() if not name.startswith(ENV_PREFIX)}


def _checked(origin: Origin) -> Origin:
    section, _, name = origin.key.partition(".")
    if name in _FIELDS.get(section, {}):
        return origin
    if origin.key in FORMER:
        what = FORMER[origin.key]
        raise SettingsError(f"{origin.key} from {origin.source} is not a setting any more; {what}.")
    known = ", ".join(_FIELDS.get(section, _FIELDS))
    where = f"[{section}] has" if section in _FIELDS else "the sections are"
    raise SettingsError(f"{origin.key} from {origin.source} is not a setting; {where}: {known}.")


def _converted(origin: Origin, kind: Any) -> Any:
    found = f"{origin.key} = {shown_value(origin.key, origin.value)} from {origin.source}"
    if "\0" in str(origin.value):
        raise SettingsError(f"{found}: expected no NUL character.")
    try:
        return msgspec.convert(origin.value, kind, strict=not origin.is_text)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{found}: expected {describe_range(kind)}.") from error
