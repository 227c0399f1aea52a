"""`python -m benchmarks.code_metrics [TREE]`: the size and the shape of app/ in a working copy.

Reads the code of any revision and runs none of it.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

SETTINGS: Final = "app/entrypoints/settings.py"


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All, methods and inner ones as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def num_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From `def` to the last line, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def is_private(name: str) -> bool:
    """By its underscore; magic methods are public."""
    return name.startswith("_") and not name.endswith("__")


def num_settings(source: str) -> int:
    """Fields of the structs that Settings is made of, a group of settings not counted itself."""
    groups = {
        node.name: [field for field in node.body if isinstance(field, ast.AnnAssign)]
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
    }

    def count(name: str) -> int:
        num = 0
        for field in groups[name]:
            inner = ast.unparse(field.annotation)
            num += count(inner) if inner in groups else 1
        return num

    return count("Settings") if "Settings" in groups else 0


def measure(root: Path) -> dict[str, str]:
    """Names and values, in the order in which they are printed."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(root.glob("app/**/*.py"))}
    trees = {path: ast.parse(source) for path, source in sources.items()}
    lengths = [num_lines(function) for tree in trees.values() for function in functions(tree)]
    num_private = num_single = 0
    for path, tree in trees.items():
        for function in functions(tree):
            if is_private(function.name):
                num_private += 1
                mentions = len(re.findall(rf"\b{function.name}\b", sources[path]))
                num_single += mentions == 2
    classes = Counter(
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    twice = sorted(name for name, num in classes.items() if num > 1)
    settings = root / SETTINGS
    return {
        "files": str(len(sources)),
        "files with more than 2 lines": str(
            sum(source.count("\n") > 2 for source in sources.values())
        ),
        "lines": str(sum(source.count("\n") for source in sources.values())),
        "functions": str(len(lengths)),
        "lines of a function, median": f"{np.median(lengths):.0f}",
        "lines of a function, p90": f"{np.percentile(lengths, 90):.0f}",
        "private functions": str(num_private),
        "private functions with one caller": str(num_single),
        "settings": str(num_settings(settings.read_text())) if settings.exists() else "-",
        "class names that occur twice": f"{len(twice)} {' '.join(twice)}".strip(),
    }


if __name__ == "__main__":
    for name, value in measure(Path(*sys.argv[1:] or ["."])).items():
        sys.stdout.write(f"{name + ':':36}{value}\n")
