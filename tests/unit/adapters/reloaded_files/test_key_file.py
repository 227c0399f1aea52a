"""The file of keys."""

import stat
import threading
from pathlib import Path

import pytest

from app.adapters.reloaded_files import add_key, describe_entry, read_keys
from app.domain.api_keys import ApiKey, InvalidKeysError, KeyLimits, hash_key

KEY, OTHER = "sk-soprano-0123456789abcdef", "sk-soprano-fedcba9876543210"
DIGEST = hash_key(KEY).hex()
DEFAULTS = KeyLimits(10, 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("lines", "limits"),
    [
        ("", DEFAULTS),
        ("requests_per_minute = 3", KeyLimits(3, 20)),
        ("max_concurrent = 4", KeyLimits(10, 4)),
        ("requests_per_minute = 0\nmax_concurrent = 0", KeyLimits(0, 0)),
    ],
)
def test_a_key_has_its_own_limits_or_those_of_the_settings(
    path: Path, lines: str, limits: KeyLimits
) -> None:
    path.write_text(f'[keys.alice]\nsha256 = "{DIGEST.upper()}"\n{lines}\n')
    assert read_keys(path, DEFAULTS) == [ApiKey("alice", hash_key(KEY), limits)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no keys"),
        ("[keys]\n", "has no keys"),
        ("[keys.alice\n", "is not a file of keys"),
        (f'[keys.alice]\nsha256 = "{KEY}"\n', r"\[keys.alice\]"),
        (f'[keys.alice]\nsha256 = "{DIGEST[1:]}"\n', r"\[keys.alice\]"),
        ("[keys.alice]\n", "sha256"),
        (f'[keys.alice]\nsha256 = "{DIGEST}"\nrate = 1\n', "rate"),
        (f'[keys.alice]\nsha256 = "{DIGEST}"\nmax_concurrent = -1\n', r"\[keys.alice\]"),
        (f'[keys.alice]\nsha256 = "{DIGEST}"\nmax_concurrent = "1"\n', r"\[keys.alice\]"),
        (f'[keys.{KEY.upper()}]\nsha256 = "{DIGEST}"\n', "The name of a key"),
        (f'keys = "{KEY}"\n', "is not a file of keys"),
        (f'key = "{KEY}"\n', "is not a file of keys"),
        ('[keys.a]\nsha256 = "\\udc80"\n', "is not a file of keys"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_without_what_may_be_a_key(
    path: Path, text: str, words: str
) -> None:
    path.write_text(text)
    with pytest.raises(InvalidKeysError, match=words) as caught:
        read_keys(path, DEFAULTS)
    assert str(path) in str(caught.value)
    assert KEY.lower() not in str(caught.value).lower()


def test_a_file_that_cannot_be_read_is_refused(path: Path) -> None:
    with pytest.raises(InvalidKeysError, match="there is none"):
        read_keys(path, DEFAULTS)
    path.mkdir()
    with pytest.raises(InvalidKeysError, match="cannot be read"):
        read_keys(path, DEFAULTS)
    path.rmdir()
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidKeysError, match="not UTF-8"):
        read_keys(path, DEFAULTS)


def test_keys_are_added_one_after_the_other_and_what_was_there_stays(path: Path) -> None:
    add_key(path, "alice", KEY)
    assert mode(path) == 0o600
    path.write_text("# mine\n" + path.read_text() + "max_concurrent = 4 # few")
    path.chmod(0o640)
    before = path.read_text()
    add_key(path, "bob", OTHER)
    assert path.read_text() == f"{before}\n\n{describe_entry('bob', OTHER)}"
    assert [key.name for key in read_keys(path, DEFAULTS)] == ["alice", "bob"]
    assert mode(path) == 0o640  # who made it readable for the server's user meant it
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (describe_entry("alice", KEY), "alice", "a key named alice already"),
        (describe_entry("alice", KEY), "Alice", "The name of a key"),
        ("[keys.alice", "bob", "is not a file of keys"),
    ],
)
def test_a_file_that_cannot_get_a_key_stays_as_it_is(
    path: Path, text: str, name: str, words: str
) -> None:
    path.write_text(text)
    with pytest.raises(InvalidKeysError, match=words):
        add_key(path, name, OTHER)
    assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_a_link(path: Path) -> None:
    link = path.with_name("link.toml")
    link.symlink_to(path)
    add_key(link, "alice", KEY)
    assert link.is_symlink()
    assert read_keys(path, DEFAULTS)


def test_a_directory_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(InvalidKeysError, match="cannot be written"):
        add_key(path / "deeper.toml", "alice", KEY)


def test_of_many_that_add_at_once_none_is_lost_without_a_word(path: Path) -> None:
    refused: dict[str, str] = {}
    barrier = threading.Barrier(8)

    def add(name: str) -> None:
        barrier.wait()
        try:
            add_key(path, name, f"{KEY}-{name}")
        except InvalidKeysError as error:
            refused[name] = str(error)

    threads = [threading.Thread(target=add, args=(f"key{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    added = {key.name for key in read_keys(path, DEFAULTS)}
    assert added | set(refused) == {f"key{number}" for number in range(8)}
    assert not added & set(refused)
    assert all("is being changed" in reason for reason in refused.values())
