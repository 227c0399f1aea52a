"""Texts that take much longer to say than their length tells, beside ordinary listeners."""

import asyncio
from pathlib import Path
from typing import Final

import httpx

from tests.serving import WITHOUT_CACHE, server_process, wait_for_status

SPEECH: Final = "/v1/audio/speech"
HOSTILE: Final = ("+", "%", "&", "=", "W", "Mr.", "a-", "漢", ".a", "777,")
NUM_INNOCENT: Final = 20


async def test_nobody_else_is_refused_for_texts_of_symbols_and_letters(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", "--backend", "embedded", environ=WITHOUT_CACHE) as server:
        wait_for_status(f"{server.url}/health/ready")
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            asking = [asyncio.create_task(listen(client, 4_096 * text)) for text in HOSTILE]
            await asyncio.sleep(0.5)
            for number in range(NUM_INNOCENT):
                body = {"input": f"Hello there, listener number {number}."}
                answer = await client.post(SPEECH, json=body)
                assert answer.status_code == 200, answer.text
                await asyncio.sleep(0.5)
            for task in asking:
                task.cancel()  # as a client that leaves
            statuses = await asyncio.gather(*asking, return_exceptions=True)
            answer = await client.post(SPEECH, json={"input": "And now that they have left?"})
            assert answer.status_code == 200
            ready = await client.get("/health/ready")
        events = server.log_events()
    assert ready.status_code == 200
    assert [event for event in events if event["event"] == "breaker.changed"] == []
    assert [event for event in events if event["level"] == "error"] == []
    assert 400 in statuses  # those that are mostly symbols are not begun at all


async def test_short_texts_are_served_beside_long_ones_that_are_read_as_they_are_made(
    tmp_path: Path,
) -> None:
    """Also where the long ones come again and again, and where they are sent whole."""
    with server_process(tmp_path / "log", "--backend", "embedded", environ=WITHOUT_CACHE) as server:
        wait_for_status(f"{server.url}/health/ready")
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            asking = [asyncio.create_task(ask_for_ever(client, number)) for number in range(16)]
            await asyncio.sleep(2.0)
            statuses = []
            for number in range(NUM_INNOCENT):
                body = {"input": f"Hello there, listener number {number}."}
                statuses.append((await client.post(SPEECH, json=body)).status_code)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
    assert statuses == [200] * NUM_INNOCENT


async def ask_for_ever(client: httpx.AsyncClient, number: int) -> None:
    text = " ".join(f"This is sentence {part} of the long text {number}." for part in range(95))
    while True:
        await client.post(SPEECH, json={"input": text[:4_096], "stream": number % 2 == 0})


async def listen(client: httpx.AsyncClient, text: str) -> int:
    async with client.stream("POST", SPEECH, json={"input": text[:4_096]}) as answer:
        async for _ in answer.aiter_raw():
            pass
    return answer.status_code
