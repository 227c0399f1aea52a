"""A Valkey (or Redis) that several servers share, and that never holds a request up.

One that does not answer costs what is under way `TIMEOUT_S`, once: from then on every command
returns at once, until a PING, sent in the background every `RETRY_S`, is answered in time.
The package is an extra, so it is imported where it is used.
"""

import asyncio
from contextvars import Context
from typing import Any, Final

import structlog

from app.domain.services.time_limit import within
from app.ports.clock import Clock

TIMEOUT_S: Final = 0.05  # of a command; one in the same network takes a millisecond
CONNECT_S: Final = 1.0  # of all connections, which may need names resolved and TLS
RETRY_S: Final = 1.0  # between attempts to reach it again

# Commands at the same time, each with a connection; more wait here. A command takes 0.2 ms.
MAX_COMMANDS: Final = 16

Argument = str | bytes | int | float

_log = structlog.get_logger(__name__)


def build_client(url: str, clock: Clock) -> "ValkeyClient":
    """A client of the server at `url`; connects to nothing yet.

    Raises:
        ImportError: the extra is not installed.
        ValueError: the address cannot be used. The message does not show it: it has the password.
    """
    from valkey.asyncio import ConnectionPool, SSLConnection, Valkey
    from valkey.exceptions import ValkeyError

    contexts: list[Any] = []

    class TlsConnection(SSLConnection):
        """Shares one context: reading the certificates of the system takes 45 ms."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            contexts.append(self.ssl_context)
            del contexts[1:]
            self.ssl_context = contexts[0]

    is_tls = url.startswith(("valkeys:", "rediss:"))
    options: dict[str, Any] = {"ssl_check_hostname": True} if is_tls else {}
    try:
        # The time limits are ours; what a client calls itself costs two more commands.
        pool: Any = ConnectionPool.from_url(url, socket_timeout=None, lib_name=None, **options)
        if is_tls:
            pool.connection_class = TlsConnection
        pool.make_connection()  # checks the options in the address
    except (TypeError, ValueError, ValkeyError):
        raise ValueError("it is not an address such as valkey://host:6379/0") from None
    return ValkeyClient(Valkey.from_pool(pool), clock)


class ValkeyClient:
    """Runs commands, with a circuit breaker and without retries.

    `client` is a `valkey.asyncio.Valkey`, whose methods have no types.
    """

    def __init__(self, client: Any, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._turns = asyncio.Semaphore(MAX_COMMANDS)
        self._connecting: asyncio.Task[None] | None = None
        self._logged = ""  # the failure that was logged last, since all was well
        self.is_up = False

    async def open(self) -> None:
        """Begin to connect; until then no command is sent. May be called twice."""
        if self._connecting is None:
            self._connect(0.0)

    async def close(self) -> None:
        """Disconnect, and send nothing more. May be called without `open`, and twice."""
        self.is_up = False
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        await self._client.aclose()

    async def execute(self, *command: Argument, limit_s: float = TIMEOUT_S) -> Any:
        """The reply to a command, which should not be nil; None if there is none within `limit_s`.

        A command that fails may have been carried out all the same.
        """
        from valkey.exceptions import ResponseError, ValkeyError

        async with self._turns:
            if not self.is_up:
                return None
            try:
                return await within(self._clock, limit_s, self._client.execute_command(*command))
            except ResponseError as error:  # it answers: the others need not be spared
                self._log_once(error)
            except (ValkeyError, OSError) as error:
                self._log_once(error)
                if self.is_up:
                    self.is_up = False
                    self._connect(RETRY_S)
            return None

    def _connect(self, delay_s: float) -> None:
        # In a context of its own: its log events are of no request.
        connecting = self._connect_after(delay_s)
        self._connecting = asyncio.create_task(connecting, context=Context())

    async def _connect_after(self, delay_s: float) -> None:
        from valkey.exceptions import ValkeyError

        while True:
            await self._clock.sleep(delay_s)
            delay_s = RETRY_S
            try:
                # Those that are idle may lead to a machine that is no longer there.
                idle = self._client.connection_pool.disconnect(inuse_connections=False)
                await within(self._clock, CONNECT_S, idle)
                await within(self._clock, CONNECT_S, self._client.execute_command("PING"))
                # The other connections are made now, too: with TLS that takes 100 ms.
                pings = [self._client.execute_command("PING") for _ in range(MAX_COMMANDS)]
                made = asyncio.gather(*pings, return_exceptions=True)
                await within(self._clock, CONNECT_S, made)
                await within(self._clock, TIMEOUT_S, self._client.execute_command("PING"))
            except (ValkeyError, OSError) as error:
                self._log_once(error)
            else:
                self.is_up, self._logged = True, ""
                _log.info("valkey.connected")
                return

    def _log_once(self, error: Exception) -> None:
        reason = str(error) or "no answer in time"
        if reason != self._logged:
            self._logged = reason
            _log.warning("valkey.failed", reason=reason)
