"""What `soprano-api bench` refuses before it starts anything."""

import pytest
from click.testing import CliRunner

from app.entrypoints.cli.bench.command import bench


@pytest.mark.parametrize("clients", ["", "a", "1,,2", "0", "-1,2"])
def test_clients_are_numbers_from_1(clients: str) -> None:
    done = CliRunner().invoke(bench, ["--clients", clients])
    assert done.exit_code == 2
    assert "expected numbers" in done.output


def test_without_weights_it_says_how_to_get_them() -> None:
    done = CliRunner().invoke(bench, ["--model", "no-such-directory"])
    assert done.exit_code == 1
    assert "soprano-api models pull" in done.output
    assert "make bench" in done.output
