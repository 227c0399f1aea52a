"""The disk fails at any call, and whoever asked for speech hears all of it."""

from pathlib import Path

import httpx
import pytest

from app.adapters.audio_store.filesystem import FilesystemAudioStores
from app.adapters.audio_store.rules import StoreLimits
from tests.faults.disk import FULL, IO_ERROR, MAX_CALLS, Disk, Fault
from tests.serving import Fakes, serving

SPEECH = "/v1/audio/speech"
TEXT = "One one. Two two."


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(("fault", "code"), [(FULL, "store_full"), (IO_ERROR, "store_failed")])
async def test_an_answer_is_whole_whichever_call_of_the_store_fails(
    tmp_path: Path, disk: Disk, fault: Fault, code: str, *, stream: bool
) -> None:
    fakes = Fakes()
    stores = FilesystemAudioStores(tmp_path, StoreLimits(), fakes.clock)
    asked = {"input": TEXT, "stream": stream, "response_format": "wav"}
    async with serving(fakes.app(stores=stores)) as url, httpx.AsyncClient(base_url=url) as client:
        expected = (await client.post(SPEECH, json=asked)).content
        for number in range(MAX_CALLS):
            with disk.failing(fault, number.__eq__):
                answer = await client.post(SPEECH, json={**asked, "store": True})
            assert (answer.status_code, answer.content) == (200, expected)
            if disk.num_hits and not stream:
                told = answer.headers.get("x-store-error")
                assert told == code or "x-stored-file" in answer.headers
            if not disk.num_hits:
                assert set(kept_in(tmp_path)) == {whole_file(expected)}
                return
    pytest.fail("more calls than were tried")


def whole_file(streamed: bytes) -> bytes:
    """What is kept of an answer of the fake encoder: its head is right in any case."""
    total = sum(int(part.partition(b"]")[0]) for part in streamed.split(b"[")[1:])
    return b"<%06d>" % total + streamed[8:]


def kept_in(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.iterdir() if not path.name.startswith(".")]
