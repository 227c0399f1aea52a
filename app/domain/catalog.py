"""Names that requests use, resolved to what is served. Pure.

Clients of the OpenAI endpoint send its model and voice names whatever server they talk to, so those
are served too, by the model and its default voice.
"""

from typing import Final

from app.domain.errors import ModelNotFoundError, VoiceNotFoundError
from app.domain.speech import ModelInfo, Voice

OPENAI_MODELS: Final = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
OPENAI_VOICES: Final = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable",
    "marin", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip


class Catalog:
    """Which model and voice a name means; with `accepts_unknown` any other means the default."""

    def __init__(self, info: ModelInfo, *, accepts_unknown: bool = False) -> None:
        self.info = info
        self._accepts_unknown = accepts_unknown
        self._voices = {voice.id.casefold(): voice for voice in self.voices()}

    def model_ids(self) -> tuple[str, ...]:
        """Names to list: the model's own first."""
        return (self.info.id, *OPENAI_MODELS)

    def voices(self) -> tuple[Voice, ...]:
        """Voices to list: the model's own first, then OpenAI's names, which it speaks as well."""
        default = self.info.voices[0]
        own = {voice.id for voice in self.info.voices}
        aliases = tuple(
            Voice(id=name, name=f"{name.capitalize()} ({default.name})", language=default.language)
            for name in OPENAI_VOICES
            if name not in own
        )
        return self.info.voices + aliases

    def is_model(self, name: str) -> bool:
        """Whether `name` means the model served (dated OpenAI names count)."""
        return name in self.model_ids() or name.startswith("gpt-4o-mini-tts-")

    def is_voice(self, name: str) -> bool:
        """Whether `name` means a voice; case does not matter."""
        return name.casefold() in self._voices

    def check_model(self, name: str | None) -> None:
        """Raise ModelNotFoundError unless `name` means the model that is served."""
        if name is not None and not self._accepts_unknown and not self.is_model(name):
            raise ModelNotFoundError(name, self.model_ids())

    def find_voice(self, name: str | None) -> Voice:
        """The model's own voice that speaks for `name`; raises VoiceNotFoundError."""
        default = self.info.voices[0]
        if name is None:
            return default
        voice = self._voices.get(name.casefold())
        if voice is None and not self._accepts_unknown:
            raise VoiceNotFoundError(name, [voice.id for voice in self.voices()])
        return voice if voice in self.info.voices else default
