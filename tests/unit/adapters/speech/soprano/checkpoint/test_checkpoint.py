"""A directory holds a whole checkpoint, or one line says what is wrong with which file."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.speech.soprano.checkpoint.checkpoint import (
    REQUIRED_FILES,
    Checkpoint,
    read_checkpoint,
)
from app.adapters.speech.soprano.checkpoint.shapes import DecoderShape, LanguageModelShape
from app.domain.errors import CheckpointError, ModelLoadError
from tests.checkpoints.tensor_files import write_plain_state_dict, write_safetensors
from tests.examples import examples, table
from tests.small_checkpoint import (
    CONFIG,
    DECODER_SHAPES,
    FILES,
    LANGUAGE_MODEL_SHAPES,
    TOKENIZER,
    TOKENIZER_CONFIG,
    tensors_of,
    write_json,
    write_small_checkpoint,
)

LANGUAGE_MODEL = LanguageModelShape(
    vocab_size=16,
    hidden_size=6,
    num_layers=2,
    intermediate_size=10,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    rope_theta=10_000.0,
    rms_norm_eps=1e-6,
    eos_token_id=3,
)
DECODER = DecoderShape(
    dim=3, intermediate_dim=5, num_layers=2, input_kernel_size=1, input_channels=6
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_small_checkpoint(tmp_path / "small")


def failure(directory: Path) -> str:
    """The one line that refuses the directory."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(directory)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(directory) in message
    return message


def rewrite_json(path: Path, content: dict[str, Any], **changes: Any) -> None:
    """Write `content` with other values; ... removes a field."""
    changed = {name: value for name, value in {**content, **changes}.items() if value is not ...}
    write_json(path, changed)


