"""Tracing whose spans stay in memory."""

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.adapters.observers.open_telemetry import OpenTelemetry
from tests.fakes.clock import FakeClock


def in_memory_tracing() -> tuple[OpenTelemetry, InMemorySpanExporter]:
    """Tracing, and where its spans are found once they have ended."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OpenTelemetry(provider, "1.2.3", FakeClock()), exporter
