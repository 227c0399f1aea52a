"""Server-sent events as tests read them."""

import base64
import json
from typing import Any

DATA = "data: "


def read_events(text: str) -> list[dict[str, Any]]:
    """The objects of all events; every other line must be a comment or empty."""
    lines = [line for line in text.splitlines() if line and not line.startswith(":")]
    assert all(line.startswith(DATA) for line in lines)
    return [json.loads(line.removeprefix(DATA)) for line in lines if line != "data: [DONE]"]


def deltas(text: str) -> list[bytes]:
    """The bytes of each delta."""
    return [
        base64.b64decode(event["audio"], validate=True)
        for event in read_events(text)
        if event["type"] == "speech.audio.delta"
    ]
