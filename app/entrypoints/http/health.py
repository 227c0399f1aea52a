"""Whether the process lives, and whether it can serve."""

from typing import Final

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from app.domain.catalog import Catalog
from app.domain.errors import StoreError
from app.domain.services.admission import Admission
from app.domain.services.lifecycle import EngineCheck, Intake, ModelState, Readiness
from app.entrypoints.backends import Choice
from app.entrypoints.http.access import OPEN
from app.entrypoints.http.openapi import NOT_READY
from app.entrypoints.http.schemas import (
    EnginePart,
    Liveness,
    ModelPart,
    Parts,
    QueuePart,
    ReadinessReport,
    StorePart,
    describe_skipped,
)
from app.entrypoints.services import Services

QUEUE_FULL: Final = "The queue is full; new requests are rejected."
STORE_FAILS: Final = "The audio store fails; the log says why."


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
        parts: NamedDependency[Parts],
        intake: NamedDependency[Intake],
    ) -> Response[ReadinessReport]:
        """200 while the model is loaded and well and the server is to go on, else 503."""
        is_loaded = readiness.state is ModelState.READY
        has_failed = readiness.state is ModelState.FAILED
        reason = engine.why_not() if is_loaded else readiness.why_not() if has_failed else None
        report = ReadinessReport(
            status="unavailable" if is_loaded and reason else readiness.state.value,
            breaker=engine.health.breaker.value,
            reason=reason,
            model=catalog.info.id,
            backend=catalog.info.backend,
            skipped=describe_skipped(choice),
            parts=parts,
        )
        if intake.is_draining:
            report.status = "draining"
        return Response(report, status_code=200 if report.status == "ready" else 503)


def describe_parts(services: Services) -> Parts:
    """Each part by itself; one that fails need not make the server unready."""
    readiness, engine = services.readiness, services.engine
    not_loaded, trouble, health = readiness.why_not(), engine.trouble(), engine.health
    return Parts(
        model=ModelPart(ok=not_loaded is None, reason=not_loaded, state=readiness.state.value),
        engine=EnginePart(
            ok=trouble is None,
            reason=trouble,
            breaker=health.breaker.value,
            open_for_s=round(health.open_for_s, 3),
        ),
        queue=_describe_queue(services.admission),
        store=_describe_store(services.library.error),
    )


def _describe_queue(admission: Admission) -> QueuePart:
    load, is_full = admission.load(), admission.is_full()
    return QueuePart(
        ok=not is_full,
        reason=QUEUE_FULL if is_full else None,
        num_queued=load.num_queued,
        oldest_s=round(load.oldest_s, 3),
        num_running=load.num_running,
        max_running=load.max_running,
    )


def _describe_store(error: StoreError | None) -> StorePart:
    if error is None:
        return StorePart(ok=True)
    return StorePart(ok=False, reason=STORE_FAILS, code=error.code)
