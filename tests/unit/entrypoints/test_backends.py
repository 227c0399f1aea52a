import pytest

from app.domain.errors import ModelLoadError
from app.entrypoints.backends import Surroundings, choose_backend


def surroundings(**facts: bool) -> Surroundings:
    nothing = dict.fromkeys(
        ("has_cuda", "has_mps", "has_soprano", "has_lmdeploy", "has_weights"), False
    )
    return Surroundings(**{**nothing, **facts})


EVERYTHING = surroundings(has_cuda=True, has_soprano=True, has_lmdeploy=True, has_weights=True)


def test_auto_takes_the_best_that_can_run() -> None:
    assert choose_backend("auto", EVERYTHING).backend == "lmdeploy"
    assert choose_backend("auto", EVERYTHING).skipped == ()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"has_cuda": True}, "lmdeploy is not installed"),
        ({"has_mps": True, "has_lmdeploy": True}, "no CUDA device"),
    ],
)
def test_auto_steps_down_to_transformers_on_a_gpu_and_says_why(
    facts: dict[str, bool], words: str
) -> None:
    choice = choose_backend("auto", surroundings(has_soprano=True, has_weights=True, **facts))
    assert choice.backend == "transformers"
    (step,) = choice.skipped
    assert step.backend == "lmdeploy"
    assert words in step.reason


@pytest.mark.parametrize(
    ("facts", "words"),
    [({"has_soprano": True}, "there is no GPU"), ({"has_cuda": True}, "soprano-tts is not")],
)
def test_auto_takes_onnx_on_a_cpu_and_says_why_not_transformers(
    facts: dict[str, bool], words: str
) -> None:
    choice = choose_backend("auto", surroundings(has_weights=True, **facts))
    assert choice.backend == "onnx"
    assert choice.skipped[-1].backend == "transformers"
    assert words in choice.skipped[-1].reason


def test_auto_with_nothing_is_the_embedded_voice_with_a_reason_for_each_step() -> None:
    choice = choose_backend("auto", surroundings())
    assert choice.backend == "embedded"
    assert [step.backend for step in choice.skipped] == ["lmdeploy", "transformers", "onnx"]


def test_auto_never_downloads_but_says_how() -> None:
    choice = choose_backend("auto", surroundings(has_soprano=True))
    assert choice.backend == "embedded"
    assert "soprano-api models pull" in choice.skipped[-1].reason
    assert "--model" in choice.skipped[-1].reason


@pytest.mark.parametrize(
    ("asked", "facts", "words"),
    [
        ("lmdeploy", {"has_weights": True}, "no CUDA device and lmdeploy is not installed"),
        ("lmdeploy", {"has_cuda": True, "has_lmdeploy": True}, "models pull"),
        ("transformers", {"has_weights": True}, "soprano-tts is not installed"),
        ("transformers", {"has_soprano": True}, "models pull"),
        ("onnx", {"has_soprano": True}, "models pull"),
    ],
)
def test_a_backend_asked_for_by_name_never_falls_back(
    asked: str, facts: dict[str, bool], words: str
) -> None:
    with pytest.raises(ModelLoadError, match=words):
        choose_backend(asked, surroundings(**facts))


def test_transformers_runs_on_a_cpu_if_asked_for() -> None:
    facts = surroundings(has_soprano=True, has_weights=True)
    assert choose_backend("transformers", facts).backend == "transformers"


def test_the_embedded_voice_can_always_be_asked_for() -> None:
    choice = choose_backend("embedded", EVERYTHING)
    assert (choice.backend, choice.skipped) == ("embedded", ())
