"""The web application over a set of ports. Names no adapter."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from litestar import Litestar
from litestar.di import Provide

from app.domain.errors import SpeechError
from app.domain.services.lifecycle import Intake
from app.entrypoints.http.access import AccessMiddleware, AllowedHosts, cors_config, key_name
from app.entrypoints.http.errors import EXCEPTION_HANDLERS
from app.entrypoints.http.files import StoredAudioController
from app.entrypoints.http.middleware import RequestMiddleware
from app.entrypoints.http.overload import OverloadCheck
from app.entrypoints.http.pages import index_page, openapi_config, page_files
from app.entrypoints.http.responses import HeldAnswers
from app.entrypoints.http.speech import SpeechAnswers, SpeechController
from app.entrypoints.http.sse import EventWriter
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
    intake: Intake | None = None,
) -> Litestar:
    """Build the application; its lifespan loads the model, opens the store and closes both.

    `on_settled` is as of `Services.running`; `intake` is shut before the server ends.
    """
    services = Services(ports, settings, intake or Intake())
    cors = cors_config(settings.server.cors_origins)
    hosts = AllowedHosts(settings.server.host, settings.server.allowed_hosts)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with services.running(on_settled), services.library.running():
            yield

    answers = SpeechAnswers(
        speech=services.speech,
        events=EventWriter(ports.clock),
        library=services.library,
        held=HeldAnswers(),
        clock=ports.clock,
        timeout_s=settings.admission.request_timeout_s,
    )
    providers: dict[str, Callable[..., Any]] = {  # of what handlers ask for by name
        "services": lambda: services,
        "library": lambda: services.library,
        "clock": lambda: ports.clock,
        "settings": lambda: settings,
        "answers": lambda: answers,
        "owner": key_name,
    }
    controllers = (SpeechController, StoredAudioController, ModelController, HealthController)
    access = AccessMiddleware(
        services=services,
        settings=settings,
        cors=cors,
        hosts=hosts,
        clock=ports.clock,
        observer=ports.requests,
    )
    app = Litestar(
        route_handlers=[*controllers, live_speech, metrics_page, index_page, page_files()],
        lifespan=[lifespan],
        dependencies={
            name: Provide(each, sync_to_thread=False) for name, each in providers.items()
        },
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[access],
        cors_config=cors,
        request_max_body_size=max_body_bytes(settings.speech.max_chars),
        openapi_config=openapi_config(version("soprano-tts-api")),
        logging_config=None,
    )
    app.state.services = services
    app.state.overload = OverloadCheck(
        services.access, services.admission, ports.requests, settings.server.root_path
    )
    app.asgi_handler = RequestMiddleware(
        app=app.asgi_handler,
        clock=ports.clock,
        observer=ports.requests,
        tracing=ports.tracing,
        hosts=hosts,
        access=services.access,
        cors=cors,
    )
    return app
