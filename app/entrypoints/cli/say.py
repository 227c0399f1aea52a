"""`soprano-api say`: a text to a file."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.domain.audio import AudioFormat
from app.domain.errors import SpeechError
from app.domain.file_name import DEFAULT_STEM
from app.domain.services.lifecycle import Intake
from app.domain.services.speech_stream import SpeechStream
from app.domain.speech import SpeechRequest
from app.entrypoints.bootstrap.ports import build_ports
from app.entrypoints.cli.options import STANDARD, common_options, settings_from, text_or_input
from app.entrypoints.log import configure_logging
from app.entrypoints.services import Services
from app.entrypoints.settings import Settings
from app.ports.audio_store import AudioStores

FORMATS: Final = [audio_format.value for audio_format in AudioFormat]

MAX_CHARS: Final = 10_000_000
"""A text on one's own command line is not limited as a request is."""

LOAD_WAIT_S: Final = 86_400.0
"""And the user sees that the model loads, and can stop."""


class Target(msgspec.Struct, frozen=True):
    """Where the audio goes: a path, standard output, or (None) the store."""

    path: str | None
    format: AudioFormat


@click.command()
@click.argument("text", required=False)
@click.option("-o", "--output", help="File to write; '-' is standard output. Default: the store.")
@click.option("--format", "format_name", type=click.Choice(FORMATS), help="Audio format.")
@click.option("--voice", help="Voice name.")
@click.option("--speed", type=float, default=1.0, show_default=True, help="0.25 to 4.")
@click.option("--sample-rate", type=click.IntRange(8_000, 48_000), help="Sample rate in Hz.")
@common_options
def say(  # noqa: PLR0913, PLR0917 - a flag each
    text: str | None,
    output: str | None,
    format_name: str | None,
    voice: str | None,
    speed: float,
    sample_rate: int | None,
    config: str | None,
    **flags: Any,
) -> None:
    """Synthesize TEXT into a file.

    Reads standard input without TEXT, or if TEXT is '-'.

    The format is taken from --format, then from the file extension, then WAV.
    """
    settings = settings_from(config, {"log_level": flags.pop("log_level") or "warning", **flags})
    configure_logging(settings.settings.log)
    target = Target(output, _choose_format(format_name, output))
    try:
        request = SpeechRequest(
            text=text_or_input(text),
            voice=voice,
            speed=speed,
            format=target.format,
            sample_rate=sample_rate,
        )
        asyncio.run(_run(settings.settings, request, target))
    except SpeechError as error:
        raise click.ClickException(str(error)) from error


def _choose_format(name: str | None, output: str | None) -> AudioFormat:
    if name is not None:
        return AudioFormat(name)
    extension = Path(output).suffix.lstrip(".").lower() if output else ""
    extension = {"ogg": "opus", "": "wav"}.get(extension, extension)
    try:
        return AudioFormat(extension)
    except ValueError as error:
        known = ", ".join(AudioFormat)
        raise click.BadParameter(f".{extension} is no known format: {known}.") from error


async def _run(settings: Settings, request: SpeechRequest, target: Target) -> None:
    speech = msgspec.structs.replace(settings.speech, max_chars=MAX_CHARS)
    model = msgspec.structs.replace(settings.model, load_wait_s=LOAD_WAIT_S)
    ports = build_ports(settings)
    services = Services(
        ports, msgspec.structs.replace(settings, speech=speech, model=model), Intake()
    )
    async with (
        services.running(on_fatal=lambda _: None),
        aclosing(await services.speech.start(request)) as stream,
    ):
        with _shown(stream) as parts:
            if target.path == STANDARD:
                await _write_standard_output(parts)
            elif target.path is not None:
                await _write_file(Path(target.path), stream, parts)
                click.echo(target.path)
            else:
                name = await _keep(ports.stores, stream, parts)
                click.echo(Path(settings.store.directory) / name)


async def _write_standard_output(parts: "_Shown") -> None:
    async for part in parts:
        sys.stdout.buffer.write(part)


async def _keep(stores: AudioStores, stream: SpeechStream, parts: "_Shown") -> str:
    try:
        store = await stores.for_owner(None)
        audio_format = stream.encoding.format
        saved = await store.save(
            parts, stem=DEFAULT_STEM, audio_format=audio_format, head=stream.head
        )
    finally:
        await stores.close()
    return saved.name


def _is_regular(path: Path) -> bool:
    """Whether a file of this name may be made, or replaced."""
    if path.is_dir() or not path.parent.is_dir():
        raise click.ClickException(f"{path} cannot be written: it needs a directory and a name.")
    return path.is_file() or not path.exists()


async def _write_file(path: Path, stream: SpeechStream, parts: "_Shown") -> None:
    """The file appears under its name when it is whole.

    A device or a pipe stays what it is, and is written to.

    Raises:
        click.ClickException: it is a directory, or there is none for it.
    """
    if not _is_regular(path):
        with path.open("wb") as file:
            async for part in parts:
                file.write(part)
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            async for part in parts:
                file.write(part)
            file.seek(0)
            file.write(stream.head())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class _Shown:
    """The parts of a stream, with a bar on a terminal that moves as they pass."""

    def __init__(self, stream: SpeechStream, progress: Progress) -> None:
        self._stream = stream
        self._progress = progress

    async def __aiter__(self) -> AsyncIterator[bytes]:
        report = self._stream.report
        task = self._progress.add_task("", total=report.num_segments or 1, audio="")
        async for part in self._stream:
            self._progress.update(
                task, completed=report.num_segments_spoken, audio=f"{report.audio_s:.1f} s of audio"
            )
            if isinstance(part, bytes):
                yield part


@contextmanager
def _shown(stream: SpeechStream) -> Iterator["_Shown"]:
    is_quiet = not sys.stderr.isatty()
    columns = (BarColumn(), TextColumn("{task.fields[audio]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=is_quiet) as progress:
        yield _Shown(stream, progress)
