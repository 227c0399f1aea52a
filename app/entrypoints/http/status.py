"""What the server says of itself: its models and voices, its health, its metrics."""

from litestar import Controller, MediaType, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from app.domain.errors import ModelNotFoundError
from app.domain.services.lifecycle import ModelState
from app.entrypoints.http import schemas
from app.entrypoints.http.access import LISTS, METRICS, OPEN
from app.entrypoints.http.openapi import NOT_FOUND, NOT_READY
from app.entrypoints.services import Services


class ModelController(Controller):
    """Models and voices."""

    path = "/v1"
    tags = ("Models and voices",)
    opt = LISTS

    @get("/models", operation_id="listModels", summary="List models")
    async def list_models(self, services: NamedDependency[Services]) -> schemas.ModelList:
        """All model names that requests may use; they mean the one model that is served."""
        names = services.speech.catalog.model_ids()
        return schemas.ModelList(data=[_model(name, services) for name in names])

    @get(
        "/models/{model_id:str}",
        operation_id="retrieveModel",
        summary="Retrieve a model",
        responses=NOT_FOUND,
    )
    async def retrieve_model(
        self, model_id: FromPath[str], services: NamedDependency[Services]
    ) -> schemas.Model:
        """One model by name."""
        catalog = services.speech.catalog
        if not catalog.is_model(model_id):
            raise ModelNotFoundError(model_id, catalog.model_ids())
        return _model(model_id, services)

    @get("/audio/models", operation_id="listAudioModels", summary="List models, short")
    async def list_short(self, services: NamedDependency[Services]) -> schemas.AudioModelList:
        """The same names, as chat front ends read them."""
        names = services.speech.catalog.model_ids()
        return schemas.AudioModelList([schemas.AudioModel(name) for name in names])

    @get("/audio/voices", operation_id="listVoices", summary="List voices")
    async def list_voices(self, services: NamedDependency[Services]) -> schemas.VoiceList:
        """The model's own voices, then OpenAI's names for them."""
        voices = services.speech.catalog.voices()
        items = [schemas.VoiceItem(voice.id, voice.name, voice.language) for voice in voices]
        return schemas.VoiceList(items)


def _model(name: str, services: Services) -> schemas.Model:
    choice = services.ports.choice
    return schemas.Model(id=name, backend=choice.backend, skipped=choice.skipped)


class HealthController(Controller):
    """For load balancers and supervisors."""

    path = "/health"
    tags = ("Health",)
    opt = OPEN

    @get("/live", operation_id="live", summary="Is the process alive", sync_to_thread=False)
    def live(self) -> schemas.Liveness:
        """200 as long as the event loop turns; asks nothing else."""
        return schemas.Liveness()

    @get("/ready", operation_id="ready", summary="Can speech be served", responses=NOT_READY)
    async def ready(self, services: NamedDependency[Services]) -> Response[schemas.ReadinessReport]:
        """200 while the model is loaded and well and the server is to go on, else 503."""
        readiness, engine = services.readiness, services.ports.health()
        info = services.speech.catalog.info
        is_loaded = readiness.state is ModelState.READY
        has_failed = readiness.state is ModelState.FAILED
        reason = engine.why_not() if is_loaded else readiness.why_not() if has_failed else None
        report = schemas.ReadinessReport(
            status="unavailable" if is_loaded and reason else readiness.state.value,
            breaker=engine.breaker.value,
            reason=reason,
            model=info.id,
            backend=info.backend,
            skipped=services.ports.choice.skipped,
            parts=describe_parts(services),
        )
        if services.intake.is_draining:
            report.status = "draining"
        return Response(report, status_code=200 if report.status == "ready" else 503)

    @get("/", include_in_schema=False)
    async def health(
        self, services: NamedDependency[Services]
    ) -> Response[schemas.ReadinessReport]:
        """The same; where other servers have it, and programs in front of them look."""
        response: Response[schemas.ReadinessReport] = await self.ready.fn(self, services)
        return response


def describe_parts(services: Services) -> schemas.Parts:
    """Each part by itself; one that fails need not make the server unready."""
    readiness, engine = services.readiness, services.ports.health()
    load, is_full = services.admission.load(), services.admission.is_full()
    not_loaded, trouble, error = readiness.why_not(), engine.trouble(), services.library.error
    return schemas.Parts(
        model=schemas.ModelPart(
            ok=not_loaded is None, reason=not_loaded, state=readiness.state.value
        ),
        engine=schemas.EnginePart(
            ok=trouble is None,
            reason=trouble,
            breaker=engine.breaker.value,
            open_for_s=round(engine.open_for_s, 3),
            instances=services.ports.count_instances(),
        ),
        queue=schemas.QueuePart(
            ok=not is_full,
            reason="The queue is full; new requests are rejected." if is_full else None,
            num_queued=load.num_queued,
            oldest_s=round(load.oldest_s, 3),
            num_running=load.num_running,
            max_running=load.max_running,
        ),
        store=schemas.StorePart(
            ok=error is None,
            reason="The audio store fails; the log says why." if error else None,
            code=error.code if error else None,
        ),
    )


@get(
    "/metrics",
    operation_id="metrics",
    summary="Metrics for Prometheus",
    tags=["Health"],
    media_type=MediaType.TEXT,
    opt=METRICS,
)
async def metrics_page(services: NamedDependency[Services]) -> Response[bytes]:
    """Requests, time to first audio, real-time factor, failed sentences, the process."""
    metrics = services.ports.metrics
    return Response(metrics.render(), media_type=metrics.content_type)
