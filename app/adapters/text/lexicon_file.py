"""Pronunciations in a TOML file that may change while they are used, such as `gif = "jif"`."""

import tomllib
from pathlib import Path
from typing import Final

import structlog

from app.domain.errors import InvalidRequestError
from app.domain.text.pronunciations import Pronunciations, check_pronunciation
from app.ports.clock import Clock

LOOK_EVERY_S: Final = 1.0  # seconds for which the file is not looked at again
MAX_FILE_BYTES: Final = 1_048_576  # of a file that is read
_log = structlog.get_logger(__name__)


class InvalidLexiconError(Exception):
    """The file cannot be used; the message names the line where one is wrong."""


class LexiconFile:
    """A LexiconSource over a file; raises InvalidLexiconError if it cannot be used.

    A new file that cannot be used changes nothing, and is logged.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._state = _state(path)
        self._pronunciations = read_lexicon(path)

    @property
    def pronunciations(self) -> Pronunciations:
        now = self._clock.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return self._pronunciations
        self._looked_at = now
        state = _state(self._path)  # before reading: a change meanwhile is seen the next time
        if state != self._state:
            self._state = state
            try:
                self._pronunciations = read_lexicon(self._path)
                _log.info("lexicon.reloaded", num_words=len(self._pronunciations.respellings))
            except InvalidLexiconError as error:
                _log.error("lexicon.not_reloaded", reason=str(error))
        return self._pronunciations


def read_lexicon(path: Path) -> Pronunciations:
    """The pronunciations in the file; raises InvalidLexiconError."""
    try:
        if path.exists() and not path.is_file():
            raise InvalidLexiconError(f"{path} is not a regular file.")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise InvalidLexiconError(f"{path} has more than {MAX_FILE_BYTES} bytes.")
        text = content.decode()
        entries = tomllib.loads(text)
    except OSError as error:
        raise InvalidLexiconError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidLexiconError(f"{path} is not TOML: {error}") from error
    for word, respelling in entries.items():
        if not isinstance(respelling, str):
            entries[word] = ""  # no letters, which is what is said of it
        try:
            check_pronunciation(word, entries[word])
        except InvalidRequestError as error:
            raise InvalidLexiconError(f"{path}, line {_line_of(text, word)}: {error}") from error
    return Pronunciations(entries)


def _line_of(text: str, word: str) -> int:
    """Where the word stands first as a key; 1 if it is written in another way."""
    keys = (word, f'"{word}"', f"'{word}'", f"[{word}]")
    begins = [line.partition("=")[0].strip() for line in text.splitlines()]
    return next((number for number, key in enumerate(begins, start=1) if key in keys), 1)


def _state(path: Path) -> tuple[int, ...]:
    """By which one content of a file is told from another, without reading it."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
