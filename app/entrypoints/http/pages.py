"""The pages of the server, and the description of its interface. They load nothing from elsewhere.

`/` is a page to use the server with, `/schema` shows the interface and sends requests.
"""

from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final

from litestar import MediaType, Request, Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, spec
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin

from app.entrypoints.http.access import OPEN

DESCRIPTION: Final = (
    "Text to speech on your own machine, in the words of OpenAI's speech endpoint. "
    "Every answer carries `x-request-id`; every error has the same body. "
    "A server with keys wants one as `Authorization: Bearer KEY`."
)

API_KEY: Final = "ApiKey"

CACHED: Final = {"cache-control": "max-age=3600"}

CSS: Final = "text/css"  # the framework adds the charset
JAVASCRIPT: Final = "text/javascript"

# The parts of the page belong to each other, so a browser must not mix those of two versions.
FRESH: Final = {"cache-control": "no-cache"}

PAGE_FILES: Final = {
    "page.css": CSS,
    **{
        f"{name}.js": JAVASCRIPT
        for name in (
            "code", "history", "live", "page", "player", "server", "sound", "stored", "waveform",
            "words",
        )
    },
}  # fmt: skip
SWAGGER_FILES: Final = {"swagger-ui-bundle.js": JAVASCRIPT, "swagger-ui.css": CSS}


def read_static(name: str) -> bytes:
    """A static file of the package."""
    return files("app.entrypoints.http").joinpath("static", name).read_bytes()


def static_file(path: str, name: str, media_type: str, headers: dict[str, str]) -> HTTPRouteHandler:
    """The handler of one file."""
    content = read_static(name)

    @get(path, include_in_schema=False, sync_to_thread=False, opt=OPEN)
    def static_file() -> Response[bytes]:
        return Response(content, media_type=media_type, headers=headers)

    return static_file


def page_files() -> list[HTTPRouteHandler]:
    """The page at `/`, to use the server with, and what it loads."""
    return [
        static_file("/", "index.html", MediaType.HTML, FRESH),
        *(
            static_file(f"/page/{name}", f"page/{name}", media_type, FRESH)
            for name, media_type in PAGE_FILES.items()
        ),
    ]


class ReferencePage(OpenAPIRenderPlugin):
    """Swagger UI from files of the package. The framework's own plugin loads an icon from a CDN."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page, which fetches the schema."""
        return read_static("reference.html")


def openapi_config(version: str) -> OpenAPIConfig:
    """The schema at /schema/openapi.json, the page at /schema."""

    def reject_unknown(response: Response[Any]) -> Response[Any]:
        # The framework answers to unknown addresses below its own with a page of HTML.
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise NotFoundException
        return response

    return OpenAPIConfig(
        title="Soprano TTS API",
        version=version,
        description=DESCRIPTION,
        openapi_router=Router(
            "/schema",
            route_handlers=[
                static_file(f"/{name}", f"swagger-ui/{name}", media_type, CACHED)
                for name, media_type in SWAGGER_FILES.items()
            ],
            include_in_schema=False,
            dto=None,
            return_dto=None,
            opt=OPEN,
            after_request=reject_unknown,
        ),
        use_handler_docstrings=True,
        components=spec.Components(
            security_schemes={API_KEY: spec.SecurityScheme("http", scheme="bearer")}
        ),
        security=[{API_KEY: []}, {}],  # a server without keys needs none
        render_plugins=[ReferencePage(path="/"), JsonRenderPlugin(path="/openapi.json")],
    )
