"""`soprano-api say` and `normalize`: text to a file, or to the words that are spoken for it."""

import asyncio
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.domain.audio import DEFAULT_STEM, AudioFormat
from app.domain.book import Book
from app.domain.segment import RENDERERS
from app.domain.services.speech_stream import SpeechStream
from app.domain.speech import SpeechRequest
from app.domain.text.front_end import ReadingOptions, segment_text
from app.domain.text.mapped_text import MappedText
from app.domain.text.reading.matching import JOINT
from app.domain.text.splitting import split_sentences
from app.entrypoints.bootstrap import commands
from app.entrypoints.bootstrap.ports import build_lexicon, build_ports
from app.entrypoints.cli.book import speak_book
from app.entrypoints.cli.options import common_options, settings_from, whole_file
from app.entrypoints.log import configure_logging
from app.entrypoints.services import Ports, Services
from app.entrypoints.settings import Settings
from app.ports.audio_store import StoredAudio
from app.ports.speech_model import SpeechModel

FORMATS: Final = [audio_format.value for audio_format in AudioFormat]

STANDARD: Final = "-"  # standard input as the text, standard output as the file

# A text on one's own command line is not limited as a request is, and the user can stop.
MAX_CHARS: Final = 10_000_000
WAIT_S: Final = 86_400.0

PLAYERS: Final = (
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error", "-"),
    ("mpv", "--really-quiet", "-"),
    ("pw-play", "-"),
    ("aplay", "-q", "-"),
    ("play", "-q", "-t", "wav", "-"),
)
"""Commands that play WAV from standard input, the first one that is installed."""


@click.command()
@click.argument("text", nargs=-1)
@click.option("-o", "--output", help="File to write; '-' is standard output. Default: the store.")
@click.option("--format", "format_name", type=click.Choice(FORMATS), help="Audio format.")
@click.option("--voice", help="Voice name.")
@click.option("--speed", type=float, default=1.0, show_default=True, help="0.25 to 4.")
@click.option("--sample-rate", type=click.IntRange(8_000, 48_000), help="Sample rate in Hz.")
@click.option("--captions", type=click.Choice(list(RENDERERS)), help="Write subtitles beside it.")
@click.option("--play", is_flag=True, help="Play it while it is spoken, and write no file.")
@common_options
def say(  # noqa: PLR0913, PLR0917 - a flag each
    text: tuple[str, ...],
    output: str | None,
    format_name: str | None,
    voice: str | None,
    speed: float,
    sample_rate: int | None,
    captions: str | None,
    play: bool,  # noqa: FBT001
    config: str | None,
    **flags: Any,
) -> None:
    """Synthesize TEXT into a file.

    Reads standard input without TEXT, or if TEXT is '-'.

    TEXT may also be names of files and directories: EPUB, HTML, Markdown and plain text. They
    become one audio book with chapters if the output is .m4b (the default for them), .m4a, .mp3 or
    .opus. After an interruption the same command goes on where it was.

    The format is taken from --format, then from the file extension, then WAV.
    """
    flags["log_level"] = flags["log_level"] or "warning"
    settings = settings_from(config, flags).settings
    configure_logging(settings.log)
    book = _read_documents(text)
    if book and not (output or play or format_name):
        first = Path(text[0]).resolve()
        output = f"{first.name if first.is_dir() else first.stem}.m4b"
    target = _Target(
        _choose_format(format_name, output), output, captions, play, format_name, bool(book)
    )
    chapters = book.chapters if book else ()
    paragraphs = [paragraph for chapter in chapters for paragraph in chapter.paragraphs]
    request = SpeechRequest(
        text="\n\n".join(paragraphs) if book else text_or_input(*text),
        voice=voice,
        speed=speed,
        format=target.format,
        sample_rate=sample_rate,
    )
    asyncio.run(_run(settings, request, target, book))


class _Target(msgspec.Struct, frozen=True):
    """Where the sound goes."""

    format: AudioFormat
    output: str | None  # a file, standard output, or None for the store
    captions: str | None  # format of the subtitles beside the file
    is_played: bool  # and not written
    format_name: str | None  # as it was asked for
    is_book: bool  # of documents

    def __post_init__(self) -> None:
        if self.is_played and (self.output is not None or self.format_name):
            raise click.UsageError("--play writes no file; leave out --output and --format.")
        if self.has_chapters and self.format_name:
            raise click.UsageError("The name of a book says its format; leave out --format.")
        if self.captions and self.output in (None, STANDARD):
            raise click.UsageError("--captions are written beside a file; name it with --output.")

    @property
    def has_chapters(self) -> bool:
        """Whether it is an audio book."""
        path = self.path
        return self.is_book and path is not None and path.suffix.lower() in commands.BOOK_FORMATS

    @property
    def path(self) -> Path | None:
        """Of the file, if it is one."""
        return Path(self.output) if self.output not in (None, STANDARD) else None


