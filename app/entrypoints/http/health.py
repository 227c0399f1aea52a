"""Whether the process lives, and whether it can serve."""

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from app.domain.catalog import Catalog
from app.domain.services.intake import Intake
from app.domain.services.readiness import EngineCheck, ModelState, Readiness
from app.entrypoints.backends import Choice
from app.entrypoints.http.authentication import OPEN
from app.entrypoints.http.openapi import NOT_READY
from app.entrypoints.http.schemas import Liveness, ReadinessReport, describe_skipped


class HealthController(Controller):
    """For load balancers and supervisors."""

    path = "/health"
    tags = ("Health",)
    opt = OPEN

    @get("/live", operation_id="live", summary="Is the process alive", sync_to_thread=False)
    def live(self) -> Liveness:
        """200 as long as the event loop turns; asks nothing else."""
        return Liveness()

    @get("/ready", operation_id="ready", summary="Can speech be served", responses=NOT_READY)
    async def ready(
        self,
        readiness: NamedDependency[Readiness],
        engine: NamedDependency[EngineCheck],
        catalog: NamedDependency[Catalog],
        choice: NamedDependency[Choice],
        intake: NamedDependency[Intake],
    ) -> Response[ReadinessReport]:
        """200 while the model is loaded and well and the server is to go on, else 503."""
        is_loaded = readiness.state is ModelState.READY
        reason = engine.why_not() if is_loaded else None
        report = ReadinessReport(
            status="unavailable" if reason else readiness.state.value,
            breaker=engine.health.breaker.value,
            reason=reason,
            model=catalog.info.id,
            backend=catalog.info.backend,
            skipped=describe_skipped(choice),
        )
        if intake.is_draining:
            report.status = "draining"
        return Response(report, status_code=200 if report.status == "ready" else 503)
