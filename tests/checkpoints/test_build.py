"""The made-up checkpoints, held against the author's package on transformers."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest

from tests.checkpoints.build import (
    FULL,
    LOOP_TOKENS,
    TINY,
    build_checkpoint,
    expected_samples,
)
from tests.checkpoints.decoder import SHAPES

TEXTS = [
    "Hi.",
    "Twelve of 48 lamps were lit!",
    "The keeper of the lighthouse counts the ships, and writes their names into a book.",
    "A sentence may be as long as this one, which goes on to see that its length does not matter.",
    " ".join(["and then"] * 32) + " the end.",
]


@contextmanager
def checkpoint(**arguments: Any) -> Iterator[Path]:
    """Removed at once: the decoder alone takes 120 MB, and pytest keeps what it is given."""
    with TemporaryDirectory() as directory:
        yield build_checkpoint(Path(directory), **arguments)


def load_package(directory: Path) -> Any:
    return import_module("soprano.tts").SopranoTTS(
        backend="transformers", device="cpu", model_path=str(directory)
    )


def load_language_model(directory: Path) -> Any:
    return import_module("soprano.backends.transformers").TransformersModel(
        device="cpu", model_path=str(directory)
    )


def prompts(texts: list[str]) -> list[str]:
    return [f"[STOP][TEXT]{text}[START]" for text in texts]


def distances(hidden_states: Any) -> Any:
    """L1 distances of neighbours, as the package's detector measures them."""
    return (hidden_states[1:] - hidden_states[:-1]).abs().sum(dim=1)


def digests(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()
    }


@pytest.fixture(scope="module")
def package() -> Iterator[Any]:
    with checkpoint() as directory:
        yield load_package(directory)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{len(text)} characters")
def test_every_text_lasts_as_long_as_expected(package: Any, text: str) -> None:
    audio = package.infer(text)
    assert audio.shape == (expected_samples(12),) == (22_528,)
    assert audio.isfinite().all()
    assert 0.05 < audio.abs().max() < 0.95


def test_a_batch_of_texts_sounds_like_each_alone(package: Any) -> None:
    """Texts of different length are padded on the left; only rounding may differ."""
    for text, in_batch in zip(TEXTS, package.infer_batch(TEXTS), strict=True):
        alone = package.infer(text)
        assert (alone - in_batch).abs().max() < 1e-3 * alone.abs().max()


def test_sampling_at_the_usual_temperature_says_what_greedy_decoding_says(package: Any) -> None:
    greedy = package.pipeline.infer(prompts(TEXTS), temperature=0.0)
    sampled = package.pipeline.infer(prompts(TEXTS), temperature=0.3)
    for one, other in zip(greedy, sampled, strict=True):
        assert one["finish_reason"] == other["finish_reason"] == "stop"
        assert one["hidden_state"].equal(other["hidden_state"])


def test_neighbouring_hidden_states_are_far_apart(package: Any) -> None:
    for response in package.pipeline.infer(prompts(TEXTS)):
        assert distances(response["hidden_state"]).min() > 600
        assert not package.hallucination_detector(response["hidden_state"])


def test_another_text_colours_the_hidden_states(package: Any) -> None:
    one, other = (
        response["hidden_state"] for response in package.pipeline.infer(prompts(TEXTS[2:4]))
    )
    change = ((one - other).square().mean() / one.square().mean()).sqrt()
    assert 0.05 < change < 0.5


def test_a_model_without_a_chain_says_something_else_of_every_text() -> None:
    with checkpoint(says="anything") as directory:
        model = load_language_model(directory)
    responses = model.infer(prompts(TEXTS))
    lengths = [len(response["hidden_state"]) for response in responses]
    assert all(response["finish_reason"] == "stop" for response in responses)
    assert min(lengths) >= 6
    assert max(lengths) <= 36
    assert len(set(lengths)) > 1
    assert all(distances(response["hidden_state"]).min() > 300 for response in responses)


def test_the_package_takes_a_loop_for_a_hallucination() -> None:
    with checkpoint(loops=True) as directory:
        package = load_package(directory)
    (response,) = package.pipeline.infer(prompts(TEXTS[2:3]))
    assert response["finish_reason"] == "stop"
    assert package.hallucination_detector(response["hidden_state"])
    assert (distances(response["hidden_state"]) < 300).sum() == LOOP_TOKENS - 2
    assert package.infer(TEXTS[2]).shape == (expected_samples(12 + LOOP_TOKENS),)


