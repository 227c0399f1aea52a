"""/v1/audio/files: stored audio, as files of its owner.

What part of a file a request wants, and whether it wants it now, is decided after RFC 9110,
sections 13 and 14. Headers are parsed by werkzeug; which of them counts is decided here.

A file that breaks off cuts the connection: a body that ends cleanly would pass for a whole one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
import structlog
from litestar import Controller, Request, Response, delete, get, route
from litestar.datastructures import Headers
from litestar.di import NamedDependency
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send
from msgspec import Meta
from werkzeug import http

from app.domain.errors import SpeechError
from app.domain.segment import Caption, render_srt, render_vtt
from app.domain.services.audio_library import AudioLibrary, choose_page
from app.entrypoints.http import errors, openapi
from app.entrypoints.http.middleware import is_head
from app.entrypoints.http.responses import EXPECTED_CUTS, send_parts, until_disconnect
from app.entrypoints.http.schemas import CONTENT_TYPES
from app.ports.audio_store import OpenAudio, StoredAudio

FILES_PATH: Final = "/v1/audio/files"
SRT: Final = "application/x-subrip; charset=utf-8"
VTT: Final = "text/vtt; charset=utf-8"

# Whose files: the name of the request's key, or None where there are no keys.
Owner = NamedDependency[str | None]

# A file does not change, but it may be deleted, and it is its owner's alone.
CACHE_HEADERS: Final = {"cache-control": "private, no-cache", "vary": "authorization"}

# The last 0 bytes: a valid range that cannot be satisfied (RFC 9110, section 14.1.2), which
# werkzeug takes for an invalid one.
_LAST_NOTHING: Final = re.compile(r"\s*bytes\s*=\s*-0+\s*", re.ASCII | re.IGNORECASE)

_log = structlog.get_logger(__name__)


class StoredAudioItem(msgspec.Struct, kw_only=True):
    """A stored file."""

    id: Annotated[str, Meta(description="Its name, by which it is fetched and deleted.")]
    object: Literal["audio.file"] = "audio.file"
    bytes: int
    created_at: Annotated[int, Meta(description="Unix time in seconds.")]
    content_type: str


class StoredAudioList(msgspec.Struct, kw_only=True):
    """A page of stored files."""

    object: Literal["list"] = "list"
    data: Sequence[StoredAudioItem]
    first_id: str | None
    last_id: Annotated[str | None, Meta(description="`after` of the next page.")]
    has_more: bool


class StoredAudioDeleted(msgspec.Struct, kw_only=True):
    """A file is gone."""

    id: str
    object: Literal["audio.file"] = "audio.file"
    deleted: Literal[True] = True


class ByteRange(msgspec.Struct, frozen=True):
    """The bytes to be sent, from `start` up to but not including `end`."""

    start: int
    end: int
    is_partial: bool = False  # they are the range that was asked for, even if that is all


def _captions_route(
    name: str, title: str, content_type: str, render: Callable[[Sequence[Caption]], str]
) -> HTTPRouteHandler:
    @get(
        f"/{{name:str}}/captions.{name}",
        operation_id=f"retrieveAudioFile{name.title()}",
        operation_class=openapi.captions_operation(content_type),
        summary=f"Captions of stored audio, {title}",
        description=f"What is said when, as {title}.",
        responses=openapi.CAPTIONS_ERRORS,
    )
    async def retrieve_captions(
        self: Any,  # noqa: ARG001 - bound by the framework
        name: FromPath[str],
        library: NamedDependency[AudioLibrary],
        owner: Owner,
    ) -> Response[bytes]:
        store = await library.stores.for_owner(owner)
        text = render(await store.read_captions(name))
        return Response(text.encode(), headers={**CACHE_HEADERS, "content-type": content_type})

    return retrieve_captions


class StoredAudioController(Controller):
    """Stored audio: list, fetch, delete, captions."""

    path = FILES_PATH
    tags = ("Stored audio",)

    @get(
        "/",
        operation_id="listAudioFiles",
        summary="List stored audio",
        responses=openapi.LIST_ERRORS,
    )
    async def list_files(
        self,
        library: NamedDependency[AudioLibrary],
        owner: Owner,
        limit: Annotated[int, QueryParameter(ge=1, le=100, description="Most files.")] = 20,
        after: Annotated[
            str | None, QueryParameter(description="The `last_id` of the page before.")
        ] = None,
        order: Annotated[
            Literal["asc", "desc"], QueryParameter(description="desc is newest first.")
        ] = "desc",
    ) -> StoredAudioList:
        """A page of the files that the caller's key has stored."""
        files = await (await library.stores.for_owner(owner)).list()
        page = choose_page(files, limit, after, is_newest_first=order == "desc")
        items = [
            StoredAudioItem(
                id=file.name,
                bytes=file.num_bytes,
                created_at=int(file.created_at.timestamp()),
                content_type=CONTENT_TYPES[file.audio_format],
            )
            for file in page.files
        ]
        return StoredAudioList(
            data=items,
            first_id=items[0].id if items else None,
            last_id=items[-1].id if items else None,
            has_more=page.has_more,
        )

    @get(
        "/{name:str}",
        operation_id="retrieveAudioFile",
        operation_class=openapi.RETRIEVE_FILE,
        summary="Retrieve stored audio",
        responses=openapi.READ_ERRORS,
    )
    async def retrieve_file(
        self, name: FromPath[str], library: NamedDependency[AudioLibrary], owner: Owner
    ) -> ASGIResponse:
        """The bytes of a file, or one range of them; conditions are those of RFC 9110."""
        store = await library.stores.for_owner(owner)
        return StoredAudioResponse(store.open_file(name))

    @route(
        "/{name:str}",
        http_method=[HttpMethod.OPTIONS],
        include_in_schema=False,
        status_code=204,
        sync_to_thread=False,
    )
    def allowed_methods(self, name: FromPath[str]) -> Response[None]:
        """The methods of the address; the framework's own answer has those of one handler.

        It adds that answer to the first handler of an address, by name, unless it is this one.
        """
        return Response(None, headers={"allow": "DELETE, GET, HEAD, OPTIONS"})

    @delete(
        "/{name:str}",
        operation_id="deleteAudioFile",
        operation_class=openapi.DELETE_FILE,
        summary="Delete stored audio",
        status_code=200,
        responses=openapi.DELETE_ERRORS,
    )
    async def delete_file(
        self,
        name: FromPath[str],
        library: NamedDependency[AudioLibrary],
        owner: Owner,
        request: Request[Any, Any, Any],
    ) -> StoredAudioDeleted:
        """Removes a file and its captions; answers that are on their way still end."""
        store = await library.stores.for_owner(owner)
        async with store.open_file(name) as audio:
            headers = headers_of(request.scope)
            # If-Modified-Since is for GET and HEAD alone (RFC 9110, section 13.1.3).
            is_known = "if-none-match" in headers and _is_known(headers, audio.info)
            if is_known or _is_for_another_state(headers, audio.info):
                raise errors.HttpError("precondition_failed")
        await store.delete(name)
        return StoredAudioDeleted(id=name)

    retrieve_srt = _captions_route("srt", "SubRip", SRT, render_srt)
    retrieve_vtt = _captions_route("vtt", "WebVTT", VTT, render_vtt)


