"""Work that stops when its client leaves, or may not be served any more."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar.types import Receive

from app.entrypoints.http.errors import ClientDisconnectedError
from app.entrypoints.http.tasks import first_of, running

T = TypeVar("T")


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; cancelled, and waited for, when `receive` ends first.

    Args:
        receive: of a request whose body has been read.
        work: runs in a task of its own.

    Raises:
        ClientDisconnectedError: the client left.
        InvalidApiKeyError: its key was revoked.
    """
    async with running(work, _client_leaves(receive)) as (working, leaving):
        await first_of(working, leaving)
        if working.done():
            result: T = working.result()
            return result
        try:
            leaving.result()
        finally:
            del leaving  # it holds what is raised here, which holds this frame, and the work
        raise ClientDisconnectedError


async def _client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
