"""Files that are reloaded when they change: API keys and pronunciations.

The file of keys has one table for each key, `[keys.NAME]`, with the SHA-256 of the key in
hexadecimal digits. The lexicon has one word a line, such as `gif = "jif"`.
"""

import asyncio
import errno
import os
import stat
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
import structlog
from msgspec import UNSET, Meta, UnsetType

from app.domain.api_keys import ApiKey, InvalidKeysError, KeyLimits, Keyring, check_name, hash_key
from app.domain.errors import InvalidRequestError
from app.domain.text.pronunciations import Pronunciations, check_pronunciation
from app.ports.clock import Clock

FILE_MODE: Final = 0o600  # of a file that is made here: the names of the keys are nobody's business

MAX_FILE_BYTES: Final = 1_048_576  # of a file that is read: room for ten thousand keys

LOOK_EVERY_S: Final = 1.0  # seconds for which nobody looks at a file again

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class _ReloadedFile(Generic[T]):
    """The `content` that `read` makes of a file, and raises what `read` raises."""

    def __init__(self, path: Path, read: Callable[[], T], clock: Clock) -> None:
        self._path = path
        self._read = read
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._state = _state(path)
        self.content = read()

    def is_due(self) -> bool:
        """Whether nobody has looked at the file for so long that it may have changed."""
        return self._clock.monotonic() - self._looked_at >= LOOK_EVERY_S

    def note_look(self) -> None:
        """Somebody looks at the file: nobody else needs to."""
        self._looked_at = self._clock.monotonic()

    def reload(self) -> bool:
        """Whether the file has changed, and so was read; a failure is told once."""
        state = _state(self._path)  # before reading: a change meanwhile is seen the next time
        if state == self._state:
            return False
        self._state = state
        self.content = self._read()
        return True


def _state(path: Path) -> tuple[int, ...]:
    """By which one content of a file is told from another, without reading it."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


Limit = Annotated[int, Meta(ge=0, le=2**31)]


class KeyEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key of the file; a limit that is absent is that of the settings."""

    sha256: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}$")]
    requests_per_minute: Limit | UnsetType = UNSET
    max_concurrent: Limit | UnsetType = UNSET


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    keys: dict[str, Any] = {}


def read_keys(path: Path, limits: KeyLimits) -> list[ApiKey]:
    """All keys of the file; at least one. `limits` are those of keys that have none of their own.

    Raises InvalidKeysError if it is not to be read, damaged, or without a key: that would open the
    server.
    """
    entries = _parse(path, _read(path, InvalidKeysError))
    if not entries:
        raise InvalidKeysError(
            f"{path} has no keys; `soprano-api keys create NAME --file {path}` makes one."
        )
    keys = []
    for name, entry in entries.items():
        own = msgspec.to_builtins(entry)  # without what is not set
        digest = bytes.fromhex(own.pop("sha256"))
        keys.append(ApiKey(name, digest, msgspec.structs.replace(limits, **own)))
    return keys


def add_key(path: Path, name: str, key: str, show: Callable[[], object] = lambda: None) -> None:
    """Add a key to the file, which is made if it is not there, and changes all at once.

    `show` is called when nothing but that change is left to do: if it raises, the file stays as it
    was, so that no key is kept that nobody has seen. Raises InvalidKeysError if the name is taken
    or cannot be one, the file is damaged, or it cannot be written.
    """
    check_name(name)
    path = path.resolve()  # a link stays a link
    # The new file has a fixed name, so that it is also a lock: who finds it there must not begin.
    new_path = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(new_path, flags, FILE_MODE)
        try:
            with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - it has no path
                file.write(_with_key(path, name, key))
                file.flush()
                if path.exists():
                    os.fchmod(fd, stat.S_IMODE(path.stat().st_mode))
                os.fsync(fd)
            show()
            new_path.replace(path)
        except BaseException:
            with suppress(OSError):
                new_path.unlink()
            raise
    except FileExistsError as error:
        raise InvalidKeysError(
            f"{error.filename} exists: {path.name} is being changed. If it is not, remove it."
        ) from error
    except OSError as error:
        raise InvalidKeysError(f"{path} cannot be written: {error.strerror}.") from error


def describe_entry(name: str, key: str) -> str:
    """The lines of the file for one key."""
    return f'[keys.{name}]\nsha256 = "{hash_key(key).hex()}"\n'


