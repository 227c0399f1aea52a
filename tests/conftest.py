"""What several folders of tests share."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints.build import build_checkpoint
from tests.soprano_models import STANDINS


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A checkpoint with the arguments of `build_checkpoint`, made once."""
    made: dict[str, Path] = {}

    def make(**arguments: Any) -> Path:
        key = repr(sorted(arguments.items()))
        if key not in made:
            made[key] = build_checkpoint(tmp_path_factory.mktemp("checkpoint"), **arguments)
        return made[key]

    return make


@pytest.fixture
def lmdeploy_standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`import lmdeploy` finds the stand-in."""
    monkeypatch.syspath_prepend(str(STANDINS))
    yield
    sys.modules.pop("lmdeploy", None)
