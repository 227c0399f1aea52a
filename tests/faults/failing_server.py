"""`soprano-api` with a voice that fails on demand: `python -m tests.faults.failing_server serve`.

The file that SPEECH_FAULT names says how: "raise", "hang", or nothing while all is well.
"""

import asyncio
import os
import random
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec

from app.adapters.speech.embedded_voice import EmbeddedVoice
from app.adapters.speech.pool import PooledModel
from app.adapters.speech.resilient import ResilientModel
from app.domain.audio import AudioChunk
from app.domain.resilience import BreakerPolicy, ResiliencePolicy
from app.domain.segment import TextSegment
from app.domain.speech import SynthesisParams
from app.entrypoints.bootstrap.ports import build_ports, time_limits
from app.entrypoints.cli import serve
from app.entrypoints.cli.main import main
from app.entrypoints.services import Ports
from app.entrypoints.settings import Settings


class FailingVoice(EmbeddedVoice):
    """Speaks, unless the file says otherwise."""

    def __init__(self, num_threads: int, fault: Path) -> None:
        super().__init__(num_threads)
        self._fault = fault

    async def synthesize(
        self, segment: TextSegment, params: SynthesisParams, due_at: float = 0.0
    ) -> AsyncGenerator[AudioChunk, None]:
        how = self._fault.read_text()
        if how == "raise":
            raise RuntimeError("as demanded")
        if how == "hang":
            await asyncio.Event().wait()
        async for chunk in super().synthesize(segment, params, due_at):
            yield chunk


def build_failing_ports(settings: Settings) -> Ports:
    ports = build_ports(settings)
    voice = FailingVoice(settings.model.num_threads, Path(os.environ["SPEECH_FAULT"]))
    policy = ResiliencePolicy(breaker=BreakerPolicy(open_s=1.0, max_open_s=1.0))
    limits = time_limits(settings.resilience)
    pool = PooledModel(lambda *_: voice, 1, ports.clock, ports.observer, limits)
    model = ResilientModel(pool, ports.clock, policy, ports.observer, random.random)
    return msgspec.structs.replace(ports, model=model, cache=None, health=model.health)


if __name__ == "__main__":
    setattr(serve, "build_ports", build_failing_ports)  # noqa: B010 - not exported by name
    main()
