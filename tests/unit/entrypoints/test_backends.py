import pytest

from app.domain.errors import ModelLoadError
from app.entrypoints.backends import Surroundings, choose_backend


def surroundings(**facts: bool) -> Surroundings:
    nothing = dict.fromkeys(
        ("has_cuda", "has_soprano", "has_lmdeploy", "has_weights", "is_model_named"), False
    )
    return Surroundings(**{**nothing, **facts})


EVERYTHING = surroundings(has_cuda=True, has_soprano=True, has_lmdeploy=True, has_weights=True)


def test_auto_takes_the_best_that_can_run() -> None:
    assert choose_backend("auto", EVERYTHING).backend == "lmdeploy"
    assert choose_backend("auto", EVERYTHING).steps_down == ()


@pytest.mark.parametrize(
    ("missing", "words"),
    [("has_cuda", "no CUDA device"), ("has_lmdeploy", "lmdeploy is not installed")],
)
def test_auto_steps_down_to_transformers_and_says_why(missing: str, words: str) -> None:
    facts = {name: getattr(EVERYTHING, name) for name in EVERYTHING.__struct_fields__}
    choice = choose_backend("auto", Surroundings(**{**facts, missing: False}))
    assert choice.backend == "transformers"
    (step,) = choice.steps_down
    assert step.backend == "lmdeploy"
    assert words in step.reason


def test_auto_with_nothing_is_the_embedded_voice_with_a_reason_for_each_step() -> None:
    choice = choose_backend("auto", surroundings())
    assert choice.backend == "embedded"
    assert [step.backend for step in choice.steps_down] == ["lmdeploy", "transformers"]


def test_auto_never_downloads_but_says_how() -> None:
    choice = choose_backend("auto", surroundings(has_soprano=True))
    assert choice.backend == "embedded"
    assert "soprano-api models pull" in choice.steps_down[-1].reason
    assert "--model" in choice.steps_down[-1].reason


def test_a_named_model_is_never_replaced_by_the_embedded_voice() -> None:
    with pytest.raises(ModelLoadError, match=r"soprano-tts-api\[soprano\]"):
        choose_backend("auto", surroundings(has_weights=True, is_model_named=True))


@pytest.mark.parametrize(
    ("asked", "facts", "words"),
    [
        ("lmdeploy", {"has_weights": True}, "no CUDA device and lmdeploy is not installed"),
        ("lmdeploy", {"has_cuda": True, "has_lmdeploy": True}, "models pull"),
        ("transformers", {"has_weights": True}, "soprano-tts is not installed"),
        ("transformers", {"has_soprano": True}, "models pull"),
    ],
)
def test_a_backend_asked_for_by_name_never_falls_back(
    asked: str, facts: dict[str, bool], words: str
) -> None:
    with pytest.raises(ModelLoadError, match=words):
        choose_backend(asked, surroundings(**facts))


def test_the_embedded_voice_can_always_be_asked_for() -> None:
    choice = choose_backend("embedded", EVERYTHING)
    assert (choice.backend, choice.steps_down) == ("embedded", ())
