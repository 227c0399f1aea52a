"""What the document says about the machine."""

import pytest

from app.entrypoints.cli.bench.machine import (
    ProcessorTimes,
    describe_machine,
    describe_versions,
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


def test_machine_and_versions_are_told() -> None:
    machine = describe_machine(0.25)
    assert all(machine.values())
    assert "25%" in machine["used by other processes during the run"]
    assert {"Python", "onnxruntime", "soprano-tts-api"} <= describe_versions().keys()
