"""The report says what was measured, on what, and what was not."""

import platform
from pathlib import Path

import pytest

from benchmarks.report import (
    ProcessorTimes,
    Run,
    Table,
    build_report,
    describe_machine,
    describe_targets,
    describe_versions,
    processor_of,
    read_processor_times,
    write_plot,
)
from benchmarks.results import (
    OURS_FP32,
    OURS_INT8,
    PACKAGE,
    PACKAGE_SERVER,
    Metric,
    Results,
    build_rows,
)
from benchmarks.scenarios import Plan


def results(*, has_package: bool = True) -> Results:
    made = Results()
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


def report(measured: Results, *notes: str) -> str:
    run = Run(
        date="2026-01-01",
        machine={"processor": "Abacus 9"},
        versions={"Python": "3.11"},
        model="some-checkpoint",
        command="python -m benchmarks --model some-checkpoint",
        plot="bench.png",
        notes=notes,
    )
    return build_report(run, Plan(clients=(1, 2)), measured, build_rows(measured))


def tables_of(text: str) -> list[list[str]]:
    """The lines of each Markdown table."""
    blocks = text.split("\n\n")
    return [block.splitlines() for block in blocks if block.startswith("| ")]


def test_every_row_of_a_table_has_as_many_cells_as_its_head() -> None:
    tables = tables_of(report(results()))
    assert len(tables) == 5
    for lines in tables:
        assert len({line.count("|") for line in lines}) == 1


def test_machine_versions_plot_and_command_are_there() -> None:
    text = report(results())
    for words in ("Abacus 9", "Python 3.11", "(bench.png)", "python -m benchmarks --model some"):
        assert words in text
    assert "Rounds: 3;" in text
    assert "{" not in text


def test_figures_of_the_package_and_ratios_stand_beside_ours() -> None:
    line = "| one sentence | 12.0 x | 3.0 x | 1.2 x | 1.1 x | 10.0 | 2.5 |"
    assert line in report(results())


def test_without_the_package_its_cells_are_empty_and_a_note_says_why() -> None:
    text = report(results(has_package=False), "Only ours were measured.")
    assert "| one sentence | 12.0 x | 3.0 x | - | - | - | - |" in text
    assert "Only ours were measured." in " ".join(text.split())


def test_targets_are_counted_and_those_that_fail_are_named() -> None:
    words = describe_targets(build_rows(results()))
    assert words.startswith("2 of 3 targets that must hold do.")
    assert "Not held: fp32, one sentence." in words


def test_targets_that_need_the_package_are_not_claimed_without_it() -> None:
    words = describe_targets(build_rows(results(has_package=False)))
    assert words.startswith("1 of 3 targets that must hold do.")
    assert "Not measured: int8, one sentence." in words


def test_a_table_is_a_section() -> None:
    table = Table("Title", ("", "a"), [("row", "1")])
    assert table.markdown() == "## Title\n\n|  | a |\n| --- | ---: |\n| row | 1 |"


def test_others_used_what_was_busy_and_not_ours() -> None:
    before = ProcessorTimes(total=100.0, busy=10.0, own=2.0)
    after = ProcessorTimes(total=300.0, busy=130.0, own=72.0)
    assert after.used_by_others(before) == pytest.approx(0.25)


def test_the_processors_times_only_grow() -> None:
    before = read_processor_times()
    after = read_processor_times()
    assert after.total >= before.total
    assert after.own >= before.own > 0


@pytest.mark.parametrize(
    ("cpu_info", "processor"),
    [
        ("processor\t: 0\nmodel name\t: Abacus 9\nflags\t\t: fpu sse avx2\n", "Abacus 9, avx2"),
        (
            "model name : Abacus 10\nflags : avx512_vnni avx2\n\nmodel name : Abacus 11\n",
            "Abacus 10, avx2 avx512_vnni",
        ),
        ("model name : Abacus 1\nflags : fpu\n", "Abacus 1"),
    ],
)
def test_the_processor_is_told_with_what_makes_products_fast(cpu_info: str, processor: str) -> None:
    assert processor_of(cpu_info) == processor


def test_a_processor_without_a_name_is_told_by_its_kind() -> None:
    assert processor_of("Features : fp asimd asimddp\n") == f"{platform.machine()}, asimddp"


@pytest.mark.integration  # git says which commit it is
def test_machine_and_versions_are_told() -> None:
    machine = describe_machine(0.25)
    assert all(machine.values())
    assert "25%" in machine["used by other processes during the run"]
    assert {"Python", "onnxruntime", "soprano-tts-api"} <= describe_versions().keys()


@pytest.mark.integration  # matplotlib asks a process for the fonts
def test_a_plot_is_a_picture_whatever_was_measured(tmp_path: Path) -> None:
    measured = Results()
    for num in (1, 4):
        for name in (OURS_INT8, PACKAGE_SERVER):
            measured.add(name, Metric.CLIENTS_SPEED, [float(num)], num)
        measured.add(OURS_INT8, Metric.CLIENTS_FIRST_AUDIO_S, [0.05], num)
    write_plot(measured, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
