"""Writes the tables of the documentation that follow from the code.

A table stands between `<!-- generated: NAME -->` and `<!-- end -->` in a page. `python -m
docs.generate` rewrites all of them, `--check` fails if one is out of date.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from app.adapters.observers.prometheus import PrometheusMetrics
from app.domain.audio import AudioFormat
from app.domain.errors import SpeechError
from app.domain.speech import ModelInfo, SpeechReport, Voice
from app.entrypoints.cli.main import cli
from app.entrypoints.http import errors as http_errors
from app.entrypoints.http.schemas import CreateSpeech
from app.entrypoints.settings import Settings, describe, describe_range, setting_types
from app.ports.telemetry import RequestReport

ROOT: Final = Path(__file__).parents[1]
EXTENSION: Final = "Extension: "
BLOCK: Final = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
HELP_WIDTH: Final = 100


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    names = list(headings)
    lines = [names, ["---"] * len(names), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def request_fields() -> str:
    """The fields of `POST /v1/audio/speech`: OpenAI's, then the extensions."""
    message = msgspec.json.schema_components([CreateSpeech])[1]["CreateSpeech"]
    rows = []
    for name, field in message["properties"].items():
        description = description_of(field)
        is_extension = description.startswith(EXTENSION)
        if name in message["required"]:
            description = f"Required. {description}"
        text = description.removeprefix(EXTENSION)
        rows.append((is_extension, f"`{name}`", describe_values(field), text))
    rows.sort(key=lambda row: (row[0], "input" not in row[1], "model" not in row[1]))
    marks = {False: "OpenAI", True: "extension"}
    headings = ("Field", "Values", "Meaning", "Origin")
    return table(headings, ((name, kind, text, marks[ours]) for ours, name, kind, text in rows))


def description_of(schema: dict[str, Any]) -> str:
    """The description of a field, which msgspec may put into one of its alternatives."""
    kinds = [schema, *schema.get("anyOf", [])]
    return str(next(kind["description"] for kind in kinds if "description" in kind))


def describe_values(schema: dict[str, Any]) -> str:
    """The values that a JSON schema allows, in words; null is left out."""
    if "anyOf" in schema:
        kinds = [describe_values(kind) for kind in schema["anyOf"] if kind.get("type") != "null"]
        return " or ".join(kinds)
    if "$ref" in schema:
        formats = ", ".join(f"`{name}`" for name in sorted(AudioFormat))
        return formats if schema["$ref"].endswith("/AudioFormat") else 'object `{"id": …}`'
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = str(schema["type"])
    if "minimum" in schema or "exclusiveMinimum" in schema:
        is_open = "exclusiveMinimum" in schema
        minimum = number(schema["exclusiveMinimum" if is_open else "minimum"])
        return f"{kind}, {'more than ' * is_open}{minimum} to {number(schema['maximum'])}"
    if "maxLength" in schema:
        return f"{kind}, up to {schema['maxLength']} characters"
    return kind


def number(value: float) -> str:
    """A limit as people write it."""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def error_codes() -> str:
    """Every error code with its status, from the error classes and the framework's statuses."""
    import_module("app.entrypoints.http.app")  # and with it every module that has an error class
    rows: dict[tuple[int, str], tuple[str, str, str]] = {}
    for error in error_classes(SpeechError):
        if "code" not in vars(error) or error is SpeechError:
            continue
        status_code = next(
            http_errors._STATUS[base] for base in error.__mro__ if base in http_errors._STATUS
        )
        retry = "yes" if error.is_retryable else "no"
        meaning = (error.__doc__ or "").partition("\n")[0]
        kind = http_errors.kind_of(status_code)
        rows.setdefault((status_code, error.code), (kind, retry, meaning))
    for code, (status_code, message) in http_errors.HTTP_ERRORS.items():
        retry = "yes" if status_code in http_errors.RETRYABLE else "no"
        meaning = message.replace("{problem};", "Not found;")
        meaning = re.sub(r" ?\{.*?\}", " …", meaning)
        meaning = "The body is not JSON, or is compressed." if meaning == " …" else meaning
        rows.setdefault((status_code, code), (http_errors.kind_of(status_code), retry, meaning))
    internal = http_errors.INTERNAL_ERROR
    rows[500, str(internal.code)] = (internal.type, "no", "An unexpected failure; see the log.")
    return table(
        ("Status", "`code`", "`type`", "Retry", "Meaning"),
        (
            (str(status_code), f"`{code}`", f"`{kind}`", retry, meaning)
            for (status_code, code), (kind, retry, meaning) in sorted(rows.items())
        ),
    )


