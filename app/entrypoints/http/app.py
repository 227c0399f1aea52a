"""The web application over a set of ports. Names no adapter."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from litestar import Litestar
from litestar.di import Provide

from app.domain.errors import SpeechError
from app.entrypoints.connections import Quota
from app.entrypoints.http.access import AccessMiddleware, AllowedHosts, cors_config, key_name
from app.entrypoints.http.errors import EXCEPTION_HANDLERS
from app.entrypoints.http.files import StoredAudioController
from app.entrypoints.http.middleware import RequestMiddleware
from app.entrypoints.http.pages import openapi_config, page_files
from app.entrypoints.http.responses import MAX_HELD_BYTES
from app.entrypoints.http.speech import SpeechController
from app.entrypoints.http.status import HealthController, ModelController, metrics_page
from app.entrypoints.http.websocket import live_speech
from app.entrypoints.services import Ports, Services
from app.entrypoints.settings import Settings

MIN_BODY_BYTES: Final = 262_144
MAX_CHAR_BYTES: Final = 12  # of one in JSON: two escapes beyond U+FFFF (RFC 8259, section 7)
OTHER_FIELDS_BYTES: Final = 65_536


def max_body_bytes(max_chars: int) -> int:
    """Size of a body, and of a message on a WebSocket, that may hold a text of `max_chars`."""
    return max(MIN_BODY_BYTES, MAX_CHAR_BYTES * max_chars + OTHER_FIELDS_BYTES)


def create_app(
    ports: Ports,
    settings: Settings,
    on_settled: Callable[[SpeechError | None], None] = lambda _: None,
) -> Litestar:
    """Build the application; its lifespan loads and closes the model and opens the store.

    `on_settled` is as of `Services.running`. The state of the application has the services.
    """
    services = Services(ports, settings)
    cors = cors_config(settings.server.cors_origins)
    hosts = AllowedHosts(settings.server.host, settings.server.allowed_hosts)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with services.running(on_settled), services.library.running():
            yield

    providers: dict[str, Callable[..., Any]] = {  # of what handlers ask for by name
        "services": lambda: services,
        "library": lambda: services.library,
        "owner": key_name,
    }
    controllers = (SpeechController, StoredAudioController, ModelController, HealthController)
    app = Litestar(
        route_handlers=[*controllers, live_speech, metrics_page, *page_files()],
        lifespan=[lifespan],
        dependencies={
            name: Provide(each, sync_to_thread=False) for name, each in providers.items()
        },
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[AccessMiddleware(services, hosts, cors)],
        cors_config=cors,
        request_max_body_size=max_body_bytes(settings.speech.max_chars),
        openapi_config=openapi_config(version("soprano-tts-api")),
        logging_config=None,
    )
    app.state.services = services
    app.state.held = Quota(MAX_HELD_BYTES)  # bytes of the answers that are held
    app.asgi_handler = RequestMiddleware(app.asgi_handler, services, hosts, cors)
    return app