def _read_documents(names: tuple[str, ...]) -> Book | None:
    """What the files named hold; nothing if the command line is a text itself."""
    paths = [Path(name) for name in names]
    is_book = len(paths) > 1 or (paths and commands.is_document(paths[0]))
    return commands.read_book(paths) if is_book else None


def _choose_format(name: str | None, output: str | None) -> AudioFormat:
    if name is not None:
        return AudioFormat(name)
    extension = Path(output).suffix.lstrip(".") if output else ""
    try:
        return AudioFormat(extension or "wav")
    except ValueError as error:
        known = ", ".join(AudioFormat)
        raise click.BadParameter(f".{extension} is no known format: {known}.") from error


async def _run(
    settings: Settings, request: SpeechRequest, target: _Target, book: Book | None
) -> None:
    speech = msgspec.structs.replace(settings.speech, max_chars=MAX_CHARS)
    model = msgspec.structs.replace(settings.model, load_wait_s=WAIT_S)
    admission = msgspec.structs.replace(settings.admission, max_wait_s=WAIT_S)
    ports = build_ports(settings)
    unlimited = msgspec.structs.replace(settings, speech=speech, model=model, admission=admission)
    services = Services(ports, unlimited)
    async with services.running():
        if book and target.path and target.has_chapters:
            if not _is_regular(target.path):
                raise click.ClickException(f"{target.path} is no file, which a book has to be.")
            sound = commands.describe_sound(ports, settings)
            await speak_book(services, book, request, target.path, target.captions, sound)
            click.echo(target.path)
            return
        async with (
            aclosing(await services.speech.start(request)) as stream,
            aclosing(_shown(stream)) as parts,
        ):
            if target.is_played:
                await _play(parts)
            elif target.path is not None:
                await _write_file(target.path, stream, parts)
                if target.captions:
                    captions = RENDERERS[target.captions](stream.captions)
                    with whole_file(target.path.with_suffix(f".{target.captions}")) as beside:
                        beside.write(captions.encode())
                click.echo(target.path)
            elif target.output == STANDARD:
                async for part in parts:
                    sys.stdout.buffer.write(part)
            else:
                saved, place = await _store(ports, stream, parts), settings.store.directory
                click.echo(saved.name if "://" in place else Path(place) / saved.name)


async def _store(ports: Ports, stream: SpeechStream, parts: AsyncIterator[bytes]) -> StoredAudio:
    store = await ports.stores.for_owner(None)
    kind = stream.encoding.format
    return await store.save(parts, stem=DEFAULT_STEM, audio_format=kind, head=stream.head)


async def _play(parts: AsyncIterator[bytes]) -> None:
    command = next((each for each in PLAYERS if shutil.which(each[0])), None)
    if command is None:
        names = ", ".join(each[0] for each in PLAYERS)
        raise click.ClickException(f"--play needs one of these programs: {names}.")
    player = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    sound = cast("asyncio.StreamWriter", player.stdin)
    try:
        with suppress(ConnectionError):  # it was closed
            async for part in parts:
                sound.write(part)
                await sound.drain()
            sound.close()
        status = await player.wait()
    finally:
        if player.returncode is None:
            player.terminate()
    if status:
        raise click.ClickException(f"{command[0]} ended with status {status}.")


def _is_regular(path: Path) -> bool:
    """Whether a file of this name may be made, or replaced."""
    if path.is_dir() or not path.parent.is_dir():
        raise click.ClickException(f"{path} cannot be written: it needs a directory and a name.")
    return path.is_file() or not path.exists()


async def _write_file(path: Path, stream: SpeechStream, parts: AsyncIterator[bytes]) -> None:
    """A file appears when it is whole; a device or a pipe stays what it is, and is written to."""
    if not _is_regular(path):
        with path.open("wb") as device:
            async for part in parts:
                device.write(part)
        return
    with whole_file(path) as file:
        async for part in parts:
            file.write(part)
        file.seek(0)
        file.write(stream.head())


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


def text_or_input(text: str | None = None) -> str:
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
