"""Whose files a request is about."""


def owner() -> str | None:
    """The name of the key that the request came with; None where no keys are asked for."""
    return None
