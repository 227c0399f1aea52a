"""A `.pth` file gives tensors and nothing else; whatever its pickle asks for, nothing is run."""

import copyreg
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.adapters.speech.soprano.checkpoint.restricted_pickle import (
    RefusedPickleError,
    run_tensor_program,
)
from app.adapters.speech.soprano.checkpoint.shapes import TensorInfo
from app.adapters.speech.soprano.checkpoint.tensor_files import load_torch, read_torch_shapes
from app.domain.errors import CheckpointError
from tests.checkpoints.tensor_files import write_plain_state_dict
from tests.examples import examples
from tests.small_checkpoint import rewrite_archive

TENSORS = {
    "a.weight": np.arange(8, dtype=np.float32).reshape(2, 4),
    "a.bias": np.array([0.5, -0.25], np.float32),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "decoder.pth"
    write_plain_state_dict(path, TENSORS)
    return path


def program_of(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read("decoder/data.pkl")


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def integers(*values: int) -> bytes:
    return b"(" + b"".join(pickle.BININT + struct.pack("<i", value) for value in values) + b"t"


ORDERED_DICT = b"ccollections\nOrderedDict\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def program_of_one(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """The pickle of an OrderedDict with a view `w` into a storage of 8 numbers."""
    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x08tQ"
    )
    place = b"K" + bytes([offset]) + integers(*shape) + integers(*strides)
    tensor = REBUILD + b"(" + storage + place + b"\x89" + ORDERED_DICT + b")RtR"
    return b"\x80\x02" + ORDERED_DICT + b")Rq\x00" + text("w") + tensor + b"s}b."


def failure(path: Path) -> str:
    messages = []
    for read in (read_torch_shapes, load_torch):
        with pytest.raises(CheckpointError) as caught:
            read(path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert len(messages[0].splitlines()) == 1
    assert str(path) in messages[0]
    return messages[0]


class TestTensors:
    def test_shapes_are_read(self, path: Path) -> None:
        assert read_torch_shapes(path) == {
            "a.weight": TensorInfo("F32", (2, 4)),
            "a.bias": TensorInfo("F32", (2,)),
        }

    def test_numbers_are_read(self, path: Path) -> None:
        loaded = load_torch(path)
        assert set(loaded) == set(TENSORS)
        for name, tensor in TENSORS.items():
            np.testing.assert_array_equal(loaded[name], tensor)
            assert loaded[name].flags.writeable

    def test_a_view_takes_its_part_of_a_storage(self, path: Path) -> None:
        numbers = TENSORS["a.weight"].ravel()
        write_plain_state_dict(path, {"numbers": numbers})
        program = program_of_one(offset=1, shape=(2, 3), strides=(1, 2))
        rewrite_archive(path, {"data.pkl": program})
        np.testing.assert_array_equal(load_torch(path)["w"], [[1, 3, 5], [2, 4, 6]])

    def test_bfloat16_becomes_float32(self, path: Path) -> None:
        program = program_of(path).replace(b"FloatStorage", b"BFloat16Storage")
        halves = {
            f"data/{key}": (tensor.view(np.uint32) >> 16).astype("<u2").tobytes()
            for key, tensor in enumerate(TENSORS.values())
        }
        rewrite_archive(path, {"data.pkl": program, **halves})
        assert read_torch_shapes(path)["a.bias"] == TensorInfo("BF16", (2,))
        for name, tensor in TENSORS.items():  # small integers and powers of two: exact
            np.testing.assert_array_equal(load_torch(path)[name], tensor)

    def test_archives_of_old_versions_name_no_byte_order(self, path: Path) -> None:
        rewrite_archive(path, {"byteorder": None})
        assert len(read_torch_shapes(path)) == 2

    @pytest.mark.integration
    @pytest.mark.parametrize("protocol", [2, 3, 4])
    def test_torch_writes_what_is_read(self, path: Path, protocol: int) -> None:
        torch = pytest.importorskip("torch")
        numbers = torch.arange(24.0).reshape(2, 3, 4)
        tensors: dict[str, Any] = {
            "permuted": numbers.permute(2, 0, 1),
            "slice": numbers[1:, :, 2],
            "half": numbers.half(),
            "bfloat16": numbers.bfloat16(),
            "double": numbers.double(),
            "scalar": torch.tensor(3.0),
            "empty": torch.zeros(0, 3),
            "integers": torch.arange(5),
            "flags": numbers > 4,
            "parameter": torch.nn.Parameter(numbers),
        }
        torch.save(tensors, path, pickle_protocol=protocol)
        loaded = load_torch(path)
        assert set(loaded) == set(tensors)
        for name, tensor in tensors.items():
            assert read_torch_shapes(path)[name].shape == tuple(tensor.shape)
            np.testing.assert_array_equal(loaded[name], tensor.detach().float().numpy())

    @pytest.mark.integration
    def test_torch_writes_a_module_s_state_that_is_read(self, path: Path) -> None:
        torch = pytest.importorskip("torch")
        state = torch.nn.Linear(3, 2).state_dict()
        torch.save(state, path)
        np.testing.assert_array_equal(load_torch(path)["weight"], state["weight"].numpy())


class TestDamage:
    def test_no_archive_is_refused(self, path: Path) -> None:
        path.write_bytes(pickle.dumps({"weight": 1}))
        assert "expected a whole ZIP archive" in failure(path)

    def test_an_archive_on_several_disks_is_refused(self, path: Path) -> None:
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 2)
        path.write_bytes(locator + struct.pack("<4s18x", b"PK\x05\x06"))
        with pytest.raises(CheckpointError, match="is damaged: BadZipFile"):
            load_torch(path)

    def test_an_archive_without_a_description_is_refused(self, path: Path) -> None:
        rewrite_archive(path, {"data.pkl": None})
        assert "expected one data.pkl, found 0" in failure(path)

    def test_two_descriptions_are_refused(self, path: Path) -> None:
        rewrite_archive(path, {"more/data.pkl": b"\x80\x02}."})
        assert "expected one data.pkl, found 2" in failure(path)

    def test_missing_numbers_are_named(self, path: Path) -> None:
        rewrite_archive(path, {"data/1": None})
        assert "'data/1' is missing" in failure(path)

    @pytest.mark.parametrize("num_bytes", [4, 12])
    def test_numbers_must_be_as_many_as_described(self, path: Path, num_bytes: int) -> None:
        rewrite_archive(path, {"data/1": b"\0" * num_bytes})
        assert f"decoder/data/1: expected 8 bytes, found {num_bytes}" in failure(path)

    def test_big_endian_numbers_are_refused(self, path: Path) -> None:
        rewrite_archive(path, {"byteorder": b"big"})
        assert "byte order: expected little" in failure(path)

    def test_compression_is_refused(self, path: Path) -> None:
        rewrite_archive(path, {}, zipfile.ZIP_DEFLATED)
        assert "expected no compression" in failure(path)

    def test_wrong_numbers_are_found_by_their_checksum(self, path: Path) -> None:
        content = path.read_bytes()
        number = TENSORS["a.bias"].tobytes()
        assert content.count(number) == 1
        path.write_bytes(content.replace(number, number[::-1]))
        assert len(read_torch_shapes(path)) == 2
        with pytest.raises(CheckpointError, match="Bad CRC-32"):
            load_torch(path)

    @pytest.mark.parametrize(
        ("offset", "shape", "strides"),
        [
            (0, (3, 3), (3, 1)),
            (7, (2,), (1,)),
            (0, (2, 2), (7, 1)),
            (0, (9,), (0,)),  # repeats a number
            (0, (2, 2), (1,)),
            (0, (0, 2), (1,)),
            (0, (-1,), (1,)),
            (0, (2,), (-1,)),
            (0, (1,) * 9, (1,) * 9),
        ],
    )
    def test_a_tensor_stays_within_its_storage(
        self, path: Path, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        rewrite_archive(path, {"data.pkl": program_of_one(offset, shape, strides)})
        assert "its pickle" in failure(path)


class RunsCommand:
    """Its pickle asks for `os.system`."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self._command,)


class Plain:
    """Its pickle asks for this class."""


SET_DEFAULTS = (
    pickle.NONE + pickle.EMPTY_DICT + text("__defaults__") + pickle.NONE + b"s" + pickle.TUPLE2
)


class TestPicklesThatAskForMore:
    @pytest.mark.parametrize("protocol", range(6))
    def test_a_command_is_not_run(self, path: Path, tmp_path: Path, protocol: int) -> None:
        trace = tmp_path / "trace"
        command = RunsCommand(f"touch {trace}")
        for content in (command, {"weight": command}, [command]):
            rewrite_archive(path, {"data.pkl": pickle.dumps(content, protocol)})
            message = failure(path)
            assert "holds more than tensors" in message
            assert not trace.exists()
        pickle.loads(pickle.dumps(command, protocol))
        assert trace.exists(), "the pickle was harmless"

    @pytest.mark.parametrize(
        ("module", "name"),
        [
            ("posix", "system"),
            ("os", "system"),
            ("builtins", "eval"),
            ("builtins", "getattr"),
            ("torch", "load"),
            ("torch", "FloatStorage.__init__"),
            ("torch", "UntypedStorage"),
            ("torch._utils", "_rebuild_tensor_v2.__globals__"),
            ("torch.storage", "_load_from_bytes"),
            ("collections", "OrderedDict.fromkeys"),
            ("collections", "defaultdict"),
        ],
    )
    def test_no_other_name_is_found(self, module: str, name: str) -> None:
        calls = [
            b"\x80\x02" + f"c{module}\n{name}\n)R.".encode(),
            b"\x80\x04" + text(module) + text(name) + pickle.STACK_GLOBAL + b")R.",
        ]
        for program in calls:
            with pytest.raises(RefusedPickleError) as caught:
                run_tensor_program(program)
            assert f"asks for '{module}.{name}'" in str(caught.value)

    @pytest.mark.parametrize(
        "program",
        [
            b"\x80\x02}.",  # no tensors
            b"\x80\x02K\x01.",
            b"\x80\x02}" + text("a") + b"K\x01s.",
            b"\x80\x02}K\x01" + text("a") + b"s.",
            b"(S'true'\niposix\nsystem\n.",  # INST
            b"(cposix\nsystem\nS'true'\no.",  # OBJ
            ORDERED_DICT + b")\x81.",  # NEWOBJ
            b"\x82\x01.",  # EXT1
            ORDERED_DICT + SET_DEFAULTS + b"b.",
            REBUILD + SET_DEFAULTS + b"b.",
            REBUILD + b"}" + text("function") + b"Ns" + b"b.",
            b"ctorch\nFloatStorage\n}" + text("dtype") + b"Nsb.",
            REBUILD + b")R.",
            REBUILD + b"(" + text("a") + b"K\x00))tR.",
            b"((" + text("module") + b"ctorch\nFloatStorage\nNNK\x01tQ.",
            b"(" + text("storage") + b"NNNNtQ.",
            text("storage") + b"Q.",
            b"Nr\xff\xff\xff\xff.",  # a memo of 32 GB
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\x0f.",  # a string of as much
            b"\x96\xff\xff\xff\xff\xff\xff\xff\x0f.",
            b"\x80\x09.",
            b"0.",
            b"s.",
            b".",
            b"",
            pickle.dumps(Plain()),
            pickle.dumps({"a": {1, 2}}),
        ],
    )
    def test_every_other_program_is_refused(self, program: bytes) -> None:
        with pytest.raises(RefusedPickleError):
            run_tensor_program(program)

    def test_a_short_program_needs_no_long_memo(self) -> None:
        with pytest.raises(RefusedPickleError, match="memo"):
            run_tensor_program(b"Nr\xff\xff\xff\x00.")

    def test_registered_extensions_are_not_called(self) -> None:
        copyreg.add_extension("posix", "system", 250)
        try:
            pickle.loads(b"\x82\xfa.")  # from now on in pickle's cache, past `find_class`
            with pytest.raises(RefusedPickleError, match="EXT1"):
                run_tensor_program(b"\x82\xfa.")
        finally:
            copyreg.remove_extension("posix", "system", 250)

    def test_one_program_leaves_nothing_for_the_next(self, path: Path) -> None:
        state = b"}" + text("items") + b"Ns" + b"N\x86"
        rewrite_archive(path, {"data.pkl": b"\x80\x02" + ORDERED_DICT + b")R" + state + b"b."})
        assert "is no dict of tensors" in failure(path)
        write_plain_state_dict(path, TENSORS)
        assert len(load_torch(path)) == 2


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=examples(1_000), deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=6))
@example(edits=[])
def test_a_damaged_program_is_refused_or_gives_tensors(edits: list[tuple[int, int]]) -> None:
    program = bytearray(program_of_one(offset=1, shape=(2, 3), strides=(1, 2)))
    for position, value in edits:
        program[position % len(program)] = value
    try:
        tensors = run_tensor_program(bytes(program))
    except RefusedPickleError:
        assert edits
    else:
        assert all(tensor.is_within_storage for tensor in tensors.values())


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=examples(500), deadline=None)
@given(program=st.binary(max_size=60))
def test_random_programs_are_refused(program: bytes) -> None:
    with pytest.raises(RefusedPickleError):
        run_tensor_program(program)
