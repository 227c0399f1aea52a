"""The files that deploy the server are what their tools accept, and fit the server."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from click.testing import CliRunner

from app.entrypoints.cli.main import cli
from app.entrypoints.settings import Settings
from app.entrypoints.settings_loader import all_keys
from tests.deploy.image import ROOT

DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final = (ROOT / "compose.yaml", DEPLOY / "compose" / "fleet.yaml")
UNIT: Final = DEPLOY / "systemd" / "soprano.service"
OVERLAYS: Final = ("base", "autoscaled", "keda", "monitoring", "ray", "shared")
OF_OPERATORS: Final = {"RayService", "ScaledObject", "ServiceMonitor"}
MAX_EXPOSURE: Final = 2.0  # of 10, as `systemd-analyze security` has it; a plain service has 9.6


def run(tool: str, *arguments: str | Path, cwd: Path = ROOT) -> str:
    """What a tool prints, which must succeed; skips without the tool."""
    beside = Path(sys.executable).parent
    found = shutil.which(tool, path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run(
        [found, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_dockerfile_follows_the_rules_of_its_linter() -> None:
    assert run("hadolint", "--no-color", "Dockerfile") == ""


def test_the_context_of_the_build_has_what_the_dockerfile_copies() -> None:
    copies = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    sent = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(name for names in copies for name in names.split()) == sorted(sent)


def test_every_dependency_has_a_wheel_for_arm64(tmp_path: Path) -> None:
    """Resolved, not downloaded."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    glibc = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (28, 27, 26, 17)]
    options = ["--dry-run", "--quiet", "--only-binary=:all:", f"--target={tmp_path}", *glibc]
    pinned = ["--python-version=3.11", "--constraint=constraints.txt", *project["dependencies"]]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, *pinned],
        cwd=ROOT,
        check=True,
        timeout=120,
    )


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_a_compose_file_is_one(path: Path) -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
    text = path.read_text()
    named = re.findall(r"(?:- |volumes: \[\")(\.\.?/[^:]+):", text)
    assert named
    assert [name for name in named if not (path.parent / name).exists()] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_knows_what_an_overlay_makes(overlay: str, tmp_path: Path) -> None:
    """Some kinds are of operators; no schema of them is at hand."""
    made = tmp_path / "made.yaml"
    made.write_text(run("kubectl", "kustomize", DEPLOY / "kubernetes" / overlay))
    said = run("kubernetes-validate", "--strict", made)
    kinds = [part["kind"] for part in yaml.safe_load_all(made.read_text())]
    of_operators = [kind for kind in kinds if kind in OF_OPERATORS]
    assert said.count(" passed for resource ") == len(kinds) - len(of_operators) > 3


def test_systemd_knows_the_unit_and_rates_its_sandbox(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE)
    unit.write_text(text)
    assert run("systemd-analyze", "verify", unit) == ""
    rated = run("systemd-analyze", "security", "--offline=yes", "--no-pager", unit)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", rated)
    assert exposure is not None
    assert float(exposure[1]) < MAX_EXPOSURE


def test_prometheus_knows_its_configuration(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "compose" / "prometheus.yml", tmp_path)
    shutil.copy(DEPLOY / "prometheus" / "alerts.yml", tmp_path)
    run("promtool", "check", "config", tmp_path / "prometheus.yml")


def test_the_settings_that_the_files_name_exist() -> None:
    files = [ROOT / "Dockerfile", ROOT / "compose.yaml", *DEPLOY.rglob("*.y*ml"), UNIT]
    text = "".join(path.read_text() for path in files)
    named = re.findall(r"SOPRANO_([A-Z]+)__([A-Z_]+)", text)
    keys = {f"{section}.{name}".lower() for section, name in named}
    assert keys <= set(all_keys())


def test_kuberay_runs_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOPRANO_MODEL__INSTANCES", "2")
    monkeypatch.setenv("SOPRANO_RAY__MAX_REPLICAS", "8")
    service = read(DEPLOY / "kubernetes" / "ray" / "ray-service.yaml")["spec"]
    done = CliRunner().invoke(cli, ["deploy", "ray", "--backend", "embedded"])
    assert yaml.safe_load(service["serveConfigV2"]) == json.loads(done.stdout)
    pins = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert service["rayClusterConfig"]["rayVersion"] == pins["ray"]


def test_no_supervisor_ends_a_server_that_still_drains() -> None:
    drain_s = Settings().server.shutdown_s
    services = [each for path in COMPOSE for each in read(path)["services"].values()]
    grace = [each["stop_grace_period"] for each in services if "stop_grace_period" in each]
    assert len(grace) == 3
    assert all(int(each.removesuffix("s")) > drain_s for each in grace)
    pod = read(DEPLOY / "kubernetes" / "base" / "deployment.yaml")["spec"]["template"]["spec"]
    leave_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > leave_s + drain_s
    stop_s = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert stop_s is not None
    assert int(stop_s[1]) > drain_s


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())