class StoredAudioResponse(ASGIResponse):
    """Opens a file, decides by the request's headers what of it is wanted, and sends that."""

    def __init__(self, opening: AbstractAsyncContextManager[OpenAudio]) -> None:
        super().__init__()
        self._opening = opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; before its first byte raises what the store and the conditions raise."""
        async with self._opening as audio:
            span = choose_span(headers_of(scope), audio.info)
            status, headers = describe_answer(audio.info, span)
            pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": pairs})
            if span is None or is_head(scope):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            try:  # to return before the end makes the server cut
                await until_disconnect(receive, send_parts(send, audio.read(span.start, span.end)))
            except errors.ClientDisconnectedError:
                _log.info("stored_audio.client_left")
            except SpeechError as error:
                write = _log.warning if isinstance(error, EXPECTED_CUTS) else _log.error
                write("stored_audio.cut", error=error.code, reason=str(error))
            except Exception as error:  # noqa: BLE001 - no handler is called after the first byte
                _log.error("stored_audio.cut", error="internal_error", exc_info=error)


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers of a request by lower-case name; lines of one name are joined by commas."""
    received = Headers.from_scope(scope)
    headers = {name: ", ".join(received.getall(name)) for name in received}
    if is_head(scope):
        headers.pop("range", None)  # defined for GET only (RFC 9110, section 14.2)
    return headers


