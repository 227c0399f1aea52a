"""A disk that can be made to fail."""

import pytest

from tests.faults.disk import Disk


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)
