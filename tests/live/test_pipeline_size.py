"""How much there is between the engine and the socket, counted in a real streamed answer."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from app.entrypoints.bootstrap.ports import build_ports
from app.entrypoints.http.app import create_app
from app.entrypoints.settings import ModelSettings, ServerSettings, Settings, StoreSettings
from tests.serving import serving_until_stopped, url_of

MAX_GENERATORS = 7
MAX_TASKS = 10
SENTENCE = "This is one sentence of several chunks, said once."

CONTEXT_MANAGERS = {"running"}  # no chunk passes them


class Census:
    """Names the async generators that are begun and the tasks that are made on this event loop."""

    def __init__(self) -> None:
        self.generators: list[str] = []
        self.tasks: list[str] = []

    def begin(self) -> None:
        hooks, loop = sys.get_asyncgen_hooks(), asyncio.get_running_loop()

        def count_generator(generator: Any) -> None:
            name = generator.ag_code.co_qualname
            if "/app/" in generator.ag_code.co_filename and name not in CONTEXT_MANAGERS:
                self.generators.append(name)
            if hooks.firstiter is not None:
                hooks.firstiter(generator)

        def count_task(
            loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
        ) -> "asyncio.Task[Any]":
            self.tasks.append(coro.__qualname__)
            return asyncio.Task(coro, loop=loop, **options)

        sys.set_asyncgen_hooks(firstiter=count_generator)
        loop.set_task_factory(count_task)


async def test_a_streamed_sentence_passes_few_generators_and_needs_few_tasks(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    settings = Settings(
        model=ModelSettings(
            backend="onnx",
            checkpoint=str(make_checkpoint(tokens_per_sentence=60)),
            graph_directory=str(tmp_path / "graphs"),
        ),
        store=StoreSettings(directory=str(tmp_path / "audio")),
    )
    census = Census()
    app = create_app(build_ports(settings), settings)
    async with serving_until_stopped(app, ServerSettings()) as server:
        url = url_of(server)

        def ask(text: str) -> bytes:
            fields = {"input": text, "response_format": "pcm"}
            answer = httpx.post(f"{url}/v1/audio/speech", json=fields, timeout=60)
            assert answer.status_code == 200
            return answer.content

        await asyncio.to_thread(ask, "It is loaded and warm now.")
        census.begin()
        assert await asyncio.to_thread(ask, SENTENCE)
        generators, tasks = list(census.generators), list(census.tasks)
    print(len(generators), generators, len(tasks), tasks, sep="\n")
    assert len(generators) <= MAX_GENERATORS, generators
    assert len(tasks) <= MAX_TASKS, tasks