def describe_answer(info: StoredAudio, span: ByteRange | None) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer that sends `span`; None sends nothing (304)."""
    headers = {
        "accept-ranges": "bytes",
        "etag": http.quote_etag(info.version),
        "last-modified": http.http_date(info.created_at),
        **CACHE_HEADERS,
    }
    if span is None:
        return 304, headers
    headers |= {
        "content-type": CONTENT_TYPES[info.audio_format],
        "content-length": str(span.end - span.start),
        "content-disposition": f'attachment; filename="{info.name}"',
    }
    if not span.is_partial:
        return 200, headers
    headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{info.num_bytes}"
    return 206, headers


def choose_span(headers: Mapping[str, str], file: StoredAudio) -> ByteRange | None:
    """The part of `file` that a request wants; None is nothing, it has that state already (304).

    `headers` are as of `headers_of`. Raises HttpError, for conditions that fail or a range that
    begins beyond the end or is the last 0 bytes.
    """
    if _is_for_another_state(headers, file):
        raise errors.HttpError("precondition_failed")
    if _is_known(headers, file):
        return None
    header = headers.get("range")
    if header is None or not _may_be_partial(headers.get("if-range"), file):
        return ByteRange(0, file.num_bytes)
    if _LAST_NOTHING.fullmatch(header):
        raise _unsatisfiable(file)
    asked = http.parse_range_header(header)
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return ByteRange(0, file.num_bytes)  # several ranges, or a malformed header
    start, end = asked.ranges[0]
    if start < 0:  # so many of the last bytes; an empty file has none that a range could name
        return ByteRange(
            max(0, file.num_bytes + start), file.num_bytes, is_partial=file.num_bytes > 0
        )
    if start >= file.num_bytes:
        raise _unsatisfiable(file)
    return ByteRange(start, min(end or file.num_bytes, file.num_bytes), is_partial=True)


def _unsatisfiable(file: StoredAudio) -> errors.HttpError:
    headers = {"content-range": f"bytes */{file.num_bytes}"}
    return errors.HttpError("range_not_satisfiable", headers)


def _is_for_another_state(headers: Mapping[str, str], file: StoredAudio) -> bool:
    if "if-match" in headers:
        return file.version not in http.parse_etags(headers["if-match"])
    since = http.parse_date(headers.get("if-unmodified-since"))
    return since is not None and _modified_at(file) > since


def _is_known(headers: Mapping[str, str], file: StoredAudio) -> bool:
    if "if-none-match" in headers:
        return http.parse_etags(headers["if-none-match"]).contains_weak(file.version)
    since = http.parse_date(headers.get("if-modified-since"))
    return since is not None and _modified_at(file) <= since


def _may_be_partial(condition: str | None, file: StoredAudio) -> bool:
    if condition is None:
        return True
    if (date := http.parse_date(condition)) is not None:
        return date == _modified_at(file)
    # A part of another state must never be joined to this one: only the exact tag will do.
    return http.unquote_etag(condition) == (file.version, False)


def _modified_at(file: StoredAudio) -> datetime:
    return file.created_at.replace(microsecond=0)  # headers have whole seconds
