"""What web pages may do with this server: its names, CORS, and the headers that tell browsers.

A page may have the name it came from resolve to this machine (DNS rebinding). The browser then
takes the server for the page's own, and only the header `Host` tells. An IP address instead of a
name cannot be redirected like that.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from litestar.config.cors import CORSConfig

ANY: Final = "*"

# On every answer. A page that `server.cors_origins` lists reads answers by CORS, which these do not
# concern; to play a stored file in an element it must ask for it with `crossorigin`.
SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'self' 'unsafe-inline' blob: data:; object-src 'none'; base-uri 'none';"
        " form-action 'self'; frame-ancestors 'self'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

# Headers of answers that a page of another origin may read; browsers hide most of them otherwise.
EXPOSED_HEADERS: Final = (
    "cache-status", "content-location", "content-range", "etag", "retry-after", "retry-after-ms",
    "server-timing", "warning", "x-request-id", "x-sample-rate", "x-should-retry",
    "x-speech-backend", "x-speech-voice", "x-store-error", "x-stored-file",
)  # fmt: skip

_HOST: Final = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[^:@\[\]]*?)\.?)(?::\d*)?")

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class AllowedHosts:
    """The names, and the addresses, of this server: `names`, separated by commas; `*` is any."""

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
    """The name or address in the header `Host`, or in an origin after its scheme: without port."""
    parts = _HOST.fullmatch(host.lower())
    # A value of another form is returned as it is; no server has such a name.
    return (parts["address"] or parts["name"]) if parts else host


def is_same_host(origin: str, host: str) -> bool:
    """Whether a page came from `host`, a name or address with its port."""
    # The scheme is not compared: behind a proxy with TLS ours differs from the browser's. A proxy
    # may name the port that browsers leave out.
    scheme, _, name = origin.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme, "")
    return bool(host) and name.removesuffix(port) == host.lower().removesuffix(port)


def cors_config(origins: str) -> CORSConfig | None:
    """CORS for the pages of `origins`, separated by commas; None if there are none."""
    allowed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    if not allowed:
        return None
    return CORSConfig(allow_origins=allowed, expose_headers=list(EXPOSED_HEADERS))


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None
