"""The dashboard and the alerts that come with the server, and what their queries ask for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "soprano.json"

VARIABLES = {"$__rate_interval": "5m"}
"""What Grafana puts into a query where nothing else than a time can stand."""


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return read


def panels() -> list[dict[str, Any]]:
    """All but the rows that group them."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    """Of all panels, without the variables that PromQL does not know."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    for variable, value in VARIABLES.items():
        found = [query.replace(variable, value) for query in found]
    return found


def metrics_in(query: str) -> set[str]:
    """Names of the series that a query reads; raises ValueError if it is no PromQL."""
    return {name for node in _nodes(promql_parser.parse(query)) if (name := _name(node))}


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for part in ("lhs", "rhs", "expr", "param", "vs", "vector_selector"):
        child = getattr(node, part, None)
        if child is not None:
            yield from _nodes(child)
    for argument in getattr(node, "args", None) or ():
        yield from _nodes(argument)


def _name(node: Any) -> str | None:
    return node.name if isinstance(node, promql_parser.VectorSelector) else None


def samples_of(page: str) -> set[str]:
    """Names of the series on a page of metrics: those of samples, and those that its types promise.

    A histogram or a counter with labels has no sample before it is first used.
    """
    found = set(re.findall(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)[{ ]", page, re.MULTILINE))
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE):
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        found |= {name + suffix for suffix in suffixes}
    return found - {"#"}
