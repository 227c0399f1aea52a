"""What can be asked for: models and voices, in OpenAI's lists and in those of chat front ends."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.domain.catalog import Catalog
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


class ModelController(Controller):
    """Models and voices."""

    path = "/v1"
    tags = ("Models and voices",)
    opt = LISTS

    @get("/models", operation_id="listModels", summary="List models")
    async def list_models(
        self, catalog: NamedDependency[Catalog], choice: NamedDependency[Choice]
    ) -> ModelList:
        """All model names that requests may use; they mean the one model that is served."""
        return ModelList(data=[_model(name, choice) for name in catalog.model_ids()])

    @get(
        "/models/{model_id:str}",
        operation_id="retrieveModel",
        summary="Retrieve a model",
        responses=NOT_FOUND,
    )
    async def retrieve_model(
        self,
        model_id: FromPath[str],
        catalog: NamedDependency[Catalog],
        choice: NamedDependency[Choice],
    ) -> Model:
        """One model by name."""
        if not catalog.is_model(model_id):
            raise ModelNotFoundError(model_id, catalog.model_ids())
        return _model(model_id, choice)

    @get("/audio/models", operation_id="listAudioModels", summary="List models, short")
    async def list_audio_models(self, catalog: NamedDependency[Catalog]) -> AudioModelList:
        """The same names, as chat front ends read them."""
        return AudioModelList([AudioModel(name) for name in catalog.model_ids()])

    @get("/audio/voices", operation_id="listVoices", summary="List voices")
    async def list_voices(self, catalog: NamedDependency[Catalog]) -> VoiceList:
        """The model's own voices, then OpenAI's names for them."""
        return VoiceList([VoiceItem(v.id, v.name, v.language) for v in catalog.voices()])


def _model(name: str, choice: Choice) -> Model:
    return Model(id=name, backend=choice.backend, skipped=describe_skipped(choice))
