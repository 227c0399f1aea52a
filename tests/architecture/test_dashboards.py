"""The dashboard and the alerts ask for what the server tells, in queries that can be read."""

import re
import shutil
import subprocess
from itertools import combinations
from typing import Any

import pytest

from app.adapters.observers.prometheus import PrometheusMetrics
from app.domain.audio import AudioFormat
from app.domain.speech import SpeechReport
from app.ports.telemetry import RequestReport
from tests.dashboards import (
    ALERTS,
    CONFIG,
    ROOT,
    alerts,
    dashboard,
    metrics_in,
    panels,
    queries,
    samples_of,
)
from tests.fakes.speech_model import FAKE_INFO

OF_PROMETHEUS = {"up"}
"""Told by Prometheus itself."""

RULES = ROOT / "docs" / "how-to" / "monitor.md"
ALERT_TESTS = ROOT / "tests" / "architecture" / "alerts_test.yml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)


@pytest.fixture(scope="module")
def page() -> str:
    """All metrics, after everything has happened once."""
    metrics = PrometheusMetrics()
    metrics.describe_build("1.2.3", FAKE_INFO)
    metrics.watch_instances(lambda: 1)
    report = SpeechReport(format=AudioFormat.MP3, audio_s=1.0, first_audio_s=0.1, total_s=0.5)
    metrics.speech_ended(report)
    metrics.request_ended(RequestReport(method="GET", route="/", status=200, duration_s=0.1))
    return metrics.render().decode()


def all_queries() -> list[str]:
    return [rule["expr"] for rule in alerts()] + queries()


@pytest.mark.parametrize("query", all_queries())
def test_a_query_asks_for_what_the_server_tells(query: str, page: str) -> None:
    asked = metrics_in(query)
    assert asked
    assert asked <= samples_of(page) | OF_PROMETHEUS


@pytest.mark.parametrize("query", all_queries())
def test_a_query_uses_labels_that_there_are(query: str, page: str) -> None:
    known = set(re.findall(r'[{,](\w+)="', page)) | {"job", "instance"}
    chosen = re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', query)
    grouped = re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", query)
    used = {*chosen, *(name.strip() for names in grouped for name in names.split(","))} - {""}
    assert used <= known


def test_what_is_no_query_is_found_out() -> None:
    with pytest.raises(ValueError, match=r"parse|unexpected|invalid"):
        metrics_in("rate(soprano_requests_total[5m)")


def test_every_metric_of_our_own_is_on_the_dashboard_or_in_an_alert(page: str) -> None:
    told = set(re.findall(r"^# TYPE (soprano_\S+) ", page, re.MULTILINE))
    asked = {
        re.sub("_(bucket|sum|count)$", "", name) for q in all_queries() for name in metrics_in(q)
    }
    assert told - asked == set()


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    notes = rule["annotations"]
    assert notes["summary"]
    assert notes["description"].endswith(".")
    path, _, anchor = notes["runbook_url"].partition("#")
    assert ROOT / path == RULES
    assert anchor == rule["alert"].lower()
    assert f"\n### {rule['alert']}\n" in RULES.read_text()


def test_the_runbook_has_no_alert_that_there_is_not() -> None:
    headings = re.findall(r"^### (Soprano\w+)$", RULES.read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts()]


def test_the_panels_have_numbers_of_their_own() -> None:
    numbers = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_no_panel_hides_another() -> None:
    for first, second in combinations([panel["gridPos"] for panel in dashboard()["panels"]], 2):
        is_beside = (
            first["x"] + first["w"] <= second["x"] or second["x"] + second["w"] <= first["x"]
        )
        is_above = first["y"] + first["h"] <= second["y"] or second["y"] + second["h"] <= first["y"]
        assert is_beside or is_above, (first, second)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels())


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_in_which_unit_and_asks_the_chosen_source(
    panel: dict[str, Any],
) -> None:
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["datasource"] == source
    assert all(target["datasource"] == source for target in panel["targets"])
    assert all(target["legendFormat"] for target in panel["targets"])
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)
    assert all(
        'job=~"$job", instance=~"$instance"' in target["expr"] for target in panel["targets"]
    )


def test_the_dashboard_can_be_imported_anywhere() -> None:
    whole = dashboard()
    assert whole["schemaVersion"] >= 36
    assert "id" not in whole
    assert {"uid", "title", "time", "templating"} <= set(whole)
    variables = {variable["name"]: variable for variable in whole["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert set(variables) == {"datasource", "job", "instance"}


@pytest.mark.integration
@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", ALERTS),
        ("check", "config", CONFIG),
        ("test", "rules", ALERT_TESTS),
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_promtool_finds_nothing_to_say(arguments: tuple[Any, ...]) -> None:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
@needs_promtool
def test_promtool_finds_nothing_to_say_of_the_metrics(page: str) -> None:
    ours = "".join(
        line + "\n" for line in page.splitlines() if "soprano_" in line and "_created" not in line
    )
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=ours, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