class TestWholeCheckpoints:
    def test_shapes_are_read_from_the_files(self, directory: Path) -> None:
        assert read_checkpoint(directory) == Checkpoint(directory, LANGUAGE_MODEL, DECODER)

    def test_parameters_and_bytes_are_counted(self, directory: Path) -> None:
        checkpoint = read_checkpoint(directory)
        num_window = 2_048
        assert checkpoint.language_model.num_parameters == sum(
            int(np.prod(shape)) for shape in LANGUAGE_MODEL_SHAPES.values()
        )
        assert checkpoint.decoder.num_parameters + num_window == sum(
            int(np.prod(shape)) for shape in DECODER_SHAPES.values()
        )
        assert checkpoint.num_bytes == sum(path.stat().st_size for path in directory.iterdir())

    @pytest.mark.parametrize(("kernel", "version"), [(1, "1.1"), (3, "1.0"), (5, "unknown")])
    def test_decoders_differ_in_their_input_kernel(
        self, directory: Path, kernel: int, version: str
    ) -> None:
        shapes = DECODER_SHAPES | {"decoder.embed.weight": (3, 6, kernel)}
        write_plain_state_dict(directory / "decoder.pth", tensors_of(shapes))
        decoder = read_checkpoint(directory).decoder
        assert (decoder.input_kernel_size, decoder.version) == (kernel, version)

    def test_the_published_shape_has_the_published_size(self) -> None:
        language_model = LanguageModelShape(
            vocab_size=8_192,
            hidden_size=512,
            num_layers=17,
            intermediate_size=2_304,
            num_heads=4,
            num_kv_heads=1,
            head_dim=128,
            rope_theta=10_000.0,
            rms_norm_eps=1e-6,
            eos_token_id=3,
        )
        assert round(language_model.num_parameters / 1e6, 1) == 79.7
        decoder = DecoderShape(
            dim=768, intermediate_dim=2_304, num_layers=8, input_kernel_size=1, input_channels=512
        )
        assert round(decoder.num_parameters / 1e6, 1) == 30.4

    @pytest.mark.parametrize(
        "changes",
        [
            {"rope_theta": ..., "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
            {"rope_theta": 5e5, "rope_parameters": None},
            {"rope_theta": 500_000},
        ],
    )
    def test_the_base_of_rope_has_an_old_and_a_new_place(
        self, directory: Path, changes: dict[str, Any]
    ) -> None:
        rewrite_json(directory / "config.json", CONFIG, **changes)
        assert read_checkpoint(directory).language_model.rope_theta == 5e5

    def test_an_end_token_may_stand_in_a_list(self, directory: Path) -> None:
        rewrite_json(directory / "config.json", CONFIG, eos_token_id=[3])
        assert read_checkpoint(directory).language_model.eos_token_id == 3

    def test_a_tied_head_has_no_tensor(self, directory: Path) -> None:
        rewrite_json(directory / "config.json", CONFIG, tie_word_embeddings=True)
        shapes = {k: v for k, v in LANGUAGE_MODEL_SHAPES.items() if k != "lm_head.weight"}
        write_safetensors(directory / "model.safetensors", tensors_of(shapes))
        language_model = read_checkpoint(directory).language_model
        assert language_model == msgspec.structs.replace(LANGUAGE_MODEL, is_head_tied=True)

    def test_further_files_and_tensors_do_no_harm(self, directory: Path) -> None:
        (directory / "README.md").write_text("More.")
        shapes = {**LANGUAGE_MODEL_SHAPES, "model.rotary.inv_freq": (2,)}
        write_safetensors(directory / "model.safetensors", tensors_of(shapes))
        assert read_checkpoint(directory).language_model == LANGUAGE_MODEL

    @pytest.mark.parametrize("dtype", ["BF16", "F16"])
    def test_numbers_may_have_half_the_bytes(self, directory: Path, dtype: str) -> None:
        path = directory / "model.safetensors"
        header, data = read_safetensors(path)
        for entry in header.values():
            if "dtype" in entry:
                entry["dtype"] = dtype
                entry["data_offsets"] = [offset // 2 for offset in entry["data_offsets"]]
        write_raw_safetensors(path, header, data[: len(data) // 2])
        assert read_checkpoint(directory).language_model == LANGUAGE_MODEL


def read_safetensors(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def write_raw_safetensors(path: Path, header: object, data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


class TestDirectories:
    def test_the_error_is_one_of_loading(self) -> None:
        error = CheckpointError("a\nfew \t words")
        assert str(error) == "a few words"
        assert isinstance(error, ModelLoadError)
        assert error.code == "invalid_checkpoint"

    def test_there_must_be_one(self, tmp_path: Path) -> None:
        assert "is not there" in failure(tmp_path / "nowhere")

    def test_a_file_is_none(self, directory: Path) -> None:
        assert "is no directory" in failure(directory / "config.json")

    def test_the_list_of_files_is_complete(self) -> None:
        assert set(REQUIRED_FILES) == set(FILES)

    @pytest.mark.parametrize("name", FILES)
    def test_every_file_must_be_there(self, directory: Path, name: str) -> None:
        (directory / name).unlink()
        assert f"it has no {name}" in failure(directory)

    def test_all_missing_files_are_named_at_once(self, tmp_path: Path) -> None:
        message = failure(tmp_path)
        assert all(name in message for name in FILES)

    @pytest.mark.parametrize("name", FILES)
    def test_a_link_to_nothing_is_a_missing_file(self, directory: Path, name: str) -> None:
        (directory / name).unlink()
        (directory / name).symlink_to("nothing")
        assert name in failure(directory)

    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
    def test_a_file_must_be_a_regular_one(
        self, directory: Path, name: str, make: Callable[[Path], None]
    ) -> None:
        (directory / name).unlink()
        make(directory / name)
        assert f"{name}: kind: expected a regular file" in failure(directory)

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
    @pytest.mark.parametrize("name", ["", *FILES])
    def test_what_may_not_be_read_is_named(self, directory: Path, name: str) -> None:
        path = directory / name
        mode = path.stat().st_mode
        path.chmod(0)
        try:
            assert f"{path} cannot be read: Permission denied." in failure(directory)
        finally:
            path.chmod(mode)


class TestTruncatedFiles:
    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.99])
    def test_a_part_of_a_file_is_refused(self, directory: Path, name: str, part: float) -> None:
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content[: int(len(content) * part)])
        assert name in failure(directory)

    @pytest.mark.parametrize("name", FILES)
    def test_one_byte_less_is_refused(self, directory: Path, name: str) -> None:
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content[:-1])
        assert "truncated" in failure(directory)

    def test_one_byte_more_of_tensors_is_refused(self, directory: Path) -> None:
        with (directory / "model.safetensors").open("ab") as file:
            file.write(b"\0")
        assert "model.safetensors: size: expected" in failure(directory)

    @pytest.mark.parametrize("name", FILES)
    def test_a_pointer_of_git_is_recognised(self, directory: Path, name: str) -> None:
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
        (directory / name).write_text(pointer)
        message = failure(directory)
        assert name in message
        assert "git lfs pull" in message

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
    @pytest.mark.parametrize(
        "content",
        [b"[" * 100_000, b'{"a": "\xff"}', b"[]", b"null", b'"', b"{]"],
    )
    def test_other_json_is_refused(self, directory: Path, name: str, content: bytes) -> None:
        (directory / name).write_bytes(content)
        assert name in failure(directory)


class TestConfig:
    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [
            ("architectures", ["LlamaForCausalLM"], "expected Qwen3ForCausalLM"),
            ("architectures", ..., "expected Qwen3ForCausalLM"),
            ("architectures", [], "expected Qwen3ForCausalLM"),
            ("vocab_size", "many", "$.vocab_size"),
            ("vocab_size", 0, "$.vocab_size"),
            ("num_hidden_layers", -1, "$.num_hidden_layers"),
            ("num_hidden_layers", 10**30, "$.num_hidden_layers"),
            ("hidden_size", ..., "hidden_size"),
            ("head_dim", 3, "head_dim"),
            ("num_key_value_heads", 3, "num_attention_heads: expected a multiple of 3, found 2"),
            ("rms_norm_eps", 0, "$.rms_norm_eps"),
            ("rope_theta", ..., "rope_theta"),
            ("rope_scaling", {"rope_type": "yarn"}, "rope_scaling"),
            ("rope_parameters", {"rope_type": "linear", "rope_theta": 1.0}, "rope_type"),
            ("hidden_act", "gelu", "hidden_act: expected silu, found gelu"),
            ("attention_bias", True, "attention_bias"),
            ("use_sliding_window", True, "use_sliding_window"),
            ("eos_token_id", [3, 0], "$.eos_token_id"),
            ("eos_token_id", 0, "eos_token_id: expected 3 ([STOP]), found 0"),
        ],
    )
    def test_another_model_is_refused(
        self, directory: Path, field: str, value: object, words: str
    ) -> None:
        rewrite_json(directory / "config.json", CONFIG, **{field: value})
        message = failure(directory)
        assert "config.json" in message
        assert words in message


class TestTensors:
    @table("name", LANGUAGE_MODEL_SHAPES)
    def test_no_tensor_of_the_language_model_may_be_missing(
        self, directory: Path, name: str
    ) -> None:
        shapes = {key: shape for key, shape in LANGUAGE_MODEL_SHAPES.items() if key != name}
        write_safetensors(directory / "model.safetensors", tensors_of(shapes))
        assert f"model.safetensors: the tensor {name} is missing" in failure(directory)

    @table("name", LANGUAGE_MODEL_SHAPES)
    def test_no_tensor_of_the_language_model_may_have_another_shape(
        self, directory: Path, name: str
    ) -> None:
        shapes = LANGUAGE_MODEL_SHAPES | {name: (*LANGUAGE_MODEL_SHAPES[name][::-1], 1)}
        write_safetensors(directory / "model.safetensors", tensors_of(shapes))
        expected = list(LANGUAGE_MODEL_SHAPES[name])
        assert f"model.safetensors: shape of {name}: expected {expected}" in failure(directory)

    @table("name", DECODER_SHAPES)
    def test_no_tensor_of_the_decoder_may_be_missing(self, directory: Path, name: str) -> None:
        shapes = {key: shape for key, shape in DECODER_SHAPES.items() if key != name}
        write_plain_state_dict(directory / "decoder.pth", tensors_of(shapes))
        assert f"decoder.pth: the tensor {name} is missing" in failure(directory)

    @table("name", DECODER_SHAPES)
    def test_no_tensor_of_the_decoder_may_have_another_shape(
        self, directory: Path, name: str
    ) -> None:
        shapes = DECODER_SHAPES | {name: (*DECODER_SHAPES[name], 2)}
        write_plain_state_dict(directory / "decoder.pth", tensors_of(shapes))
        assert f"decoder.pth: shape of {name}: expected" in failure(directory)

    def test_the_decoder_takes_what_the_language_model_gives(self, directory: Path) -> None:
        shapes = DECODER_SHAPES | {"decoder.embed.weight": (3, 7, 1)}
        write_plain_state_dict(directory / "decoder.pth", tensors_of(shapes))
        assert "expected [3, 6, 1], found [3, 7, 1]" in failure(directory)

    def test_an_even_kernel_is_refused(self, directory: Path) -> None:
        shapes = DECODER_SHAPES | {"decoder.embed.weight": (3, 6, 2)}
        write_plain_state_dict(directory / "decoder.pth", tensors_of(shapes))
        assert "an odd size" in failure(directory)

    def test_a_gap_in_the_blocks_is_found(self, directory: Path) -> None:
        shapes = DECODER_SHAPES | {"decoder.convnext.999999999.gamma": (3,)}
        write_plain_state_dict(directory / "decoder.pth", tensors_of(shapes))
        assert "the tensor decoder.convnext.2.gamma is missing" in failure(directory)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"dtype": "I32"}, "dtype of lm_head.weight: expected floating-point"),
            ({"dtype": "Q4"}, "dtype of 'lm_head.weight': expected one of"),
            ({"shape": [1, 1]}, "place of 'lm_head.weight'"),
            ({"shape": [-16, -6]}, "$.shape"),
            ({"shape": [10**12, 10**12]}, "place of 'lm_head.weight'"),
            ({"data_offsets": [0, 384]}, "place of"),
            ({"data_offsets": [0]}, "$.data_offsets"),
        ],
    )
    def test_a_wrong_header_is_refused(
        self, directory: Path, change: dict[str, Any], words: str
    ) -> None:
        path = directory / "model.safetensors"
        header, data = read_safetensors(path)
        header["lm_head.weight"] |= change
        write_raw_safetensors(path, header, data)
        message = failure(directory)
        assert "model.safetensors" in message
        assert words in message

    @pytest.mark.parametrize("length", [2**63, 99_999_999, 0])
    def test_a_wrong_length_of_the_header_is_refused(self, directory: Path, length: int) -> None:
        path = directory / "model.safetensors"
        content = path.read_bytes()
        path.write_bytes(length.to_bytes(8, "little") + content[8:])
        assert "model.safetensors" in failure(directory)

    def test_a_file_without_tensors_is_refused(self, directory: Path) -> None:
        write_raw_safetensors(directory / "model.safetensors", {}, b"")
        assert "holds no tensors" in failure(directory)


