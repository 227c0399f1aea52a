import pwd
from pathlib import Path
from typing import NoReturn

import pytest
from platformdirs import user_cache_path

from app.entrypoints.cli.main import ensure_home


def test_a_user_without_a_home_gets_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """F37."""

    def unknown(_: int) -> NoReturn:
        raise KeyError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "to be restored")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RuntimeError):
        user_cache_path("soprano-api")
    ensure_home()
    assert user_cache_path("soprano-api").is_relative_to(tmp_path)
    home = Path.home()
    ensure_home()
    assert Path.home() == home
