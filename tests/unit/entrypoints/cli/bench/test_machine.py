"""What the document says about the machine."""

import platform

import pytest

from app.entrypoints.cli.bench.machine import (
    ProcessorTimes,
    describe_machine,
    describe_versions,
    processor_of,
    read_processor_times,
)


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


def test_machine_and_versions_are_told() -> None:
    machine = describe_machine(0.25)
    assert all(machine.values())
    assert "25%" in machine["used by other processes during the run"]
    assert {"Python", "onnxruntime", "soprano-tts-api"} <= describe_versions().keys()
