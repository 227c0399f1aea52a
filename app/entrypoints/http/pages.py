"""The page at `/`, and the static files of the package. They load nothing from elsewhere."""

from importlib.resources import files
from typing import Any, Final

from litestar import MediaType, Response, Router, get
from litestar.handlers import HTTPRouteHandler

from app.entrypoints.http.access import OPEN

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


def read_static(name: str) -> bytes:
    """A static file of the package."""
    return files("app.entrypoints.http").joinpath("static", name).read_bytes()


def static_file(
    directory: str, name: str, media_type: str, headers: dict[str, str]
) -> HTTPRouteHandler:
    """The handler of one file."""
    content = read_static(f"{directory}/{name}")

    @get(f"/{name}", include_in_schema=False, sync_to_thread=False, opt=OPEN)
    def static_file() -> Response[bytes]:
        return Response(content, media_type=media_type, headers=headers)

    return static_file


@get("/", include_in_schema=False, media_type=MediaType.HTML, opt=OPEN, sync_to_thread=False)
def index_page() -> Response[bytes]:
    """A page to use the server with."""
    return Response(read_static("index.html"), media_type=MediaType.HTML, headers=FRESH)


def page_files() -> Router:
    """What the page at `/` loads."""
    handlers: list[Any] = [
        static_file("page", name, media_type, FRESH) for name, media_type in PAGE_FILES.items()
    ]
    return Router("/page", route_handlers=handlers, include_in_schema=False)
