"""The messages about stored audio, in the form of OpenAI's lists and files."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from app.domain.services.audio_library import Page
from app.entrypoints.http.schemas import CONTENT_TYPES
from app.ports.audio_store import StoredAudio


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


def describe_page(page: Page) -> StoredAudioList:
    """The message for a page."""
    data = [describe_file(file) for file in page.files]
    return StoredAudioList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=page.has_more,
    )


def describe_file(file: StoredAudio) -> StoredAudioItem:
    """The message for a file; also what an answer may say of a file it has just stored."""
    return StoredAudioItem(
        id=file.name,
        bytes=file.num_bytes,
        created_at=int(file.created_at.timestamp()),
        content_type=CONTENT_TYPES[file.audio_format],
    )
