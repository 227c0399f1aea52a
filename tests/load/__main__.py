"""`python -m tests.load URL`: listeners of a server that runs, closed-loop or at a fixed rate."""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from tests.load.offer import Offer
from tests.load.report import of_server, summary, table
from tests.load.texts import texts
from tests.load.watch import Watch


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.load", description=__doc__)
    parser.add_argument("url", help="for example http://127.0.0.1:8000")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--clients", type=int, default=8, help="each asks again when it has heard all")
    how.add_argument("--rate", type=float, help="requests per second, whatever becomes of them")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pid", type=int, help="of the server, whose memory is looked at")
    parser.add_argument("--key", help="API key")
    parser.add_argument("--seed", type=int, default=1, help="of the texts")
    parser.add_argument("--json", type=Path, help="file for the figures")
    figures = asyncio.run(measure(parser.parse_args()))
    print(table("requests", figures["requests"]))
    print(table("server", figures["server"]))


async def measure(given: argparse.Namespace) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {given.key}"} if given.key else {}
    offer = Offer(given.url, texts(given.seed), headers=headers)
    watch = Watch(given.url, given.pid)
    started = time.monotonic()
    async with watch.watching():
        if given.rate:
            await offer.open(given.rate, given.seconds)
        else:
            await offer.closed(given.clients, given.seconds)
    requests = summary(offer.done, time.monotonic() - started)
    figures = {"requests": {**requests, "unsent": offer.num_unsent}, "server": of_server(watch)}
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2))
    return figures


if __name__ == "__main__":
    main()