class TestTokenizers:
    @pytest.mark.parametrize("token", ["[UNK]", "[TEXT]", "[START]", "[STOP]"])
    def test_special_tokens_must_be_there(self, directory: Path, token: str) -> None:
        added = [entry for entry in TOKENIZER["added_tokens"] if entry["content"] != token]
        rewrite_json(directory / "tokenizer.json", TOKENIZER, added_tokens=added)
        assert f"tokenizer.json: id of {token}: expected" in failure(directory)

    def test_special_tokens_have_their_ids(self, directory: Path) -> None:
        added = [
            {"id": 3 - entry["id"], "content": entry["content"]}
            for entry in TOKENIZER["added_tokens"]
        ]
        rewrite_json(directory / "tokenizer.json", TOKENIZER, added_tokens=added)
        assert "id of [UNK]: expected 0, found 3" in failure(directory)

    def test_the_vocabulary_fits_the_model(self, directory: Path) -> None:
        vocab = {**TOKENIZER["model"]["vocab"], "m": 16}
        rewrite_json(directory / "tokenizer.json", TOKENIZER, model={"vocab": vocab})
        message = failure(directory)
        assert "expected at most 16 (vocab_size in config.json), found 17" in message

    def test_added_tokens_fit_the_model_too(self, directory: Path) -> None:
        added = [*TOKENIZER["added_tokens"], {"id": 99, "content": "[95]"}]
        rewrite_json(directory / "tokenizer.json", TOKENIZER, added_tokens=added)
        assert "found 100" in failure(directory)

    @pytest.mark.parametrize("eos", ["</s>", {"content": "</s>", "special": True}])
    def test_speech_ends_at_stop(self, directory: Path, eos: object) -> None:
        rewrite_json(directory / "tokenizer_config.json", TOKENIZER_CONFIG, eos_token=eos)
        assert "tokenizer_config.json: eos_token: expected [STOP]" in failure(directory)

    @pytest.mark.parametrize("eos", [{"content": "[STOP]"}, None, ...])
    def test_the_end_token_has_several_notations(self, directory: Path, eos: object) -> None:
        rewrite_json(directory / "tokenizer_config.json", TOKENIZER_CONFIG, eos_token=eos)
        assert read_checkpoint(directory).language_model == LANGUAGE_MODEL


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A whole checkpoint, and a directory to damage copies in."""
    root = tmp_path_factory.mktemp("fuzzed")
    return write_small_checkpoint(root / "whole"), root / "damaged"


NEAR_AN_END = st.integers(-3_000, 3_000)
ANYWHERE = st.integers(0, 100_000)


@settings(max_examples=examples(400), deadline=None)
@given(
    name=st.sampled_from(FILES),
    edits=st.lists(st.tuples(NEAR_AN_END | ANYWHERE, st.integers(0, 255)), max_size=8),
    num_cut=st.just(0) | st.integers(0, 5_000),
)
def test_random_damage_is_harmless_or_refused(
    fuzzed: tuple[Path, Path], name: str, edits: list[tuple[int, int]], num_cut: int
) -> None:
    whole, damaged = fuzzed
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(whole, damaged)
    content = bytearray((whole / name).read_bytes())
    for position, value in edits:
        content[position % len(content)] = value
    (damaged / name).write_bytes(content[: max(0, len(content) - num_cut)])
    try:
        checkpoint = read_checkpoint(damaged)
    except CheckpointError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - both outcomes are right
    else:
        assert checkpoint.language_model.num_parameters > 0
        assert checkpoint.decoder.num_parameters > 0
