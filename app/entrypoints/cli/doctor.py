"""`soprano-api doctor`: what is here, how fast it is, and what to change."""

import asyncio
import platform
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final

import click
import msgspec
import psutil

from app.domain.errors import SpeechError
from app.entrypoints.backends import BACKENDS, why_not
from app.entrypoints.bootstrap.commands import count_cores, has_dot_products
from app.entrypoints.bootstrap.instances import look_around
from app.entrypoints.bootstrap.ports import DISTRIBUTION, build_ports
from app.entrypoints.cli.options import common_options, print_columns, settings_from
from app.entrypoints.log import configure_logging
from app.entrypoints.services import Services
from app.entrypoints.settings import Settings

LOAD_WAIT_S: Final = 600.0
LIVE_SPEED: Final = 1.25  # times playback: slower sentences may leave gaps

EXTRAS: Final = {
    "soprano": "soprano", "lmdeploy": "lmdeploy", "ray": "ray", "s3": "obstore",
    "telemetry": "opentelemetry.sdk", "valkey": "valkey", "wyoming": "wyoming",
}  # fmt: skip
"""By name, a module that comes with it."""


class Measured(msgspec.Struct, frozen=True):
    """How the model serves here."""

    model: str
    backend: str
    speed: float  # seconds of audio per second, of one text


@click.command()
@common_options
def doctor(config: str | None, **flags: Any) -> None:
    """Say what is installed, what serves and how fast, and what to change."""
    flags["log_level"] = flags["log_level"] or "error"
    settings = settings_from(config, flags).settings
    configure_logging(settings.log)
    surroundings = look_around(settings.model)
    rows = [
        ("version", version(DISTRIBUTION)),
        ("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        ("cores", f"{count_cores()}, {'with' if has_dot_products() else 'no'} 8-bit dot products"),
        ("memory", f"{psutil.virtual_memory().available / 1e9:.1f} GB available"),
    ]
    for name, module in EXTRAS.items():
        how = f"not installed (pip install '{DISTRIBUTION}[{name}]')"
        rows.append((f"extra {name}", "installed" if _is_installed(module) else how))
    rows += [
        (f"backend {backend}", why_not(backend, surroundings) or "can run") for backend in BACKENDS
    ]
    print_columns(rows)
    try:
        measured = asyncio.run(_measure(settings))
    except SpeechError as error:
        raise click.ClickException(f"It does not speak: {error}") from error
    click.echo(
        f"\n{measured.model} on {measured.backend} speaks one text {measured.speed:.1f} times as"
        " fast as it plays."
    )
    for advice in advise(measured, settings, has_dot_products=has_dot_products()):
        click.echo(f"- {advice}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # what it is part of
        return False


async def _measure(settings: Settings) -> Measured:
    """Load the model as the server does, which measures it; raises SpeechError."""
    model = msgspec.structs.replace(settings.model, load_wait_s=LOAD_WAIT_S)
    settings = msgspec.structs.replace(settings, model=model)
    services = Services(build_ports(settings), settings)
    async with services.running():
        await services.readiness.wait_until_ready()
        info = services.speech.catalog.info
        return Measured(info.id, info.backend, services.readiness.speed or 0.0)


def advise(measured: Measured, settings: Settings, *, has_dot_products: bool) -> list[str]:
    """What to change, if anything."""
    advice = []
    if measured.speed < LIVE_SPEED:
        advice.append("That is too slow to listen while it is made: ask for complete responses.")
    if measured.backend == "embedded":
        advice.append("For Soprano's voice: --model ekwek/Soprano-1.1-80M --precision int8.")
    if measured.backend == "onnx" and settings.model.precision == "fp32":
        advice.append('model.precision = "int8" is two to three times as fast.')
    if measured.backend == "onnx" and settings.model.precision != "fp32" and not has_dot_products:
        advice.append("A processor with 8-bit dot products (VNNI) would be twice as fast in int8.")
    return advice or ["Nothing needs to change."]
