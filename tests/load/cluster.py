"""Two nodes of Ray on one machine, and what becomes of speech while parts of them are killed.

`python -m tests.load.cluster` runs a cluster and a server in a network of their own (it must be
allowed to make one), offers requests all the time, and prints what became of them.
"""

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import psutil

from tests.network import enter_network
from tests.serving import WITHOUT_CACHE, clean_environment, server_process, wait_for_status

SPEECH: Final = "/v1/audio/speech"
TEXTS: Final = [
    f"Text number {number} has five sentences. This is the second of them. Here comes the third,"
    f" which is longer than others. The fourth is short. And this is the last of number {number}."
    for number in range(6)
]
REPLICA: Final = "ray::ServeReplica:soprano:soprano"
INSTANCES: Final = "soprano_instances_alive "
START_LIMIT_S: Final = 90.0
SCALE_DOWN_LIMIT_S: Final = 150.0
NODE_CORES: Final = 3
NUM_AT_ONCE: Final = 300
DASHBOARD_PORT: Final = 8265
DASHBOARD: Final = f"http://127.0.0.1:{DASHBOARD_PORT}"
HEALTH_CHECKS: Final = {  # of nodes; as docs/how-to/scale.md has them
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
SCALED: Final = {
    "model__instances": 1,
    "ray__max_replicas": 3,
    "ray__target_ongoing_requests": 1,
}


class Request(msgspec.Struct):
    """What became of one."""

    started: float  # seconds of this process
    status: int = 0  # if there was an answer
    is_whole: bool = False  # it ended as it should
    is_right: bool = False  # answered with exactly the audio of the text
    retry_after: str | None = None

    @property
    def is_refused(self) -> bool:
        """With word of when to come again."""
        return self.status in {429, 503} and self.retry_after is not None


class Run(msgspec.Struct):
    """What was seen, and what is promised."""

    first_audio_local_s: float
    first_audio_ray_s: float
    replica_killed: dict[str, float]
    node_killed: dict[str, float]
    updated: dict[str, float]
    overloaded: dict[str, float]
    scaled: dict[str, float]

    def broken_promises(self) -> list[str]:
        """In words."""
        later_s = self.first_audio_ray_s - self.first_audio_local_s
        kept = {
            "first audio at most 60 ms later": later_s <= 0.06,
            "nothing is silently wrong": not any(
                each["silently_wrong"] for each in (self.replica_killed, self.node_killed)
            ),
            "later requests are right": not any(
                each["broken_of_later"] for each in (self.replica_killed, self.node_killed)
            ),
            "a killed replica is replaced in 10 s": self.replica_killed["took_s"] <= 10,
            "so is that of a killed node": self.node_killed["took_s"] <= 10,
            "an update breaks nothing": not self.updated["broken"],
            "overload is refused": self.overloaded["refused"] > 0 == self.overloaded["else"],
            "scaling loses nothing": not self.scaled["lost"],
        }
        return [promise for promise, is_kept in kept.items() if not is_kept]


async def ask(client: httpx.AsyncClient, number: int, expected: dict[int, bytes]) -> Request:
    """Speak a text, as a stream."""
    body = {"input": TEXTS[number], "response_format": "pcm"}
    request, received = Request(time.monotonic()), b""
    with suppress(httpx.HTTPError):
        async with client.stream("POST", SPEECH, json=body) as answer:
            request.status = answer.status_code
            request.retry_after = answer.headers.get("retry-after")
            async for part in answer.aiter_raw():
                received += part
        request.is_whole = True
        request.is_right = request.status == 200 and received == expected[number]
    return request


@asynccontextmanager
async def offering(
    client: httpx.AsyncClient, expected: dict[int, bytes], num_clients: int
) -> AsyncIterator[list[Request]]:
    """Clients that ask all the time; their requests are in the list when they have ended."""
    done: list[Request] = []
    is_over = asyncio.Event()

    async def go_on(seed: int) -> None:
        draw = random.Random(seed)
        while not is_over.is_set():
            done.append(await ask(client, draw.randrange(len(TEXTS)), expected))

    tasks = [asyncio.create_task(go_on(seed)) for seed in range(num_clients)]
    try:
        yield done
    finally:
        is_over.set()
        await asyncio.gather(*tasks)


async def num_instances(client: httpx.AsyncClient) -> int:
    """As the server knows it."""
    page = (await client.get("/metrics")).text
    return round(float(page.split(f"\n{INSTANCES}")[1].split("\n")[0]))


async def until(holds: Callable[[], Awaitable[bool]], limit_s: float) -> float:
    """Seconds until it holds."""
    started = time.monotonic()
    async with asyncio.timeout(limit_s):
        while not await holds():
            await asyncio.sleep(0.05)
    return time.monotonic() - started


async def first_audio_s(client: httpx.AsyncClient) -> float:
    """Median time to the first byte, of one request at a time."""
    times = []
    for number in range(20):
        body = {"input": f"Number {number} is said first.", "response_format": "pcm"}
        started = time.monotonic()
        async with client.stream("POST", SPEECH, json=body) as answer:
            async for _ in answer.aiter_raw():
                times.append(time.monotonic() - started)
                break
            await answer.aclose()
        await asyncio.sleep(0.1)
    return sorted(times)[len(times) // 2]


def replicas() -> list[psutil.Process]:
    """Processes of replicas, youngest last."""
    found = [
        process
        for process in psutil.process_iter(["cmdline", "create_time"])
        if any(REPLICA in part for part in process.info["cmdline"] or ())
    ]
    return sorted(found, key=lambda process: process.info["create_time"])


async def disturbed(
    client: httpx.AsyncClient,
    expected: dict[int, bytes],
    disturb: Callable[[], Awaitable[float]],
) -> dict[str, float]:
    """What became of requests while something happened; `disturb` gives how long that took."""
    async with offering(client, expected, 4) as done:
        await asyncio.sleep(3)
        at = time.monotonic()
        took_s = await disturb()
        await asyncio.sleep(3)
    later = [request for request in done if request.started > at]
    broken = [request for request in done if not request.is_right]
    return {
        "requests": len(done),
        "broken": len(broken),
        "broken_of_later": sum(not request.is_right for request in later),
        "silently_wrong": sum(one.status == 200 and one.is_whole for one in broken),
        "took_s": took_s,
    }


async def is_ready(client: httpx.AsyncClient) -> bool:
    """Whether the server can speak."""
    return (await client.get("/health/ready")).status_code == 200


async def has_instances(client: httpx.AsyncClient, number: int) -> bool:
    """Whether the server knows of so many replicas."""
    return await num_instances(client) == number


async def kill_replica(client: httpx.AsyncClient) -> float:
    """SIGKILL for the older of two; seconds until there are two again."""
    victim, survivor = replicas()
    victim.kill()

    async def is_replaced() -> bool:
        alive = [process.pid for process in replicas()]
        return victim.pid not in alive and survivor.pid in alive and await has_instances(client, 2)

    await until(lambda: has_instances(client, 1), START_LIMIT_S)
    return await until(is_replaced, START_LIMIT_S)


async def kill_node(client: httpx.AsyncClient, node: Any) -> float:
    """SIGKILL for the raylet of a node; seconds until its replica is replaced on the other."""
    before = {process.pid for process in replicas()}
    node.kill_raylet(check_alive=False)

    async def is_replaced() -> bool:
        alive = {process.pid for process in replicas()}
        return len(alive) == 2 and len(alive & before) == 1 and await has_instances(client, 2)

    return await until(is_replaced, START_LIMIT_S)


async def deploy(**fields: Any) -> None:
    """`soprano-api deploy ray --apply`, with settings that differ from the default."""
    environ = {f"SOPRANO_{name.upper()}": str(value) for name, value in fields.items()}
    command = [sys.executable, "-m", "app", "deploy", "ray", "--backend", "embedded"]
    process = await asyncio.create_subprocess_exec(
        *command, "--apply", DASHBOARD, env=clean_environment(environ)
    )
    assert await process.wait() == 0


async def update(client: httpx.AsyncClient) -> float:
    """Another configuration, in which replicas follow the load; seconds until all have it."""
    before = {process.pid for process in replicas()}
    started = time.monotonic()
    await deploy(**SCALED, model__top_p=0.9)

    async def is_done() -> bool:
        alive = {process.pid for process in replicas()}
        return bool(alive) and not alive & before and await num_instances(client) == len(alive)

    await until(is_done, START_LIMIT_S)
    return time.monotonic() - started


async def scale(client: httpx.AsyncClient, expected: dict[int, bytes]) -> dict[str, float]:
    """From one replica to three under load, and back."""
    await until(lambda: has_instances(client, 1), SCALE_DOWN_LIMIT_S)
    async with offering(client, expected, 8) as done:
        up_s = await until(lambda: has_instances(client, 3), START_LIMIT_S)
        await asyncio.sleep(3)
    down_s = await until(lambda: has_instances(client, 1), SCALE_DOWN_LIMIT_S)
    lost = [one for one in done if not one.is_right and not one.is_refused]
    return {"requests": len(done), "lost": len(lost), "up_s": up_s, "down_s": down_s}


async def overload(client: httpx.AsyncClient, expected: dict[int, bytes]) -> dict[str, float]:
    """More at once than can be queued."""
    asked = [ask(client, number % len(TEXTS), expected) for number in range(NUM_AT_ONCE)]
    done = await asyncio.gather(*asked)
    return {
        "requests": len(done),
        "right": sum(one.is_right for one in done),
        "refused": sum(one.is_refused for one in done),
        "else": sum(not one.is_right and not one.is_refused for one in done),
    }


async def experiment(address: str, node: Any, log: Path) -> Run:
    """All of it, against a cluster of which `node` may be killed."""
    environ = {
        **WITHOUT_CACHE,
        "SOPRANO_MODEL__PLACEMENT": "ray",
        "SOPRANO_MODEL__INSTANCES": "3",  # at most, for its own limits
        "SOPRANO_RAY__ADDRESS": address,
    }
    expected: dict[int, bytes] = {}
    with server_process(log, "--backend", "embedded", environ=WITHOUT_CACHE) as local:
        wait_for_status(f"{local.url}/health/ready")
        async with httpx.AsyncClient(base_url=local.url, timeout=60) as client:
            for number, text in enumerate(TEXTS):
                body = {"input": text, "response_format": "pcm"}
                expected[number] = (await client.post(SPEECH, json=body)).content
            first_audio_local_s = await first_audio_s(client)
    await deploy(model__instances=2)
    limits = httpx.Limits(max_connections=None)
    with server_process(log, "--backend", "embedded", environ=environ) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
            await until(lambda: is_ready(client), START_LIMIT_S)
            await until(lambda: has_instances(client, 2), START_LIMIT_S)
            return Run(
                first_audio_local_s=first_audio_local_s,
                first_audio_ray_s=await first_audio_s(client),
                replica_killed=await disturbed(client, expected, lambda: kill_replica(client)),
                node_killed=await disturbed(client, expected, lambda: kill_node(client, node)),
                updated=await disturbed(client, expected, lambda: update(client)),
                overloaded=await overload(client, expected),
                scaled=await scale(client, expected),
            )


def main() -> None:
    """Run it in a network of its own, and print what was seen as JSON."""
    enter_network()
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="ab" * 32, RAY_USAGE_STATS_ENABLED="0")
    os.environ.update(HEALTH_CHECKS)
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    from ray.cluster_utils import Cluster  # reads the environment

    with tempfile.TemporaryDirectory(prefix="soprano-") as directory:
        room: dict[str, Any] = {"num_cpus": NODE_CORES, "object_store_memory": 80 * 2**20}
        head = {**room, "include_dashboard": True, "dashboard_port": DASHBOARD_PORT}
        cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        node = cluster.add_node(**room)
        try:
            run = asyncio.run(experiment(cluster.address, node, Path(directory, "log")))
        finally:
            sys.stderr.write(Path(directory, "log").read_text()[-20_000:])
            cluster.shutdown()
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(run), indent=2).decode() + "\n")
    if broken := run.broken_promises():
        sys.exit(f"broken: {'; '.join(broken)}")


if __name__ == "__main__":
    main()
