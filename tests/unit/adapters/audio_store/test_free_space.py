import math
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.adapters.audio_store.files import FreeSpace


@pytest.fixture
def may_answer() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_it_is_that_of_the_volume_even_before_the_directory_is_there(tmp_path: Path) -> None:
    free = FreeSpace(tmp_path / "not" / "yet")()
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_where_it_cannot_be_told_it_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OSError

    monkeypatch.setattr(shutil, "disk_usage", fail)
    assert math.isnan(FreeSpace(tmp_path)())


def test_a_disk_that_hangs_holds_nobody_up_and_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_answer: threading.Event
) -> None:
    asked: list[Path] = []

    def hang(path: Path) -> None:
        asked.append(path)
        may_answer.wait()
        raise OSError

    monkeypatch.setattr(shutil, "disk_usage", hang)
    space = FreeSpace(tmp_path)
    assert [math.isnan(space()) for _ in range(3)] == [True] * 3
    assert len(asked) == 1
