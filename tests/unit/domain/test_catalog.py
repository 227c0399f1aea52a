import pytest

from app.domain.errors import ModelNotFoundError, VoiceNotFoundError
from app.domain.speech import OPENAI_MODELS, OPENAI_VOICES, Catalog
from tests.fakes.speech_model import FAKE_INFO

BEE, FAN = FAKE_INFO.voices


def test_the_models_own_names_come_first_and_openais_follow() -> None:
    catalog = Catalog(FAKE_INFO)
    assert catalog.model_ids() == ("hum", *OPENAI_MODELS)
    assert [voice.id for voice in catalog.voices()] == ["bee", "fan", *OPENAI_VOICES]


@pytest.mark.parametrize(
    "name", [None, "hum", "tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"]
)
def test_known_model_names_pass(name: str | None) -> None:
    Catalog(FAKE_INFO).check_model(name)


@pytest.mark.parametrize("name", ["", "tts-2", "gpt-4o", "HUM2", "../../etc/passwd"])
def test_any_other_model_is_an_error_that_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="tts-1"):
        Catalog(FAKE_INFO).check_model(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [(None, BEE), ("bee", BEE), ("fan", FAN), ("FAN", FAN), ("alloy", BEE), ("Marin", BEE)],
)
def test_openai_voices_are_spoken_by_the_default_voice(name: str | None, expected: object) -> None:
    assert Catalog(FAKE_INFO).find_voice(name) == expected


def test_any_other_voice_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(VoiceNotFoundError, match="bee, fan, alloy"):
        Catalog(FAKE_INFO).find_voice("../../etc/passwd")


def test_unknown_names_can_mean_the_default() -> None:
    catalog = Catalog(FAKE_INFO, accepts_unknown=True)
    catalog.check_model("whatever")
    assert catalog.find_voice("whoever") == BEE
    assert not catalog.is_voice("whoever")
