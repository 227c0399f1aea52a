"""What `python -m benchmarks` refuses before it starts anything."""

from click.testing import CliRunner

from benchmarks.__main__ import bench


def test_without_weights_it_says_how_to_get_them() -> None:
    done = CliRunner().invoke(bench, ["--model", "no-such-directory", "--output", "x.md"])
    assert done.exit_code == 1
    assert "soprano-api models pull" in done.output
    assert "make bench" in done.output
