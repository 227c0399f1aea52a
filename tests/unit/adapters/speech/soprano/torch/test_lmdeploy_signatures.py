"""The stand-in for lmdeploy has the signatures of the real wheel, read from its source."""

import ast
import dataclasses
import inspect
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.standins import lmdeploy as standin

WHEEL_VERSION = "0.18.0"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    directory = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
         "--dest", str(directory), f"lmdeploy=={WHEEL_VERSION}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip("the wheel of lmdeploy cannot be downloaded here")
    return zipfile.ZipFile(next(Path(directory).glob("lmdeploy-*.whl")))


def definition(wheel: zipfile.ZipFile, path: str, name: str) -> ast.AST:
    tree = ast.parse(wheel.read(path))
    return next(node for node in ast.walk(tree) if getattr(node, "name", None) == name)


def parameters(node: ast.AST) -> list[str]:
    assert isinstance(node, ast.FunctionDef)
    names = [argument.arg for argument in node.args.args]
    return names + ([f"**{node.args.kwarg.arg}"] if node.args.kwarg else [])


def own_parameters(function: object) -> list[str]:
    assert callable(function)
    return [
        f"**{p.name}" if p.kind is p.VAR_KEYWORD else p.name
        for p in inspect.signature(function).parameters.values()
    ]


def fields(node: ast.AST) -> dict[str, object]:
    """Annotated names of a class with their defaults, as far as they are constants."""
    assert isinstance(node, ast.ClassDef)
    return {
        item.target.id: item.value.value if isinstance(item.value, ast.Constant) else None
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }


def test_pipeline_takes_the_same_parameters(wheel: zipfile.ZipFile) -> None:
    real = parameters(definition(wheel, "lmdeploy/api.py", "pipeline"))
    assert own_parameters(standin.pipeline) == real


@pytest.mark.parametrize("method", ["stream_infer", "session", "close"])
def test_a_pipeline_has_the_same_methods(wheel: zipfile.ZipFile, method: str) -> None:
    pipeline = definition(wheel, "lmdeploy/pipeline.py", "Pipeline")
    assert isinstance(pipeline, ast.ClassDef)
    real = next(n for n in pipeline.body if isinstance(n, ast.FunctionDef) and n.name == method)
    assert own_parameters(getattr(standin.Pipeline, method)) == parameters(real)


def test_a_session_can_be_aborted(wheel: zipfile.ZipFile) -> None:
    path = "lmdeploy/serve/managers/session_manager.py"
    session = definition(wheel, path, "Session")
    assert isinstance(session, ast.ClassDef)
    abort = next(n for n in session.body if isinstance(n, ast.FunctionDef) and n.name == "abort")
    assert own_parameters(standin.Session.abort) == parameters(abort)


@pytest.mark.parametrize("name", ["GenerationConfig", "TurbomindEngineConfig", "Response"])
def test_the_data_classes_have_our_fields_and_defaults(wheel: zipfile.ZipFile, name: str) -> None:
    real = fields(definition(wheel, "lmdeploy/messages.py", name))
    for field in dataclasses.fields(getattr(standin, name)):
        assert field.name in real
        assert real[field.name] == field.default, field.name
