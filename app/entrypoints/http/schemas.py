"""The messages of the HTTP interface, and their mapping to the domain."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

import msgspec
from msgspec import Meta

from app.domain.audio import AudioFormat
from app.domain.segment import TextSegment
from app.domain.speech import Catalog, SamplingParams, SpeechOptions, SpeechRequest
from app.domain.text.pronunciations import Pronunciations
from app.entrypoints.backends import Skipped

BreakerName = Literal["closed", "open", "half_open"]

# Seconds for which a client waits, if less than the server would. Less than the minimum would only
# make the server begin what it cannot finish.
TIMEOUT_HEADER: Final = "x-request-timeout-seconds"
MIN_TIMEOUT_S: Final = 1.0

# On every answer. A page that `server.cors_origins` lists reads answers by CORS, which these do not
# concern; to play a stored file in an element it must ask for it with `crossorigin`.
SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'self' 'unsafe-inline' blob: data:; object-src 'none'; base-uri 'none';"
        " form-action 'self'; frame-ancestors 'self'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

# Headers of answers that a page of another origin may read; browsers hide most of them otherwise.
EXPOSED_HEADERS: Final = (
    "cache-status", "content-location", "content-range", "etag", "retry-after", "retry-after-ms",
    "server-timing", "warning", "x-request-id", "x-sample-rate", "x-should-retry",
    "x-speech-backend", "x-speech-voice", "x-store-error", "x-stored-file",
)  # fmt: skip

VoiceName = Annotated[str, Meta(max_length=256)]

CONTENT_TYPES: Final = {
    AudioFormat.MP3: "audio/mpeg",
    AudioFormat.OPUS: "audio/ogg",
    AudioFormat.AAC: "audio/aac",
    AudioFormat.M4A: "audio/mp4",
    AudioFormat.FLAC: "audio/flac",
    AudioFormat.WAV: "audio/wav",
    AudioFormat.PCM: "audio/pcm",
    AudioFormat.WEBM: "audio/webm",
    # G.711 by its names in RFC 3551
    AudioFormat.MULAW: "audio/PCMU",
    AudioFormat.ALAW: "audio/PCMA",
}


class VoiceReference(msgspec.Struct, forbid_unknown_fields=True):
    """A voice by its id."""

    id: VoiceName


ModelId = Annotated[
    str,
    Meta(max_length=256, description="Name from /v1/models. Default: the model that is served."),
]
Voice = Annotated[
    VoiceName | VoiceReference | None,
    Meta(description="Name from /v1/audio/voices. Default: the first voice of the model."),
]
ResponseFormat = Annotated[
    AudioFormat,
    Meta(
        description="Audio format, in any case; ogg means opus, mp4 m4a. Default: mp3. pcm is"
        " 16-bit little-endian at 24 kHz."
    ),
]
Speed = Annotated[
    float,
    Meta(ge=0.25, le=4, description="Speed at constant pitch. Default: 1; 2 is twice as fast."),
]
SampleRate = Annotated[
    int,
    Meta(ge=8_000, le=48_000, description="Extension: Sample rate in Hz, if the format has it."),
]
Seed = Annotated[
    int,
    Meta(
        ge=0, le=2**31, description="Extension: Seed of the sampler. The same seed, the same audio."
    ),
]
Temperature = Annotated[
    float, Meta(ge=0, le=2, description="Extension: Sampling temperature; 0 is greedy decoding.")
]
TopP = Annotated[
    float, Meta(gt=0, le=1, description="Extension: Probability mass that is sampled from.")
]
RepetitionPenalty = Annotated[
    float, Meta(ge=0.5, le=5, description="Extension: Penalty on repeated tokens; 1 is none.")
]
Normalize = Annotated[
    bool, Meta(description="Extension: false turns markup removal and text normalization off.")
]
PronunciationsOfWords = Annotated[
    dict[str, str],
    Meta(
        max_length=100,
        description="Extension: Words with their pronunciation in the letters a to z. A "
        "lowercase word matches in any case.",
        examples=[{"Soprano": "so prah no", "GIF": "jif"}],
    ),
]
Input = Annotated[
    str,
    Meta(
        description="Text to synthesize. Up to 4096 characters, or speech.max_chars if set.",
        examples=["The quick brown fox jumped over the lazy dog."],
    ),
]
Instructions = Annotated[
    str, Meta(max_length=4096, description="Accepted and ignored; a Warning header says so.")
]
StreamFormat = Annotated[
    Literal["audio", "sse"],
    Meta(description="Audio bytes (default), or server-sent events with base64 audio."),
]
Captions = Annotated[
    bool, Meta(description="Extension: true adds an event with times per sentence to sse.")
]
Store = Annotated[
    bool,
    Meta(
        description="Extension: true stores the audio under /v1/audio/files. The response is then"
        " sent complete, with X-Stored-File, unless `stream` is true."
    ),
]
FileName = Annotated[
    str,
    Meta(
        max_length=256,
        description="Extension: Start of the stored file's name: up to 64 letters, digits, '-' "
        "and '_'.",
    ),
]
Stream = Annotated[
    bool, Meta(description="Extension: false sends the complete audio with Content-Length.")
]


class SpeechFields(msgspec.Struct, kw_only=True):
    """How a text is synthesized and sent; null is the same as absent."""

    model: ModelId | None = None
    voice: Voice = None
    response_format: ResponseFormat | None = None
    speed: Speed | None = None
    sample_rate: SampleRate | None = None
    seed: Seed | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    repetition_penalty: RepetitionPenalty | None = None
    normalize: Normalize | None = None
    pronunciations: PronunciationsOfWords | None = None

    @property
    def voice_name(self) -> str | None:
        """The voice, however it was given; None is the default one."""
        voice = self.voice.id if isinstance(self.voice, VoiceReference) else self.voice
        return voice or None

    def to_options(self, default: AudioFormat) -> SpeechOptions:
        """The domain's options, in the format `default` unless another is asked for."""
        return SpeechOptions(
            model=self.model or None,
            voice=self.voice_name,
            speed=1.0 if self.speed is None else self.speed,
            sampling=SamplingParams(
                seed=self.seed,
                temperature=self.temperature,
                top_p=self.top_p,
                repetition_penalty=self.repetition_penalty,
            ),
            format=self.response_format or default,
            sample_rate=self.sample_rate,
            is_normalized=self.normalize is not False,
            pronunciations=Pronunciations(self.pronunciations or {}),
        )


