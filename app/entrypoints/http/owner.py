"""Whose files a request is about."""

from typing import Any

from litestar import Request

from app.entrypoints.http.authentication import key_name


def owner(request: Request[Any, Any, Any]) -> str | None:
    """The name of the key that the request came with; None where no keys are asked for."""
    return key_name(request)
