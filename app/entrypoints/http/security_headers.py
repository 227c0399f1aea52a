"""Headers of every answer that tell browsers what pages of other sites may do with it: nothing.

A page that `server.cors_origins` lists reads answers by CORS, which these headers do not concern;
to play a stored file in an element of its own it must ask for it with `crossorigin`.
"""

from typing import Final

SECURITY_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'self' 'unsafe-inline' blob: data:; object-src 'none'; base-uri 'none';"
        " form-action 'self'; frame-ancestors 'self'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
