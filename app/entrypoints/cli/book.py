"""`soprano-api say` for documents: part by part into one file with chapters.

Each part is stored in a directory beside the file, and what is stored there is not spoken again
when the same command is given once more after an interruption.
"""

import asyncio
import fcntl
import hashlib
import shutil
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from app.domain.book import Book, BookPart, chapter_marks, split_parts
from app.domain.errors import InvalidRequestError
from app.domain.segment import RENDERERS, Caption
from app.domain.speech import SpeechRequest
from app.entrypoints.bootstrap.commands import BOOK_FORMATS, duration_of, join_parts
from app.entrypoints.cli.options import whole_file
from app.entrypoints.services import Services

# While the last sentence of one part is made the next part has begun.
PARTS_AT_ONCE: Final = 2


class PartRecord(msgspec.Struct, frozen=True):
    """What is stored beside the sound of a part."""

    duration_s: float  # of its sound, in seconds
    captions: list[Caption]  # with times from its beginning on


class PartFile:
    """One part of a book: the files with its sound, which appears last, and what is known of it.

    They are named for all that decides how it sounds.
    """

    def __init__(self, directory: Path, part: BookPart, request: SpeechRequest, model: str) -> None:
        self.part = part
        self.request = msgspec.structs.replace(request, text=part.text)
        key = hashlib.sha256(msgspec.json.encode((self.request, model))).hexdigest()[:32]
        self.path = directory / f"{key}.{request.format}"
        self._record = directory / f"{key}.json"

    def read(self) -> PartRecord:
        """What was stored when the part was whole."""
        return msgspec.json.decode(self._record.read_bytes(), type=PartRecord)

    async def speak(self, services: Services, progress: "Shown") -> None:
        """Speak and store it; raises SpeechError or OSError."""
        with whole_file(self.path) as file:
            async with aclosing(await services.speech.start(self.request)) as stream:
                async for part in stream:
                    if isinstance(part, bytes):
                        file.write(part)
                    elif isinstance(part, Caption):
                        progress.add(len(part.text), 0.0)
            file.flush()
            duration_s = await asyncio.to_thread(duration_of, Path(file.name))
            with whole_file(self._record) as record:
                record.write(msgspec.json.encode(PartRecord(duration_s, stream.captions)))
        progress.add(0, duration_s)


class Shown:
    """A bar on a terminal, with the playing time so far and the time that is left."""

    def __init__(self, num_chars: int) -> None:
        text = TextColumn("{task.fields[audio]}")
        self.bar = Progress(
            BarColumn(), text, TimeRemainingColumn(),
            console=Console(stderr=True), disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._task = self.bar.add_task("", total=num_chars or 1, audio="")
        self._audio_s = 0.0

    def add(self, num_chars: int, audio_s: float) -> None:
        """So many characters, or seconds of audio, are done."""
        self._audio_s += audio_s
        minutes = f"{self._audio_s / 60:.0f} min of audio"
        self.bar.update(self._task, advance=num_chars, audio=minutes)


async def speak_book(
    services: Services,
    book: Book,
    request: SpeechRequest,
    path: Path,
    captions: str | None,
    model: str,
) -> None:
    """Speak all parts that are not stored, and join them to the file at `path`.

    `captions` is the format of those beside it, if any; `model` names what the sound depends on
    besides the request. Raises SpeechError or OSError.
    """
    directory = path.with_name(f"{path.name}.parts")
    directory.mkdir(exist_ok=True)
    with _only_one(directory):
        book_format = BOOK_FORMATS[path.suffix.lower()]
        request = msgspec.structs.replace(request, format=book_format.format)
        files = [PartFile(directory, part, request, model) for part in split_parts(book)]
        shown = Shown(sum(len(file.part.text) for file in files))
        with shown.bar:
            await _speak_parts(services, files, shown)
        records = [file.read() for file in files]
        if captions:
            texts = RENDERERS[captions](list(_joined_captions(records)))
            with whole_file(path.with_suffix(f".{captions}")) as beside:
                beside.write(texts.encode())
        durations_s = [record.duration_s for record in records]
        marks = chapter_marks(book, [file.part for file in files], durations_s)
        joined = directory / f"joined{path.suffix}"
        sounds = [file.path for file in files]
        await asyncio.to_thread(join_parts, sounds, joined, book_format, book, marks)
        joined.replace(path)
        shutil.rmtree(directory)


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Let no other process make the same book meanwhile; the system gives the lock back."""
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"Another process is making this book: {directory} is in use."
            raise InvalidRequestError(message) from None
        yield


async def _speak_parts(services: Services, files: list[PartFile], shown: Shown) -> None:
    waiting = iter(files)

    async def work() -> None:
        for file in waiting:
            if file.path.exists():  # it is whole then
                shown.add(len(file.part.text), file.read().duration_s)
            else:
                await file.speak(services, shown)

    working = [asyncio.create_task(work()) for _ in range(PARTS_AT_ONCE)]
    try:
        await asyncio.gather(*working)
    finally:
        for task in working:
            task.cancel()
        await asyncio.wait(working)


def _joined_captions(records: list[PartRecord]) -> Iterator[Caption]:
    start_s, number = 0.0, 0
    for record in records:
        for caption in record.captions:
            begin_s, end_s = start_s + caption.start_s, start_s + caption.end_s
            yield msgspec.structs.replace(caption, index=number, start_s=begin_s, end_s=end_s)
            number += 1
        start_s += record.duration_s