class CreateSpeech(SpeechFields, kw_only=True):
    """A text to synthesize. Unknown fields are ignored; null is the same as absent.

    Numbers, true and false may also be strings. An empty model or voice is the default one.
    """

    input: Input
    instructions: Instructions | None = None
    stream_format: StreamFormat | None = None
    captions: Captions | None = None
    store: Store | None = None
    file_name: FileName | None = None
    stream: Stream | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether the audio is sent as it is made; what is kept is sent whole, with its name."""
        if self.stream_format == "sse":
            return True
        return not self.store if self.stream is None else self.stream

    def to_request(self) -> SpeechRequest:
        """The domain's request; raises its errors."""
        options = msgspec.structs.asdict(self.to_options(AudioFormat.MP3))
        return SpeechRequest(text=self.input, **options)

    def warnings(self, catalog: Catalog) -> list[str]:
        """What was asked for and is not done, in words for the `Warning` header."""
        is_sse = self.stream_format == "sse"
        is_sampled = (self.temperature, self.top_p, self.repetition_penalty) != (None, None, None)
        notes = {
            "instructions are not supported and were ignored": self.instructions,
            "captions are events of stream_format sse; they were not sent": (
                self.captions and not is_sse and not self.store
            ),
            "nothing is stored without store; file_name was ignored": (
                self.file_name is not None and not self.store
            ),
            "events are always streamed; stream was ignored": self.stream is False and is_sse,
            "this model does not sample; temperature, top_p and repetition_penalty were ignored": (
                is_sampled and not catalog.info.has_sampling
            ),
            "the model is not known; the one served was used": (
                self.model and not catalog.is_model(self.model)
            ),
            "the voice is not known; the default one was used": (
                self.voice_name is not None and not catalog.is_voice(self.voice_name)
            ),
        }
        return [note for note, is_true in notes.items() if is_true]


class NormalizedSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the text that is synthesized by itself, or a pause."""

    index: Annotated[int, Meta(description="From 0.")]
    text: Annotated[str, Meta(description="The text as it was written.")]
    spoken: Annotated[
        str, Meta(description="The text as the model would receive it; empty for a pause.")
    ]
    pause_s: Annotated[float, Meta(description="Seconds of silence; 0 for what is spoken.")]


class NormalizedText(msgspec.Struct, frozen=True):
    """A text in segments, each as written and as spoken; none if there is nothing to pronounce."""

    segments: list[NormalizedSegment]

    @classmethod
    def of(cls, segments: Sequence[TextSegment]) -> Self:
        """The message for these segments."""
        return cls(
            [
                NormalizedSegment(
                    index=segment.index,
                    text=segment.source,
                    spoken=segment.text,
                    pause_s=segment.pause_s,
                )
                for segment in segments
            ]
        )


def choices_of(kind: Any) -> list[str]:
    """The values that a field of this type may have, if they are few enough to be listed."""
    schema = msgspec.json.schema(kind)
    kinds = [*schema.get("anyOf", [schema]), *schema.get("$defs", {}).values()]
    return [str(value) for one in kinds for value in one.get("enum", ())]


class Model(msgspec.Struct, kw_only=True):
    """A model as OpenAI lists it, with the backend that runs it and those that do not."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "soprano-tts-api"
    backend: str
    skipped: Sequence[Skipped]


class ModelList(msgspec.Struct, kw_only=True):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


class AudioModel(msgspec.Struct):
    """A model in the short list that chat front ends read."""

    id: str


class AudioModelList(msgspec.Struct):
    """All models, short."""

    models: list[AudioModel]


class VoiceItem(msgspec.Struct):
    """A voice in the list that chat front ends read."""

    id: str
    name: str
    language: str


class VoiceList(msgspec.Struct):
    """All voices; the first is the default."""

    voices: list[VoiceItem]


class Liveness(msgspec.Struct):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Part(msgspec.Struct, kw_only=True):
    """Whether a part of the server does its work, and why not."""

    ok: bool
    reason: str | None = None


class ModelPart(Part, kw_only=True):
    """The speech model: where it is in its life."""

    state: Literal["loading", "ready", "failed"]


class EnginePart(Part, kw_only=True):
    """What protects the model: whether it is asked, and for how many seconds it has not been.

    `instances` of it can be asked now; on Ray Serve they are its replicas.
    """

    breaker: BreakerName
    open_for_s: float
    instances: int


class QueuePart(Part, kw_only=True):
    """Requests that wait, the oldest for `oldest_s` seconds, and that the model works for.

    At most `max_running` run at the same time: as many as this machine keeps ahead of playback.
    """

    num_queued: int
    oldest_s: float
    num_running: int
    max_running: int


class StorePart(Part, kw_only=True):
    """The store of finished audio; `code` names its failure. Speech goes on without it."""

    code: str | None = None


class Parts(msgspec.Struct, kw_only=True):
    """Each part of the server by itself."""

    model: ModelPart
    engine: EnginePart
    queue: QueuePart
    store: StorePart


class ReadinessReport(msgspec.Struct, kw_only=True):
    """Whether speech can be served now, and by what.

    `breaker` says whether the model is asked: always, not now, or once to see whether it works
    again; `reason` why a model that is loaded, or failed to, cannot be used. `parts` has more.
    """

    status: Literal["ready", "loading", "failed", "unavailable", "draining"]
    breaker: BreakerName
    reason: str | None = None
    model: str
    backend: str
    skipped: Sequence[Skipped]
    parts: Parts


class ErrorDetail(msgspec.Struct, kw_only=True):
    """One error: `type` is its kind, `param` the field at fault, `code` its name."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct):
    """The body of every answer with status 400 or higher."""

    error: ErrorDetail
