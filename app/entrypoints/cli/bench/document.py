"""The Markdown document of a run. Pure: everything it says is handed to it."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from app.entrypoints.cli.bench.figures import OURS_FP32, OURS_INT8
from app.entrypoints.cli.bench.plan import NUM_OTHERS, Plan
from app.entrypoints.cli.bench.rows import Row
from app.entrypoints.cli.bench.tables import TextTable, as_markdown

WIDTH: Final = 105
"""Of a line, in characters."""

METHOD: Final = """\
`int8` and `fp32` are this server with the backend `onnx`, over HTTP, `pcm` at 32 kHz. `package in
process` is soprano-tts with its transformers backend, called in a process of its own: `infer`,
and for first audio and streams `infer_stream` with `chunk_size=1`. `package's server` is the HTTP
server that soprano-tts ships; it answers with a whole WAV file. All speak the same checkpoint on
the CPU, each in its own process, one at a time; the client is on the same machine and shares its
cores. In every round each measure goes from one to the next, so that other load meets all alike.
Rounds: {rounds}; what takes the package minutes (many clients, long texts, a stream) is asked of
it in the first one alone. Figures are medians over the rounds, margins the lowest of all.

- `x` is seconds of audio per second of wall time, from opening the connection to the end of the
answer.

- The sentences all differ and have 50 to 55 characters. The test checkpoint's tokenizer makes
about one token of a character, Soprano's own about 0.72: their prompts are as long as those of
real sentences of 5 s, and the test checkpoint says 5.06 s to whatever text.

- First audio is the time from opening the connection until the first audio byte is there. The new
request that comes while {others} others stream texts of {other_sentences} sentences hangs up
then; the others read as fast as they can.

- The margin of a stream is how much audio was there and not yet played when the next piece came,
for a listener who plays from the first piece on; negative is a silence. Sentences of each stream:
{stream_sentences}. They are read as fast as they come, which leaves the server no rest.

- Memory is the resident memory of the process and its children; "after clients" is for the
package in process after its ten sentences. The long text plays for {long_text_s:.0f} s, without
limit on characters. The slow reader takes half a second of audio per second, for
{slow_reader_s:.0f} s, through a socket that holds a quarter of a second. Each reader has a new
server.

- "/ package" is how many times faster, sooner or smaller ours is than the package in process; for
clients at once, than its server."""

AGAIN: Final = (
    "`make bench` makes the test checkpoint, measures and writes this file. This run was:"
)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """Of a run: when, on what, with what, and how to do it again."""

    date: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    model: str
    command: str
    plot: str | None
    notes: Sequence[str] = ()


def build_document(
    surroundings: Surroundings, plan: Plan, rows: Sequence[Row], tables: Sequence[TextTable]
) -> str:
    """The whole document."""
    first, *others = tables
    parts = (
        "# Benchmarks",
        "\n".join(_facts(surroundings)),
        _fill(" ".join((describe_targets(rows), *surroundings.notes))),
        as_markdown(first),
        _picture(surroundings.plot),
        *map(as_markdown, others),
        f"## How it was measured\n\n{describe_method(plan)}",
        f"## Again\n\n{AGAIN}\n\n```sh\n{surroundings.command}\n```",
    )
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def describe_method(plan: Plan) -> str:
    """What the figures mean."""
    paragraph, *items = (
        words.format(
            rounds=plan.rounds,
            others=NUM_OTHERS,
            other_sentences=plan.num_other_sentences,
            stream_sentences=plan.num_stream_sentences,
            long_text_s=plan.long_text_s,
            slow_reader_s=plan.slow_reader_s,
        )
        for words in METHOD.split("\n\n")
    )
    return "\n\n".join((_fill(paragraph), "\n".join(map(_fill, items))))


def _fill(text: str) -> str:
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(
        " ".join(text.split()), WIDTH, subsequent_indent=indent, break_on_hyphens=False
    )


def describe_targets(rows: Sequence[Row]) -> str:
    """How many of the targets hold, and which do not."""
    verdicts = [
        (f"{name}, {row.title}", row.holds(name, bound))
        for row in rows
        for name in (OURS_INT8, OURS_FP32)
        if (bound := row.musts.get(name)) is not None
    ]
    held = sum(verdict is True for _, verdict in verdicts)
    lines = [f"{held} of {len(verdicts)} targets that must hold do."]
    for words, verdict in (("Not held", False), ("Not measured", None)):
        names = [title for title, found in verdicts if found is verdict]
        if names:
            lines.append(f"{words}: {'; '.join(names)}.")
    return " ".join(lines)


def _facts(surroundings: Surroundings) -> Iterator[str]:
    yield f"- date: {surroundings.date}"
    for name, value in surroundings.machine.items():
        yield f"- {name}: {value}"
    versions = (f"{name} {value}" for name, value in surroundings.versions.items())
    yield f"- versions: {', '.join(versions)}"
    yield f"- checkpoint: {surroundings.model}"


def _picture(plot: str | None) -> str:
    return "" if plot is None else f"![Throughput and first audio by number of clients]({plot})"
