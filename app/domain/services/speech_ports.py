"""The ports that speech goes through."""

import msgspec

from app.ports.audio_encoder import AudioEncoders
from app.ports.clock import Clock
from app.ports.reloaded_files import LexiconSource
from app.ports.speech_model import SpeechCache, SpeechModel
from app.ports.telemetry import SpeechObserver


class SpeechPorts(msgspec.Struct, frozen=True, eq=False):
    """One adapter per port."""

    model: SpeechModel
    encoders: AudioEncoders
    clock: Clock
    observer: SpeechObserver
    cache: SpeechCache | None = None  # what the model keeps, if anything
    lexicon: LexiconSource | None = None  # knows pronunciations
