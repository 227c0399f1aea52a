"""The document says what was measured, and what was not."""

from app.entrypoints.cli.bench.document import Surroundings, build_document, describe_targets
from app.entrypoints.cli.bench.figures import (
    OURS_FP32,
    OURS_INT8,
    PACKAGE,
    PACKAGE_SERVER,
    Figures,
    Metric,
)
from app.entrypoints.cli.bench.plan import Plan
from app.entrypoints.cli.bench.rows import build_rows
from app.entrypoints.cli.bench.tables import TextTable, as_markdown, build_tables


def figures(*, has_package: bool = True) -> Figures:
    made = Figures()
    speeds = {OURS_INT8: 12.0, OURS_FP32: 3.0}
    if has_package:
        speeds |= {PACKAGE: 1.2, PACKAGE_SERVER: 1.1}
    for name, speed in speeds.items():
        made.add(name, Metric.SENTENCE_SPEED, [speed])
        made.add(name, Metric.TEXT_SPEED, [speed], 1)
        for num in (1, 2):
            made.add(name, Metric.CLIENTS_SPEED, [speed * num], num)
            made.add(name, Metric.CLIENTS_FIRST_AUDIO_S, [0.05, 0.06], num)
    made.add(OURS_INT8, Metric.STREAM_MARGIN_S, [0.1], 8)
    made.add(OURS_INT8, Metric.STREAM_GAP_S, [0.01, 0.02], 8)
    made.add(OURS_INT8, Metric.STREAM_FIRST_AUDIO_S, [0.05], 8)
    return made


def document(measured: Figures, plot: str | None = "bench.png", *notes: str) -> str:
    surroundings = Surroundings(
        date="2026-01-01",
        machine={"processor": "Abacus 9"},
        versions={"Python": "3.11"},
        model="some-checkpoint",
        command="soprano-api bench --model some-checkpoint",
        plot=plot,
        notes=notes,
    )
    rows = build_rows(measured)
    return build_document(
        surroundings, Plan(clients=(1, 2), rounds=3), rows, build_tables(measured, rows)
    )


def tables_of(text: str) -> list[list[str]]:
    """The lines of each Markdown table."""
    blocks = text.split("\n\n")
    return [block.splitlines() for block in blocks if block.startswith("| ")]


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    tables = tables_of(document(figures()))
    assert len(tables) == 5
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1


def test_machine_versions_plot_and_command_are_there() -> None:
    text = document(figures())
    for words in ("Abacus 9", "Python 3.11", "(bench.png)", "soprano-api bench --model some"):
        assert words in text
    assert "Rounds: 3;" in text
    assert "{" not in text


def test_without_a_plot_there_is_no_picture() -> None:
    assert "![" not in document(figures(), None)


def test_figures_of_the_package_and_ratios_stand_beside_ours() -> None:
    line = "| one sentence | 12.0 x | 3.0 x | 1.2 x | 1.1 x | 10.0 | 2.5 |"
    assert line in document(figures())


def test_without_the_package_its_cells_are_empty_and_a_note_says_why() -> None:
    text = document(figures(has_package=False), None, "Only ours were measured.")
    assert "| one sentence | 12.0 x | 3.0 x | - | - | - | - |" in text
    assert "Only ours were measured." in " ".join(text.split())


def test_targets_are_counted_and_those_that_fail_are_named() -> None:
    words = describe_targets(build_rows(figures()))
    assert words.startswith("2 of 3 targets that must hold do.")
    assert "Not held: fp32, one sentence." in words


def test_targets_that_need_the_package_are_not_claimed_without_it() -> None:
    words = describe_targets(build_rows(figures(has_package=False)))
    assert words.startswith("1 of 3 targets that must hold do.")
    assert "Not measured: int8, one sentence." in words


def test_a_table_is_a_section() -> None:
    table = TextTable("Title", ("", "a"), [("row", "1")])
    assert as_markdown(table) == "## Title\n\n|  | a |\n| --- | ---: |\n| row | 1 |"