def _with_key(path: Path, name: str, key: str) -> str:
    """The text of the file with one key more."""
    old = _read(path, InvalidKeysError) if path.exists() else ""
    if name in _parse(path, old):
        raise InvalidKeysError(f"{path} has a key named {name} already.")
    entry = describe_entry(name, key)
    return f"{old.rstrip()}\n\n{entry}" if old.strip() else entry


def _read(path: Path, failure: type[Exception]) -> str:
    """The text of a regular file, or of what a link names; raises `failure`."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise failure(f"{path} is not a regular file.")
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise failure(f"{path} has more than {MAX_FILE_BYTES} bytes.")
        return content.decode()
    except OSError as error:
        reason = "there is none" if error.errno == errno.ENOENT else error.strerror
        raise failure(f"{path} cannot be read: {reason}.") from error
    except UnicodeDecodeError as error:
        raise failure(f"{path} is not UTF-8.") from error
    except ValueError as error:  # a name with a zero byte
        raise failure(f"{str(path)!r} cannot be read: {error}.") from error


def _open_at_once(path: str, flags: int) -> int:
    """A named pipe would hold the thread until somebody writes to it, and a device for longer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _parse(path: Path, text: str) -> dict[str, KeyEntry]:
    entries: dict[str, KeyEntry] = {}
    try:
        for name, table in msgspec.convert(tomllib.loads(text), KeyFile).keys.items():
            check_name(name)
            try:
                entries[name] = msgspec.convert(table, KeyEntry)
            except msgspec.ValidationError as error:
                raise InvalidKeysError(f"[keys.{name}]: {error}") from error
    except (ValueError, RecursionError, msgspec.ValidationError, InvalidKeysError) as error:
        raise InvalidKeysError(f"{path} is not a file of keys: {error}") from error
    return entries


class FixedKeys:
    """A KeySource over the keys of the settings; they change with a restart only."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def current(self) -> Keyring:
        return self._keyring

    async def wait_for_change(self, known: Keyring) -> Keyring:
        while self._keyring is known:
            await asyncio.Event().wait()
        return self._keyring


class WatchedKeyFile:
    """A KeySource over a file. A new file that cannot be used changes nothing, and is logged once.

    The keys that are `given` do not change. Raises InvalidKeysError if the file cannot be used.
    """

    def __init__(
        self, path: Path, given: Sequence[ApiKey], limits: KeyLimits, clock: Clock
    ) -> None:
        self._clock = clock
        self._looking = asyncio.Lock()
        self._file = _ReloadedFile(path, lambda: Keyring((*given, *read_keys(path, limits))), clock)

    async def current(self) -> Keyring:
        if self._file.is_due():
            await self._look()
        return self._file.content

    async def wait_for_change(self, known: Keyring) -> Keyring:
        while self._file.content is known:
            await self._clock.sleep(LOOK_EVERY_S)
            await self._look()
        return self._file.content

    async def _look(self) -> None:
        self._file.note_look()  # first of all, so that nobody else looks
        async with self._looking:  # a waiter must see what another look finds
            await asyncio.to_thread(self._reload)

    def _reload(self) -> None:
        try:
            if self._file.reload():
                _log.info("keys.reloaded", num_keys=len(self._file.content))
        except InvalidKeysError as error:
            _log.error("keys.not_reloaded", reason=str(error))


class InvalidLexiconError(Exception):
    """The file cannot be used; the message names the line where one is wrong."""


class LexiconFile:
    """A LexiconSource over a file, as WatchedKeyFile; raises InvalidLexiconError."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = _ReloadedFile(path, lambda: read_lexicon(path), clock)

    @property
    def pronunciations(self) -> Pronunciations:
        if self._file.is_due():
            self._file.note_look()
            try:
                if self._file.reload():
                    num_words = len(self._file.content.respellings)
                    _log.info("lexicon.reloaded", num_words=num_words)
            except InvalidLexiconError as error:
                _log.error("lexicon.not_reloaded", reason=str(error))
        return self._file.content


def read_lexicon(path: Path) -> Pronunciations:
    """The pronunciations in the file; raises InvalidLexiconError."""
    text = _read(path, InvalidLexiconError)
    try:
        entries = tomllib.loads(text)
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