def error_classes(root: type[SpeechError]) -> Iterator[type[SpeechError]]:
    """The class and all below it that the application defines."""
    if root.__module__.startswith("app."):
        yield root
    for child in root.__subclasses__():
        yield from error_classes(child)


def settings() -> str:
    """Every setting with its default, its values and what it does."""
    parts = []
    for section, types in setting_types().items():
        defaults = getattr(Settings(), section)
        rows = [
            (
                f"`{name}`",
                f"`{msgspec.json.encode(getattr(defaults, name)).decode()}`",
                escaped(describe_range(kind)),
                escaped(describe(kind)),
            )
            for name, kind in types.items()
        ]
        heading = f"## `[{section}]`\n\n{type(defaults).__doc__}"
        parts.append(f"{heading}\n\n" + table(("Name", "Default", "Values", "Meaning"), rows))
    return "\n\n".join(parts)


def escaped(cell: str) -> str:
    """A cell of a table with nothing that Markdown would interpret."""
    return re.sub(r"([|*^\\])", r"\\\1", cell)


def metrics() -> str:
    """Every metric of our own, from a scrape after each event has happened once."""
    info = ModelInfo(id="m", backend="b", sample_rate=24_000, voices=(Voice("v", "V"),))
    source = PrometheusMetrics()
    source.describe_build("1", info)
    source.watch_instances(lambda: 1)
    source.speech_ended(
        SpeechReport(format=AudioFormat.MP3, audio_s=1.0, first_audio_s=0.1, total_s=0.5)
    )
    source.request_ended(RequestReport(method="GET", route="/", status=200, duration_s=0.1))
    rows = []
    for family in text_string_to_metric_families(source.render().decode()):
        if not family.name.startswith("soprano_"):
            continue
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        suffix = "_total" if family.type == "counter" else ""
        names = ", ".join(f"`{label}`" for label in sorted(labels))
        rows.append((f"`{family.name}{suffix}`", family.type, names, family.documentation))
    return table(("Metric", "Type", "Labels", "Meaning"), sorted(rows))


def command_line() -> str:
    """The help of every command."""
    parts = []
    for context in command_contexts(command_context(cli, None, "soprano-api")):
        text = context.command.get_help(context)
        parts.append(f"## `{context.command_path}`\n\n```text\n{text}\n```")
    return "\n\n".join(parts)


def command_context(
    command: click.Command, parent: click.Context | None, name: str
) -> click.Context:
    """The context in which `command` prints its help."""
    more = command.context_settings
    return click.Context(
        command, parent, name, terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH, **more
    )


def command_contexts(context: click.Context) -> Iterator[click.Context]:
    """The context of a command and of each command below it."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None:
                yield from command_contexts(command_context(command, context, name))


TABLES: Final[dict[str, Callable[[], str]]] = {
    "request-fields": request_fields,
    "error-codes": error_codes,
    "settings": settings,
    "metrics": metrics,
    "command-line": command_line,
}


def pages() -> list[Path]:
    """The pages that may hold a generated table."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def with_tables(page: str) -> str:
    """The text of a page with all of its generated tables up to date."""
    return BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", page)


def main(arguments: list[str]) -> int:
    """Write the tables, or check them; the exit code."""
    is_check = arguments == ["--check"]
    stale = [page for page in pages() if with_tables(page.read_text()) != page.read_text()]
    for page in stale:
        if not is_check:
            page.write_text(with_tables(page.read_text()))
        state = "is out of date" if is_check else "written"
        sys.stdout.write(f"{page.relative_to(ROOT)} {state}\n")
    return int(is_check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
