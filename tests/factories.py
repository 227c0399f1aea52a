"""Valid requests by the thousand."""

from polyfactory.factories.msgspec_factory import MsgspecFactory

from app.entrypoints.http.schemas import CreateSpeech


class CreateSpeechFactory(MsgspecFactory[CreateSpeech]):
    """Any body that a server over the fake model answers with audio."""

    __model__ = CreateSpeech
    __random_seed__ = 20_260_101

    @classmethod
    def input(cls) -> str:
        return cls.__faker__.paragraph(nb_sentences=3)

    @classmethod
    def model(cls) -> str | None:
        return cls.__random__.choice([None, "hum", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"])

    @classmethod
    def voice(cls) -> str | None:
        return cls.__random__.choice([None, "bee", "fan", "alloy", "cedar"])

    @classmethod
    def file_name(cls) -> str | None:
        return cls.__random__.choice([None, "talk", "Talk_2-b"])
