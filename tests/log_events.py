"""The log events in the source of the application, and those that the documentation has."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

LEVELS = {"debug", "info", "warning", "error", "exception"}
RENAMED = {"exc_info": "exception"}
"""Arguments that are written under another name."""


class Event(msgspec.Struct, frozen=True):
    """One place in the source that writes an event, or one row of the table."""

    name: str
    levels: frozenset[str]
    fields: frozenset[str]


class UnnamedEventError(Exception):
    """A call whose event is not a plain string: nobody could look it up."""


def events_in(source: str) -> Iterator[Event]:
    """Every event that a module writes: `_log.info("name", field=...)`, or by a chosen level."""
    nodes = list(ast.walk(ast.parse(source)))
    writers = dict(_chosen_levels(nodes))
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        levels = _levels_of(node.func) or (
            writers.get(node.func.id, set()) if isinstance(node.func, ast.Name) else set()
        )
        if levels:
            yield _event(node, levels)


def context_in(source: str) -> set[str]:
    """Every field that a module adds to all events of a request."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {
        keyword.arg
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "bound_contextvars"
        for keyword in call.keywords
        if keyword.arg is not None
    }


def _chosen_levels(nodes: list[ast.AST]) -> Iterator[tuple[str, set[str]]]:
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            parts = [node.value]
            if isinstance(node.value, ast.IfExp):
                parts = [node.value.body, node.value.orelse]
            levels = set().union(*(_levels_of(part) for part in parts))
            if levels:
                yield node.targets[0].id, levels


def _levels_of(node: ast.AST) -> set[str]:
    """`{"info"}` for `_log.info`."""
    is_ours = (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "_log"
        and node.attr in LEVELS
    )
    return {node.attr} if is_ours and isinstance(node, ast.Attribute) else set()


def _event(call: ast.Call, levels: set[str]) -> Event:
    name = call.args[0] if call.args else None
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        raise UnnamedEventError(ast.unparse(call))
    fields = {RENAMED.get(each.arg, each.arg) for each in call.keywords if each.arg is not None}
    if "exception" in levels:
        fields.add("exception")
        levels = levels - {"exception"} | {"error"}
    return Event(name.value, frozenset(levels), frozenset(fields))


def merged(events: list[Event]) -> dict[str, Event]:
    """One of each name, with all levels and fields that it has anywhere."""
    found: dict[str, Event] = {}
    for event in events:
        known = found.get(event.name, Event(event.name, frozenset(), frozenset()))
        found[event.name] = Event(
            event.name, known.levels | event.levels, known.fields | event.fields
        )
    return found


@functools.cache
def events_of(directory: Path) -> dict[str, Event]:
    """All events of the modules in `directory`."""
    sources = [path.read_text() for path in sorted(directory.rglob("*.py"))]
    return merged([event for source in sources for event in events_in(source)])


def documented(page: str) -> dict[str, Event]:
    """All events of a page: rows `| name | levels | fields | when |`, names in backticks."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if re.match(r"\| `[a-z_]+\.", line)
    ]
    return merged([_row(cells) for cells in rows])


def documented_context(page: str) -> set[str]:
    """The fields of all events of a request: rows `| field | meaning |`."""
    return set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE))


def _row(cells: list[str]) -> Event:
    name, levels, fields, when = cells
    assert when, f"{name} has no description"
    return Event(
        name.strip("`"),
        frozenset(levels.split(", ")),
        frozenset(re.findall(r"`([a-z0-9_]+)`", fields)),
    )