def test_a_model_that_never_stops_is_cut_at_512_tokens() -> None:
    with checkpoint(never_stops=True) as directory:
        model = load_language_model(directory)
    for response in model.infer(prompts(TEXTS[:2])):
        assert response["finish_reason"] == "length"
        assert response["hidden_state"].shape == (512, 512)
        assert distances(response["hidden_state"]).min() > 600


@pytest.mark.parametrize(
    "arguments",
    [
        {"tokens_per_sentence": 2},
        {"tokens_per_sentence": 511},
        {"tokens_per_sentence": 40, "seed": 5},
        {"size": msgspec.structs.replace(TINY, num_kv_heads=2, head_dim=64, rope_theta=5e5)},
    ],
    ids=["shortest", "longest", "other seed", "other shape"],
)
def test_the_limits_and_other_shapes_keep_to_the_length(arguments: dict[str, Any]) -> None:
    with checkpoint(**arguments) as directory:
        model = load_language_model(directory)
    for response in model.infer(prompts(TEXTS[1:3])):
        assert response["finish_reason"] == "stop"
        assert len(response["hidden_state"]) == arguments.get("tokens_per_sentence", 12)


@pytest.mark.parametrize(
    "arguments",
    [
        {"tokens_per_sentence": 1},
        {"tokens_per_sentence": 512},
        {"tokens_per_sentence": 480, "loops": True},
    ],
)
def test_a_length_the_package_cannot_speak_is_refused(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="tokens per sentence"):
        build_checkpoint(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_the_seed_decides_every_byte() -> None:
    with checkpoint(seed=3) as one, checkpoint(seed=3) as same, checkpoint(seed=4) as other:
        assert digests(one) == digests(same)
        changed = {name for name, digest in digests(other).items() if digests(one)[name] != digest}
    assert changed == {"model.safetensors", "decoder.pth"}


def test_a_tiny_checkpoint_is_built_in_a_moment() -> None:
    """Seconds of computing: what else runs on the machine does not count."""
    import_module("torch")
    start = time.process_time()
    with checkpoint():
        assert time.process_time() - start < 2.0


def test_the_older_decoder_has_the_older_shapes() -> None:
    import torch
    from torch import nn

    with checkpoint(decoder_version="1.0") as directory:
        state = torch.load(directory / "decoder.pth")
    shape = SHAPES["1.0"]
    decoder = import_module("soprano.vocos.decoder").SopranoDecoder(decoder_dim=shape.dim)
    decoder.decoder.embed = nn.Conv1d(512, shape.dim, shape.input_kernel, padding=1)
    decoder.load_state_dict(state)
    audio = decoder(torch.randn(1, 512, 7))
    assert audio.shape == (1, expected_samples(7))


def test_without_torch_the_decoder_file_holds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    with checkpoint() as directory:
        with_torch = torch.load(directory / "decoder.pth")
    monkeypatch.setattr("tests.checkpoints.tensor_files.find_spec", lambda _: None)
    with checkpoint() as directory:
        without = torch.load(directory / "decoder.pth")
    assert list(with_torch) == list(without)
    assert all(tensor.equal(without[name]) for name, tensor in with_torch.items())


def test_text_is_lower_cased_and_digits_stand_alone(package: Any) -> None:
    tokenizer = package.pipeline.tokenizer
    assert tokenizer.tokenize("Speech,  SAY\n1905") == ["speech", *", say 1905"]
    assert tokenizer("é").input_ids == [tokenizer.unk_token_id] == [0]
    assert tokenizer(prompts(["ab", "a"]), padding=True).input_ids[1][:2] == [3, 3]


@pytest.mark.nightly
def test_the_full_size_is_that_of_the_published_model() -> None:
    start = time.perf_counter()
    with checkpoint(size=FULL, tokens_per_sentence=8) as directory:
        assert time.perf_counter() - start < 20.0
        package = load_package(directory)
    assert round(package.pipeline.model.num_parameters() / 1e6, 1) == 79.7
    assert round(sum(each.numel() for each in package.decoder.parameters()) / 1e6, 1) == 30.4
    audio = package.infer(TEXTS[2])
    assert audio.shape == (expected_samples(8),)
    assert 0.05 < audio.abs().max() < 0.95
