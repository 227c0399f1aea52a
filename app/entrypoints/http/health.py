"""Whether the process lives, and whether it can serve."""

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from app.domain.services.lifecycle import ModelState
from app.entrypoints.http import schemas
from app.entrypoints.http.access import OPEN
from app.entrypoints.http.openapi import NOT_READY
from app.entrypoints.services import Services


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
        readiness, engine, info = (
            services.readiness,
            services.engine_health(),
            services.speech.catalog.info,
        )
        is_loaded = readiness.state is ModelState.READY
        has_failed = readiness.state is ModelState.FAILED
        reason = engine.why_not() if is_loaded else readiness.why_not() if has_failed else None
        report = schemas.ReadinessReport(
            status="unavailable" if is_loaded and reason else readiness.state.value,
            breaker=engine.breaker.value,
            reason=reason,
            model=info.id,
            backend=info.backend,
            skipped=schemas.describe_skipped(services.choice),
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
    readiness, engine = services.readiness, services.engine_health()
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
            instances=services.count_instances(),
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
