"""Under which names this server may be addressed, so that no web page can pass for one of its own.

A page may have the name it came from resolve to this machine (DNS rebinding). The browser then
takes the server for the page's own, and only the header `Host` tells. An address in the place of a
name cannot be bent like that.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from app.domain.services.access_control import AccessControl
from app.entrypoints.http.context import has_request
from app.entrypoints.http.errors import HostNotAllowedError
from app.entrypoints.http.refusal import send_error

ANY: Final = "*"

_HOST: Final = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^:@\[\]]*?)\.?)(?::\d*)?")


class AllowedHosts:
    """The names, and the addresses, of this server.

    Args:
        listen_host: the address or name it was told to listen on.
        names: further ones, with commas between them; `*` is any.
    """

    def __init__(self, listen_host: str, names: str) -> None:
        self._configured = {host_name(name.strip()) for name in names.split(",") if name.strip()}
        listen_address = _address(listen_host)
        self._listens_everywhere = listen_address is not None and listen_address.is_unspecified
        self._names = {*self._configured, "localhost", listen_host.lower()}

    def is_configured(self, name: str) -> bool:
        """Whether the setting has that very name."""
        return name != ANY and name in self._configured

    def allows(self, name: str) -> bool:
        """Whether a request may be sent to `name`, as `host_name` gives it."""
        if ANY in self._configured or name in self._names:
            return True
        address = _address(name)
        return address is not None and (self._listens_everywhere or address.is_loopback)


def host_name(host: str) -> str:
    """The name or address in the header `Host`, or in an origin after its scheme: without port.

    What is not of that form stays as it is, and is nobody's name.
    """
    parts = _HOST.fullmatch(host.lower())
    return (parts["address"] or parts["name"]) if parts else host


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


class HostCheck:
    """ASGI wrapper: refuses requests and sockets to other names, unless they need a key anyway.

    A page that has no key gains nothing by passing for one of ours. A request without `Host` comes
    from no browser.
    """

    def __init__(self, app: ASGIApp, hosts: AllowedHosts, access: AccessControl) -> None:
        self._app = app
        self._hosts = hosts
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request or socket, or refuse it."""
        if has_request(scope):
            name = host_name(_host(scope))
            is_ours = not name or self._hosts.allows(name)
            if not is_ours and not await self._access.needs_key():
                await send_error(scope, send, HostNotAllowedError(name))
                return
        await self._app(scope, receive, send)


def _host(scope: Scope) -> str:
    values = [value for name, value in scope["headers"] if name == b"host"]
    return values[0].decode("latin-1") if values else ""
