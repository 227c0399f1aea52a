"""What all families of requests share: a word to look for, and what no answer may be."""

from typing import Final

import msgspec

TOKEN: Final = "wobbegongzibeline"
"""A word that many inputs hold, and that no log line may hold."""


def assert_is_openai_error(body: bytes) -> None:
    """`body` is the error object of the OpenAI interface, with all four fields."""
    content = msgspec.json.decode(body, type=dict[str, dict[str, str | None]])
    assert set(content) == {"error"}, body
    assert set(content["error"]) == {"message", "type", "param", "code"}, body
    assert content["error"]["message"], body
    assert content["error"]["type"] == "invalid_request_error", body
