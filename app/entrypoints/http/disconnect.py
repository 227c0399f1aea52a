"""Work that stops when its client leaves."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar.types import Receive

from app.entrypoints.http.errors import ClientDisconnectedError
from app.entrypoints.http.tasks import first_of, running

T = TypeVar("T")


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; cancelled, and waited for, when the client leaves first.

    Args:
        receive: of a request whose body has been read.
        work: runs in a task of its own.

    Raises:
        ClientDisconnectedError: the client left.
    """
    async with running(work, _client_leaves(receive)) as (working, leaving):
        await first_of(working, leaving)
        if not working.done():
            raise ClientDisconnectedError
        result: T = working.result()
        return result


async def _client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
