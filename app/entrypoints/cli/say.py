"""`soprano-api say` and `normalize`: a text to a file, or to the words that are spoken for it."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO, Final

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
from app.domain.text.front_end import ReadingOptions, segment_text
from app.domain.text.mapped_text import MappedText
from app.domain.text.reading.matching import JOINT
from app.domain.text.splitting import split_sentences
from app.entrypoints.bootstrap.ports import build_lexicon, build_ports
from app.entrypoints.cli.options import common_options, settings_from
from app.entrypoints.log import configure_logging
from app.entrypoints.services import Services
from app.entrypoints.settings import Settings
from app.ports.speech_model import SpeechModel

FORMATS: Final = [audio_format.value for audio_format in AudioFormat]

STANDARD: Final = "-"  # standard input as the text, standard output as the file

# A text on one's own command line is not limited as a request is, and the user can stop.
MAX_CHARS: Final = 10_000_000
LOAD_WAIT_S: Final = 86_400.0


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
    flags["log_level"] = flags["log_level"] or "warning"
    settings = settings_from(config, flags).settings
    configure_logging(settings.log)
    audio_format = _choose_format(format_name, output)
    try:
        request = SpeechRequest(
            text=text_or_input(text),
            voice=voice,
            speed=speed,
            format=audio_format,
            sample_rate=sample_rate,
        )
        asyncio.run(_run(settings, request, output))
    except SpeechError as error:
        raise click.ClickException(str(error)) from error


def _choose_format(name: str | None, output: str | None) -> AudioFormat:
    if name is not None:
        return AudioFormat(name)
    extension = Path(output).suffix.lstrip(".") if output else ""
    try:
        return AudioFormat(extension or "wav")
    except ValueError as error:
        known = ", ".join(AudioFormat)
        raise click.BadParameter(f".{extension} is no known format: {known}.") from error


async def _run(settings: Settings, request: SpeechRequest, output: str | None) -> None:
    speech = msgspec.structs.replace(settings.speech, max_chars=MAX_CHARS)
    model = msgspec.structs.replace(settings.model, load_wait_s=LOAD_WAIT_S)
    ports = build_ports(settings)
    unlimited = msgspec.structs.replace(settings, speech=speech, model=model)
    services = Services(ports, unlimited, Intake())
    async with (
        services.running(),
        aclosing(await services.speech.start(request)) as stream,
        aclosing(_shown(stream)) as parts,
    ):
        if output == STANDARD:
            async for part in parts:
                sys.stdout.buffer.write(part)
        elif output is not None:
            await _write_file(Path(output), stream, parts)
            click.echo(output)
        else:
            try:
                store = await ports.stores.for_owner(None)
                name = stream.encoding.format
                saved = await store.save(
                    parts, stem=DEFAULT_STEM, audio_format=name, head=stream.head
                )
            finally:
                await ports.stores.close()
            click.echo(Path(settings.store.directory) / saved.name)


def _is_regular(path: Path) -> bool:
    """Whether a file of this name may be made, or replaced."""
    if path.is_dir() or not path.parent.is_dir():
        raise click.ClickException(f"{path} cannot be written: it needs a directory and a name.")
    return path.is_file() or not path.exists()


async def _write_file(path: Path, stream: SpeechStream, parts: AsyncIterator[bytes]) -> None:
    """A file appears when it is whole; a device or a pipe stays what it is, and is written to."""
    is_regular = _is_regular(path)
    written = path.with_name(f".{path.name}.{os.getpid()}.part") if is_regular else path
    try:
        with written.open("wb") as file:
            async for part in parts:
                file.write(part)
            if is_regular:
                file.seek(0)
                file.write(stream.head())
        if is_regular:
            written.replace(path)
    finally:
        if is_regular:
            written.unlink(missing_ok=True)


async def _shown(stream: SpeechStream) -> AsyncGenerator[bytes, None]:
    """The parts of a stream, with a bar on a terminal that moves as they pass."""
    report, is_quiet = stream.report, not sys.stderr.isatty()
    columns = (BarColumn(), TextColumn("{task.fields[audio]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=is_quiet) as progress:
        task = progress.add_task("", total=report.num_segments or 1, audio="")
        async for part in stream:
            audio = f"{report.audio_s:.1f} s of audio"
            progress.update(task, completed=report.num_segments_spoken, audio=audio)
            if isinstance(part, bytes):
                yield part


@click.command()
@click.argument("text", required=False)
@click.option("--jsonl", is_flag=True, help="Read and write one JSON string per line.")
@click.option("--voice-form", is_flag=True, help="Print the text as the model receives it.")
@common_options
def normalize(
    text: str | None, *, jsonl: bool, voice_form: bool, config: str | None, **flags: Any
) -> None:
    """Print the normalized form of TEXT, one sentence per line.

    Reads standard input without TEXT, or if TEXT is '-'.
    """
    if jsonl and text not in (None, STANDARD):
        raise click.UsageError("--jsonl reads standard input; leave TEXT out.")
    flags["log_level"] = flags["log_level"] or "warning"
    settings = settings_from(config, flags).settings
    configure_logging(settings.log)
    model = build_ports(settings).model if voice_form else None
    options = ReadingOptions(has_markup=settings.text.markup == "auto")
    if (lexicon := build_lexicon(settings)) is not None:
        options = msgspec.structs.replace(options, pronunciations=lexicon.pronunciations)
    if not jsonl:
        for sentence in _sentences(text_or_input(text), options, model):
            click.echo(sentence)
        return
    for number, line in enumerate(standard_input(), start=1):
        if line.strip():
            try:
                written = msgspec.json.decode(line, type=str)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                message = f"Line {number} is not a JSON string: {error}"
                raise click.ClickException(message) from error
            click.echo(msgspec.json.encode(" ".join(_sentences(written, options, model))))


def _sentences(text: str, options: ReadingOptions, model: SpeechModel | None) -> Iterator[str]:
    def split(parts: Sequence[MappedText]) -> list[MappedText]:
        return [sentence for part in parts for sentence in split_sentences(part)]

    for segment in segment_text(text, model.split if model is not None else split, options):
        if segment.text:
            yield segment.text.replace(JOINT, "")


def text_or_input(text: str | None) -> str:
    """TEXT of a command line, or standard input without it or if it is '-'."""
    if text is not None and text != STANDARD:
        return text
    try:
        return standard_input().read().decode()
    except UnicodeDecodeError as error:
        raise click.ClickException("The text on standard input is not UTF-8.") from error


def standard_input() -> BinaryIO:
    """Standard input as bytes; raises click.ClickException if it is closed."""
    if sys.stdin is None:
        raise click.ClickException("Standard input is closed.")
    return sys.stdin.buffer
