import pytest
from click.testing import CliRunner

from app.entrypoints.cli.doctor import Measured, advise
from app.entrypoints.cli.main import cli
from app.entrypoints.settings import ModelSettings, Settings


@pytest.mark.parametrize(
    ("measured", "precision", "has_dot_products", "advice"),
    [
        (Measured("hibari", "embedded", 30.0), "fp32", True, "ekwek/Soprano"),
        (Measured("soprano", "onnx", 4.0), "fp32", True, 'precision = "int8"'),
        (Measured("soprano", "onnx", 4.0), "int8", False, "VNNI"),
        (Measured("soprano", "onnx", 9.0), "int8", True, "Nothing"),
        (Measured("soprano", "transformers", 0.8), "fp32", True, "too slow"),
    ],
)
def test_advice_follows_what_was_measured(
    measured: Measured, precision: str, advice: str, *, has_dot_products: bool
) -> None:
    settings = Settings(model=ModelSettings(precision=precision))  # type: ignore[arg-type]
    (line,) = advise(measured, settings, has_dot_products=has_dot_products)
    assert advice in line


def test_it_says_what_is_here_and_how_fast_it_is() -> None:
    done = CliRunner().invoke(cli, ["doctor", "--backend", "embedded"])
    assert done.exit_code == 0
    assert "backend embedded" in done.output
    assert "hibari on embedded speaks one text" in done.output
    assert "nan" not in done.output


def test_what_does_not_speak_is_one_line() -> None:
    done = CliRunner().invoke(cli, ["doctor", "--backend", "onnx", "--model", "/nowhere"])
    assert done.exit_code == 1
    assert "Error: It does not speak:" in done.output
