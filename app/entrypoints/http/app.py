"""The web application over a set of ports. Names no adapter."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from litestar import Litestar, MediaType, Response, get
from litestar.di import NamedDependency, Provide

from app.domain.catalog import Catalog
from app.domain.errors import SpeechError
from app.domain.services.readiness import Readiness
from app.domain.services.speech import SpeechService
from app.entrypoints.backends import Choice
from app.entrypoints.http.authentication import METRICS, OPEN, Authentication
from app.entrypoints.http.context import RequestContext
from app.entrypoints.http.errors import EXCEPTION_HANDLERS
from app.entrypoints.http.health import HealthController
from app.entrypoints.http.methods import HeadAsGet
from app.entrypoints.http.models import ModelController
from app.entrypoints.http.openapi import openapi_config, read_page
from app.entrypoints.http.origins import OriginCheck, cors_config
from app.entrypoints.http.speech import SpeechController
from app.entrypoints.services import Ports, Services
from app.entrypoints.settings import Settings
from app.ports.metrics import MetricsSource

DISTRIBUTION: Final = "soprano-tts-api"


def create_app(
    ports: Ports,
    settings: Settings,
    on_fatal: Callable[[SpeechError], None] = lambda _: None,
) -> Litestar:
    """Build the application; its lifespan loads the model and closes it.

    Args:
        ports: constructed, not opened.
        settings: all of them.
        on_fatal: called if the model cannot be loaded.
    """
    services = Services(ports, settings)
    cors = cors_config(settings.server.cors_origins)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with services.running(on_fatal):
            yield

    app = Litestar(
        route_handlers=[
            SpeechController,
            ModelController,
            HealthController,
            metrics_page,
            player_page,
        ],
        lifespan=[lifespan],
        dependencies=_dependencies(services),
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[OriginCheck(cors), Authentication(services.access, settings.auth)],
        cors_config=cors,
        request_max_body_size=settings.server.max_body_bytes,
        openapi_config=openapi_config(version(DISTRIBUTION)),
        logging_config=None,
    )
    app.asgi_handler = RequestContext(HeadAsGet(app.asgi_handler), ports.clock)
    return app


def _dependencies(services: Services) -> dict[str, Provide]:
    def speech() -> SpeechService:
        return services.speech

    def readiness() -> Readiness:
        return services.readiness

    def catalog() -> Catalog:
        return services.speech.catalog

    def choice() -> Choice:
        return services.choice

    def metrics() -> MetricsSource:
        return services.metrics

    return {
        provider.__name__: Provide(provider, sync_to_thread=False)
        for provider in (speech, readiness, catalog, choice, metrics)
    }


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
