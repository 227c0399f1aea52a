"""The page of cases names tests that there are, and leaves no case out."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "reliability.md"
NUM_CASES = 62


@cache
def names_in(path: Path) -> frozenset[str]:
    """What pytest may collect from a file: functions, classes, and names of test cases."""
    tree = ast.parse(path.read_text())
    named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = {node.name for node in ast.walk(tree) if isinstance(node, named)}
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return frozenset(defined | assigned)


def missing_tests(page: str) -> list[str]:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    return [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or name not in names_in(ROOT / path)
    ]


def case_numbers(page: str) -> list[int]:
    return [int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]


def test_every_test_that_the_page_names_exists() -> None:
    page = PAGE.read_text()
    assert missing_tests(page) == []
    assert page.count("::") > NUM_CASES


def test_every_case_is_on_the_page_once_and_in_order() -> None:
    assert case_numbers(PAGE.read_text()) == list(range(1, NUM_CASES + 1))


def test_every_case_that_happens_here_names_a_test() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    silent = [row for row in rows if "::" not in row]
    assert [row for row in silent if "not built" not in row] == []


def test_a_test_that_is_not_there_is_found() -> None:
    assert missing_tests("`tests/architecture/test_reliability_table.py::test_nothing`")
    assert missing_tests("`tests/nowhere.py::test_nothing`")
