"""Requests as other people's clients send them, header by header and field by field.

Plain data, read off the clients' releases of 2026; `send` puts one on the wire as it stands.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypedDict

import httpx

SPEECH = "/v1/audio/speech"
TIMEOUT_S = 60.0


class Recorded(TypedDict):
    """One request: its headers beyond length and host, and its JSON."""

    headers: dict[str, str]
    body: dict[str, Any]


OPENAI_PYTHON_HEADERS: Final = {
    "accept": "application/octet-stream",
    "authorization": "Bearer none",
    "content-type": "application/json",
    "user-agent": "AsyncOpenAI/Python 3.54.0",
    "x-stainless-arch": "x64",
    "x-stainless-async": "async:asyncio",
    "x-stainless-lang": "python",
    "x-stainless-os": "Linux",
    "x-stainless-package-version": "3.54.0",
    "x-stainless-read-timeout": "30",
    "x-stainless-retry-count": "0",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.12.12",
}

LIVEKIT_TTS_1: Final[Recorded] = {
    "headers": OPENAI_PYTHON_HEADERS,
    "body": {
        "input": "The quick brown fox jumped over the lazy dog.",
        "model": "tts-1",
        "voice": "ash",
        "response_format": "mp3",
        "speed": 1.0,
        "stream_format": "audio",
    },
}
"""livekit-plugins-openai 1.8.9 with one of the older models."""

LIVEKIT_MINI_TTS: Final[Recorded] = {
    "headers": OPENAI_PYTHON_HEADERS,
    "body": {
        "input": "The quick brown fox jumped over the lazy dog.",
        "model": "gpt-4o-mini-tts",
        "voice": "ash",
        "response_format": "mp3",
        "speed": 1.0,
        "stream_format": "sse",
    },
}
"""The same with its default model."""

PIPECAT: Final[Recorded] = {
    "headers": OPENAI_PYTHON_HEADERS,
    "body": {
        "input": "It was not amused, but it slept on.",
        "model": "gpt-4o-mini-tts",
        "voice": "alloy",
        "response_format": "pcm",
    },
}
"""pipecat-ai 1.14.0, OpenAITTSService."""

OPEN_WEBUI: Final[Recorded] = {
    "headers": {
        "accept": "*/*",
        "accept-encoding": "gzip, deflate, br",
        "authorization": "Bearer none",
        "content-type": "application/json",
        "user-agent": "Python/3.11 aiohttp/3.13.2",
        "x-openwebui-user-name": "Ada%20Lovelace",
        "x-openwebui-user-id": "f47ac10b-58cc-4372-a567-0e02b2c3d479",
        "x-openwebui-user-email": "ada@example.org",
        "x-openwebui-user-role": "user",
    },
    "body": {"input": "Here is what I found.", "voice": "alloy", "model": "tts-1"},
}
"""Open WebUI with user headers forwarded; no format is ever named."""

SILLYTAVERN: Final[Recorded] = {
    "headers": {
        "accept": "*/*",
        "accept-encoding": "gzip, deflate, br",
        "authorization": "Bearer",  # no key: fetch takes the space behind it off
        "content-type": "application/json",
        "user-agent": "node-fetch",
    },
    "body": {
        "input": "The door creaks. Nobody is there.",
        "response_format": "mp3",
        "voice": "nova",
        "speed": 1,
        "model": "tts-1",
    },
}
"""SillyTavern's server, for its provider "OpenAI Compatible"."""

LIBRECHAT: Final[Recorded] = {
    "headers": {
        "accept": "application/json, text/plain, */*",
        "accept-encoding": "gzip, compress, deflate, br",
        "authorization": "Bearer none",
        "content-type": "application/json",
        "user-agent": "axios/1.12.1",
    },
    "body": {"input": "Of course. Here is a short answer.", "model": "tts-1", "voice": "alloy"},
}
"""LibreChat, provider openai; without `voices` in its settings there is no `voice` here."""

LIBRECHAT_LOCALAI: Final[Recorded] = {
    "headers": {
        name: value for name, value in LIBRECHAT["headers"].items() if name != "authorization"
    },
    "body": {
        "input": "Of course. Here is a short answer.",
        "model": "alloy",
        "backend": "piper",
    },
}
"""LibreChat, provider localai without a key: the voice its user picks goes out as the model."""

LITELLM: Final[Recorded] = {
    "headers": {**OPENAI_PYTHON_HEADERS, "user-agent": "OpenAI/Python 3.54.0"},
    "body": {
        "input": "The quick brown fox jumped over the lazy dog.",
        "model": "tts-1",
        "voice": "alloy",
        "response_format": "mp3",
        "speed": 1.0,
    },
}
"""litellm 1.109.1, `speech` and its proxy: the openai package's request."""

HOME_ASSISTANT_HEADERS: Final = {
    "content-type": "application/json",
    "user-agent": "HomeAssistant-OpenAI-TTS",
}

HOME_ASSISTANT_PROBE: Final[Recorded] = {
    "headers": {
        "content-type": "application/json",
        "authorization": "Bearer none",
        "user-agent": "HomeAssistant/2026.2.1 aiohttp/3.13.2 Python/3.13",
    },
    "body": {"model": "tts-1", "input": ".", "voice": "alloy", "response_format": "mp3"},
}
"""sfortis/openai_tts: is the key right? Answered within 10 seconds or the set-up fails."""

HOME_ASSISTANT: Final[Recorded] = {
    "headers": HOME_ASSISTANT_HEADERS,
    "body": {
        "model": "tts-1",
        "input": "The washing machine is done. Somebody should empty it.",
        "voice": "alloy",
        "response_format": "mp3",
        "speed": 1.0,
        "instructions": "Speak like a butler.",
        "temperature": 0.8,
        "exaggeration": 0.5,
    },
}
"""sfortis/openai_tts without a key, with instructions and an extra payload of the user's."""

WYOMING_OPENAI: Final[Recorded] = {
    "headers": {**OPENAI_PYTHON_HEADERS, "authorization": "Bearer"},
    "body": {
        "input": "The kitchen light is on.",
        "model": "tts-1",
        "voice": "alloy",
        "response_format": "wav",
    },
}
"""roryeckel/wyoming_openai with an empty key."""


def send(url: str, recorded: Recorded, **fields: Any) -> httpx.Response:
    """Post `recorded` with `fields` laid over its body."""
    return httpx.post(
        url + SPEECH,
        headers=recorded["headers"],
        json={**recorded["body"], **fields},
        timeout=TIMEOUT_S,
    )


@contextmanager
def sending(url: str, recorded: Recorded, **fields: Any) -> Iterator[httpx.Response]:
    """The same, with a body that is yet to be read."""
    with httpx.stream(
        "POST",
        url + SPEECH,
        headers=recorded["headers"],
        json={**recorded["body"], **fields},
        timeout=TIMEOUT_S,
    ) as answer:
        yield answer
