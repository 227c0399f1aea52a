"""Making keys. Names adapters, as bootstrap does."""

from pathlib import Path

from app.adapters.api_keys import add_key, describe_entry
from app.domain.api_keys import check_name, new_key


def create_key(name: str) -> tuple[str, str]:
    """A fresh key, and the lines by which a file of keys knows it.

    Raises:
        InvalidKeysError: the name cannot be one.
    """
    check_name(name)
    key = new_key()
    return key, describe_entry(name, key)


def create_key_in(path: Path, name: str) -> str:
    """A fresh key, which the file knows when this returns.

    Raises:
        InvalidKeysError: the file has that name already, or cannot be changed.
    """
    key = new_key()
    add_key(path, name, key)
    return key
