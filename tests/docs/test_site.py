"""The site builds without a warning and without a network."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STRICTLY = ["--fail-on-warning", "--keep-going", "--quiet"]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("sphinx") is None, reason="needs the extra docs"),
]


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", *STRICTLY, "-c", str(ROOT / "docs")]
    return subprocess.run(
        [*command, str(source), str(site)], capture_output=True, text=True, check=False
    )


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    built = build(ROOT / "docs", tmp_path)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "index.html").read_text()
    assert "<script" in page
    assert 'src="http' not in page
    assert 'rel="stylesheet" type="text/css" href="http' not in page


@pytest.mark.parametrize("link", ["[gone](gone.md)", "[gone](index.md#gone)"])
def test_a_broken_link_fails_the_build(tmp_path: Path, link: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text(f"# Page\n\n{link}\n")
    assert build(source, tmp_path / "site").returncode != 0
