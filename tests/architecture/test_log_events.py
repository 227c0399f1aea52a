"""The page of log events and the source say the same."""

import re
from pathlib import Path

import pytest

from tests.log_events import (
    Event,
    UnnamedEventError,
    context_in,
    documented,
    documented_context,
    events_in,
    events_of,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "log-events.md").read_text()
OF_LIBRARIES = "library.message"
"""Made of what libraries log, in app/entrypoints/log.py."""

SECRETS = {"text", "input", "body", "key", "token", "authorization", "headers", "query"}


def test_every_event_of_the_source_is_on_the_page_and_no_other() -> None:
    found, page = events_of(ROOT / "app"), documented(PAGE)
    assert len(found) > 30
    assert OF_LIBRARIES in page
    assert set(page) - {OF_LIBRARIES} == set(found)


@pytest.mark.parametrize("event", events_of(ROOT / "app").values(), ids=lambda event: event.name)
def test_an_event_has_the_levels_and_fields_that_the_page_says(event: Event) -> None:
    assert documented(PAGE)[event.name] == event


def test_the_fields_of_every_request_are_those_of_the_page() -> None:
    sources = [path.read_text() for path in (ROOT / "app").rglob("*.py")]
    found = set().union(*map(context_in, sources))
    assert found == documented_context(PAGE)


def test_names_are_a_noun_and_what_became_of_it_in_order() -> None:
    names = list(documented(PAGE))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*", name) for name in names)
    assert names == sorted(names)


def test_no_event_has_a_field_for_what_is_secret() -> None:
    fields = {field for event in events_of(ROOT / "app").values() for field in event.fields}
    assert not fields & SECRETS


@pytest.mark.parametrize(
    ("source", "event"),
    [
        ('_log.info("a.b", x=1)', Event("a.b", frozenset({"info"}), frozenset({"x"}))),
        (
            'write = _log.error if bad else _log.info\nwrite("a.b", x=1, **more)',
            Event("a.b", frozenset({"error", "info"}), frozenset({"x"})),
        ),
        ('_log.exception("a.b")', Event("a.b", frozenset({"error"}), frozenset({"exception"}))),
        (
            '_log.error("a.b", exc_info=error)',
            Event("a.b", frozenset({"error"}), frozenset({"exception"})),
        ),
    ],
)
def test_the_reader_of_the_source_sees_every_way_to_write_an_event(
    source: str, event: Event
) -> None:
    assert list(events_in(source)) == [event]


@pytest.mark.parametrize("source", ['_log.info(f"a.{b}")', "_log.error(name)", "_log.debug()"])
def test_an_event_without_a_plain_name_is_found_out(source: str) -> None:
    with pytest.raises(UnnamedEventError):
        list(events_in(source))
