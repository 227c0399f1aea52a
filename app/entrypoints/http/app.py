"""The web application over a set of ports. Names no adapter."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from litestar import Litestar, MediaType, Response, get
from litestar.di import NamedDependency, Provide

from app.domain.catalog import Catalog
from app.domain.errors import SpeechError
from app.domain.services.audio_library import AudioLibrary
from app.domain.services.idempotency import IdempotencyKeys
from app.domain.services.lifecycle import EngineCheck, Intake, Readiness
from app.domain.services.speech import SpeechService
from app.entrypoints.backends import Choice
from app.entrypoints.http.addresses import AddressCheck
from app.entrypoints.http.allowed_hosts import AllowedHosts, HostCheck
from app.entrypoints.http.authentication import METRICS, OPEN, Authentication
from app.entrypoints.http.body_timeout import BodyTimeout
from app.entrypoints.http.caller import Callers
from app.entrypoints.http.context import RequestContext
from app.entrypoints.http.errors import EXCEPTION_HANDLERS
from app.entrypoints.http.events import EventWriter
from app.entrypoints.http.health import HealthController, describe_parts
from app.entrypoints.http.intake_check import IntakeCheck
from app.entrypoints.http.live_session import LiveLimits
from app.entrypoints.http.live_speech import live_speech
from app.entrypoints.http.methods import HeadAsGet
from app.entrypoints.http.models import ModelController
from app.entrypoints.http.openapi import openapi_config, read_page
from app.entrypoints.http.origins import OriginCheck, PreflightCheck, cors_config
from app.entrypoints.http.overload import OverloadCheck
from app.entrypoints.http.owner import owner
from app.entrypoints.http.repeats import Repeats
from app.entrypoints.http.schemas import Parts
from app.entrypoints.http.speech import SpeechController
from app.entrypoints.http.speech_answers import SpeechAnswers
from app.entrypoints.http.stored_audio import StoredAudioController
from app.entrypoints.http.traffic import Traffic
from app.entrypoints.http.whole_response import HeldAnswers
from app.entrypoints.services import Ports, Services
from app.entrypoints.settings import Settings
from app.ports.clock import Clock
from app.ports.metrics import MetricsSource

DISTRIBUTION: Final = "soprano-tts-api"


def create_app(
    ports: Ports,
    settings: Settings,
    on_fatal: Callable[[SpeechError], None] = lambda _: None,
    intake: Intake | None = None,
) -> Litestar:
    """Build the application; its lifespan loads the model, opens the store and closes both.

    Args:
        ports: constructed, not opened.
        settings: all of them.
        on_fatal: called if the model cannot be loaded.
        intake: shut before the server ends; without it nobody can.
    """
    services = Services(ports, settings, intake or Intake())
    cors = cors_config(settings.server.cors_origins)
    hosts = AllowedHosts(settings.server.host, settings.server.allowed_hosts)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with services.running(on_fatal), services.library.running():
            yield

    app = Litestar(
        route_handlers=[
            SpeechController,
            live_speech,
            StoredAudioController,
            ModelController,
            HealthController,
            metrics_page,
            player_page,
        ],
        lifespan=[lifespan],
        dependencies={**_dependencies(services), **_tools(services, ports, settings)},
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[
            BodyTimeout(ports.clock, settings.server.read_timeout_s),
            OriginCheck(cors, hosts),
            Authentication(services.access, settings.auth),
            IntakeCheck(services.intake, services.admission),
        ],
        cors_config=cors,
        request_max_body_size=settings.server.max_body_bytes,
        openapi_config=openapi_config(version(DISTRIBUTION)),
        logging_config=None,
    )
    app.state.overload = OverloadCheck(services.access, services.admission, ports.requests)
    inner = app.asgi_handler if cors is None else PreflightCheck(app.asgi_handler, cors)
    checked = HostCheck(AddressCheck(HeadAsGet(inner)), hosts, services.access)
    handler = RequestContext(checked, ports.clock)
    app.asgi_handler = Traffic(handler, ports.clock, ports.requests, ports.tracing)
    return app


def _tools(services: Services, ports: Ports, settings: Settings) -> dict[str, Provide]:
    speech = settings.speech
    writer = EventWriter(ports.clock, has_done_marker=speech.sse_done_marker)
    limits = LiveLimits(speech.max_chars, settings.server.socket_idle_s)
    repeats = Repeats(
        services.speech.catalog, IdempotencyKeys(ports.clock), settings.model.temperature
    )
    callers = Callers(ports.clock, settings.admission.request_timeout_s)
    speech_answers = SpeechAnswers(
        services.speech,
        callers,
        writer,
        repeats,
        services.library,
        HeldAnswers(),
        ports.clock,
    )

    def clock() -> Clock:
        return ports.clock

    def live_limits() -> LiveLimits:
        return limits

    def answers() -> SpeechAnswers:
        return speech_answers

    def parts() -> Parts:
        return describe_parts(services)

    def intake() -> Intake:
        return services.intake

    return _provide(clock, live_limits, answers, parts, intake)


def _dependencies(services: Services) -> dict[str, Provide]:
    def speech() -> SpeechService:
        return services.speech

    def library() -> AudioLibrary:
        return services.library

    def readiness() -> Readiness:
        return services.readiness

    def engine() -> EngineCheck:
        return services.engine

    def catalog() -> Catalog:
        return services.speech.catalog

    def choice() -> Choice:
        return services.choice

    def metrics() -> MetricsSource:
        return services.metrics

    return _provide(speech, library, readiness, engine, catalog, choice, metrics, owner)


def _provide(*providers: Callable[..., Any]) -> dict[str, Provide]:
    return {provider.__name__: Provide(provider, sync_to_thread=False) for provider in providers}


@get(
    "/metrics",
    operation_id="metrics",
    summary="Metrics for Prometheus",
    tags=["Health"],
    media_type=MediaType.TEXT,
    opt=METRICS,
)
async def metrics_page(metrics: NamedDependency[MetricsSource]) -> Response[bytes]:
    """Requests, time to first audio, real-time factor, failed sentences, the process."""
    return Response(metrics.render(), media_type=metrics.content_type)


@get("/", include_in_schema=False, media_type=MediaType.HTML, opt=OPEN, sync_to_thread=False)
def player_page() -> bytes:
    """A page to try the voice."""
    return read_page("player.html")
