"""`soprano-api bench`: how fast this machine speaks, alone and to many listeners at once."""

import asyncio
from contextlib import aclosing
from statistics import median
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.domain.audio import AudioFormat
from app.domain.speech import SpeechReport, SpeechRequest
from app.entrypoints.bootstrap import build_ports
from app.entrypoints.cli.options import common_options, settings_from
from app.entrypoints.log import configure_logging
from app.entrypoints.services import Ports, Services
from app.entrypoints.settings import Settings

TEXT: Final = (
    "The harbour was quiet when the last boat came in. Two men stood on the pier and counted the "
    "crates, while the rain went on as it had all week. Nobody spoke of the letter."
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table; times in seconds, over all listeners of all rounds."""

    num_listeners: int
    first_audio_s: float
    slowest_first_audio_s: float
    audio_per_wall_s: float


@click.command()
@click.option("--listeners", default="1,2,4,8,16", show_default=True, help="How many at once.")
@click.option("--rounds", type=click.IntRange(1, 1_000), default=5, show_default=True)
@common_options
def bench(listeners: str, rounds: int, config: str | None, **flags: Any) -> None:
    """Measure time to first audio and audio made per second of wall time."""
    settings = settings_from(config, {"log_level": flags.pop("log_level") or "error", **flags})
    configure_logging(settings.settings.log)
    counts = [int(count) for count in listeners.split(",")]
    rows = asyncio.run(_measure(settings.settings, counts, rounds))
    Console().print(_table(rows))


async def _measure(settings: Settings, counts: list[int], rounds: int) -> list[Row]:
    ports = build_ports(settings)
    services = Services(ports, settings)
    async with services.running(on_fatal=lambda _: None):
        await services.readiness.wait_until_ready()
        progress = track(counts, description="listening", console=Console(stderr=True))
        return [await _measure_row(ports, services, count, rounds) for count in progress]


async def _measure_row(ports: Ports, services: Services, num_listeners: int, rounds: int) -> Row:
    reports: list[SpeechReport] = []
    started = ports.clock.monotonic()
    for _ in range(rounds):
        reports += await asyncio.gather(*(_listen(services) for _ in range(num_listeners)))
    wall_s = ports.clock.monotonic() - started
    waits = [report.first_audio_s or 0.0 for report in reports]
    return Row(
        num_listeners=num_listeners,
        first_audio_s=median(waits),
        slowest_first_audio_s=max(waits),
        audio_per_wall_s=sum(report.audio_s for report in reports) / wall_s,
    )


async def _listen(services: Services) -> SpeechReport:
    request = SpeechRequest(text=TEXT, format=AudioFormat.PCM)
    async with aclosing(await services.speech.start(request)) as stream:
        await stream.collect()
        return stream.report


def _table(rows: list[Row]) -> Table:
    table = Table("listeners", "first audio, median", "slowest", "audio per second", box=None)
    for row in rows:
        table.add_row(
            str(row.num_listeners),
            f"{row.first_audio_s * 1e3:.0f} ms",
            f"{row.slowest_first_audio_s * 1e3:.0f} ms",
            f"{row.audio_per_wall_s:.1f} s",
        )
    return table
