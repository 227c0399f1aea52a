"""What can be asked for: models and voices, in OpenAI's lists and in those of chat front ends."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.domain.errors import ModelNotFoundError
from app.entrypoints.backends import Choice
from app.entrypoints.http.access import LISTS
from app.entrypoints.http.openapi import NOT_FOUND
from app.entrypoints.http.schemas import (
    AudioModel,
    AudioModelList,
    Model,
    ModelList,
    VoiceItem,
    VoiceList,
    describe_skipped,
)
from app.entrypoints.services import Services


class ModelController(Controller):
    """Models and voices."""

    path = "/v1"
    tags = ("Models and voices",)
    opt = LISTS

    @get("/models", operation_id="listModels", summary="List models")
    async def list_models(self, services: NamedDependency[Services]) -> ModelList:
        """All model names that requests may use; they mean the one model that is served."""
        names = services.speech.catalog.model_ids()
        return ModelList(data=[_model(name, services.choice) for name in names])

    @get(
        "/models/{model_id:str}",
        operation_id="retrieveModel",
        summary="Retrieve a model",
        responses=NOT_FOUND,
    )
    async def retrieve_model(
        self, model_id: FromPath[str], services: NamedDependency[Services]
    ) -> Model:
        """One model by name."""
        catalog = services.speech.catalog
        if not catalog.is_model(model_id):
            raise ModelNotFoundError(model_id, catalog.model_ids())
        return _model(model_id, services.choice)

    @get("/audio/models", operation_id="listAudioModels", summary="List models, short")
    async def list_audio_models(self, services: NamedDependency[Services]) -> AudioModelList:
        """The same names, as chat front ends read them."""
        return AudioModelList([AudioModel(name) for name in services.speech.catalog.model_ids()])

    @get("/audio/voices", operation_id="listVoices", summary="List voices")
    async def list_voices(self, services: NamedDependency[Services]) -> VoiceList:
        """The model's own voices, then OpenAI's names for them."""
        voices = services.speech.catalog.voices()
        return VoiceList([VoiceItem(voice.id, voice.name, voice.language) for voice in voices])


def _model(name: str, choice: Choice) -> Model:
    return Model(id=name, backend=choice.backend, skipped=describe_skipped(choice))
