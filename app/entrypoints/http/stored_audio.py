"""/v1/audio/files: what was stored, as files of its owner."""

from typing import Annotated, Any, Final, Literal

from litestar import Controller, Request, Response, delete, get, route
from litestar.di import NamedDependency
from litestar.enums import HttpMethod
from litestar.params import FromPath, QueryParameter
from litestar.response.base import ASGIResponse

from app.domain.captions import render_srt, render_vtt
from app.domain.services.audio_library import AudioLibrary, PageQuery
from app.entrypoints.http.conditional import check_change
from app.entrypoints.http.stored_audio_openapi import (
    CAPTIONS_ERRORS,
    DELETE_ERRORS,
    LIST_ERRORS,
    READ_ERRORS,
    CaptionsOperation,
    DeletionOperation,
    StoredAudioOperation,
)
from app.entrypoints.http.stored_audio_response import (
    CACHE_HEADERS,
    StoredAudioResponse,
    headers_of,
    validators_of,
)
from app.entrypoints.http.stored_audio_schemas import (
    StoredAudioDeleted,
    StoredAudioList,
    describe_page,
)

FILES_PATH: Final = "/v1/audio/files"
SRT: Final = "application/x-subrip; charset=utf-8"
VTT: Final = "text/vtt"
"""The framework adds the charset."""

Owner = NamedDependency[str | None]
"""Whose files: the name of the request's key, or None where there are no keys."""


class StoredAudioController(Controller):
    """Stored audio: list, fetch, delete, captions."""

    path = FILES_PATH
    tags = ("Stored audio",)

    @get("/", operation_id="listAudioFiles", summary="List stored audio", responses=LIST_ERRORS)
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
        query = PageQuery(limit, after, is_newest_first=order == "desc")
        return describe_page(await library.list(owner, query))

    @get(
        "/{name:str}",
        operation_id="retrieveAudioFile",
        operation_class=StoredAudioOperation,
        summary="Retrieve stored audio",
        responses=READ_ERRORS,
    )
    async def retrieve_file(
        self, name: FromPath[str], library: NamedDependency[AudioLibrary], owner: Owner
    ) -> ASGIResponse:
        """The bytes of a file, or one range of them; conditions are those of RFC 9110."""
        return StoredAudioResponse(library.open_file(owner, name))

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
        operation_class=DeletionOperation,
        summary="Delete stored audio",
        status_code=200,
        responses=DELETE_ERRORS,
    )
    async def delete_file(
        self,
        name: FromPath[str],
        library: NamedDependency[AudioLibrary],
        owner: Owner,
        request: Request[Any, Any, Any],
    ) -> StoredAudioDeleted:
        """Removes a file and its captions; answers that are on their way still end."""
        async with library.open_file(owner, name) as audio:
            check_change(headers_of(request), validators_of(audio.info))
        await library.delete(owner, name)
        return StoredAudioDeleted(id=name)

    @get(
        "/{name:str}/captions.srt",
        operation_id="retrieveAudioFileSrt",
        operation_class=CaptionsOperation,
        summary="Captions of stored audio, SubRip",
        responses=CAPTIONS_ERRORS,
    )
    async def retrieve_srt(
        self, name: FromPath[str], library: NamedDependency[AudioLibrary], owner: Owner
    ) -> Response[bytes]:
        """What is said when, as SubRip."""
        captions = await library.captions(owner, name)
        return Response(render_srt(captions).encode(), media_type=SRT, headers=CACHE_HEADERS)

    @get(
        "/{name:str}/captions.vtt",
        operation_id="retrieveAudioFileVtt",
        operation_class=CaptionsOperation,
        summary="Captions of stored audio, WebVTT",
        responses=CAPTIONS_ERRORS,
    )
    async def retrieve_vtt(
        self, name: FromPath[str], library: NamedDependency[AudioLibrary], owner: Owner
    ) -> Response[bytes]:
        """What is said when, as WebVTT."""
        captions = await library.captions(owner, name)
        return Response(render_vtt(captions).encode(), media_type=VTT, headers=CACHE_HEADERS)
