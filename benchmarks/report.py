"""The report of a run in Markdown, with a plot: tables, targets, machine and method."""

import platform
import shutil
import subprocess
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from benchmarks.results import (
    MS_PER_S,
    NUM_OTHERS,
    OURS,
    TARGETS,
    Bound,
    Metric,
    Results,
    Row,
)
from benchmarks.scenarios import Plan

WIDTH: Final = 105  # of a line, in characters
NOTHING: Final = "-"
VERDICTS: Final = {True: "yes", False: "no", None: "not measured"}
PERCENTS: Final = (50, 95)
CLIENT_COLUMNS: Final = ("x", "first audio, ms", "p95, ms")
PACKAGES: Final = ("onnxruntime", "torch", "transformers", "soprano-tts")
DISTRIBUTION: Final = "soprano-tts-api"
CPU_INFO: Final = Path("/proc/cpuinfo")
VECTOR_FLAGS: Final = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm",
)  # fmt: skip
# VECTOR_FLAGS are Linux's names of what the speed of matrix products depends on: the first two for
# fp32, all others for int8.

METHOD: Final = """\
`int8` and `fp32` are this server with the backend `onnx`, over HTTP, `pcm` at 32 kHz. `package in
process` is soprano-tts with its transformers backend, called in a process of its own: `infer`, and
for first audio and streams `infer_stream` with `chunk_size=1`. `package's server` is the HTTP
server that soprano-tts ships; it answers with a whole WAV file. All use the same checkpoint on the
CPU, each in its own process, one at a time; the client is on the same machine and shares its
cores. In every round each scenario goes from one to the next, so that other load affects all
alike. Rounds: {rounds}; what takes the package minutes (many clients, long texts, a stream) is
asked of it in the first one alone. Figures are medians over the rounds, margins the lowest of all.

- `x` is seconds of audio per second of wall time, from opening the connection to the end of the
answer.

- The sentences all differ and have 50 to 55 characters. The test checkpoint's tokenizer makes
about one token of a character, Soprano's own about 0.72: their prompts are as long as those of
real sentences of 5 s, and the test checkpoint synthesizes 5.06 s for any text.

- First audio is the time from opening the connection until the first audio byte is there. The new
request that arrives while {others} others stream texts of {other_sentences} sentences disconnects
then; the others read as fast as they can.

- The margin of a stream is the lowest number of buffered seconds when the next chunk arrived,
for a client that plays from the first chunk on; negative is silence. Sentences of each stream:
{stream_sentences}. They are read as fast as they come, which leaves the server no rest.

- Memory is the resident memory of the process and its children; what a process maps twice, as int8
its weights, counts once, though `top` counts it twice. "After clients" is for the
package in process after its ten sentences. The long text lasts {long_text_s:.0f} s, without a
limit on characters. The slow client reads half a second of audio per second, for
{slow_client_s:.0f} s, through a socket that holds a quarter of a second. Each client has a new
server.

- "/ package" is how many times faster, sooner or smaller ours is than the package in process; for
clients at once, than its server."""

AGAIN: Final = (
    "`make bench` makes the test checkpoint, measures and writes this file. This run was:"
)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """When, on what, with what, and how to repeat it."""

    date: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    model: str
    command: str
    plot: str
    notes: Sequence[str] = ()


class Table(msgspec.Struct, frozen=True):
    """A title, a header and rows of cells; the first cell says what the row is about."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """A section."""
        marks = ("---", *("---:" for _ in self.header[1:]))
        lines = [f"| {' | '.join(cells)} |" for cells in (self.header, marks, *self.rows)]
        return "\n".join((f"## {self.title}", "", *lines))


def build_report(run: Run, plan: Plan, results: Results, rows: Sequence[Row]) -> str:
    """The whole document."""
    facts = {"date": run.date, **run.machine}
    facts["versions"] = ", ".join(f"{name} {value}" for name, value in run.versions.items())
    facts["checkpoint"] = run.model
    first, *others = build_tables(results, rows)
    parts = (
        "# Benchmarks",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        _fill(" ".join((describe_targets(rows), *run.notes))),
        first.markdown(),
        f"![Throughput and first audio by number of clients]({run.plot})",
        *(table.markdown() for table in others),
        f"## How it was measured\n\n{_describe_method(plan)}",
        f"## Again\n\n{AGAIN}\n\n```sh\n{run.command}\n```",
    )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _describe_method(plan: Plan) -> str:
    paragraph, *items = (
        words.format(
            rounds=plan.rounds,
            others=NUM_OTHERS,
            other_sentences=plan.num_other_sentences,
            stream_sentences=plan.num_stream_sentences,
            long_text_s=plan.long_text_s,
            slow_client_s=plan.slow_client_s,
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
    """How many of the targets that must hold do, and which do not."""
    verdicts = [
        (f"{name}, {row.title}", row.holds(name, row.musts[name]))
        for row in rows
        for name in OURS
        if name in row.musts
    ]
    held = sum(verdict is True for _, verdict in verdicts)
    lines = [f"{held} of {len(verdicts)} targets that must hold do."]
    for words, verdict in (("Not held", False), ("Not measured", None)):
        names = [title for title, found in verdicts if found is verdict]
        if names:
            lines.append(f"{words}: {'; '.join(names)}.")
    return " ".join(lines)


def build_tables(results: Results, rows: Sequence[Row]) -> list[Table]:
    """The comparison, its targets, and the scenarios by number."""
    tables = (
        Table(
            "Against the package",
            ("", *TARGETS, *(f"{name} / package" for name in OURS)),
            [
                (
                    row.title,
                    *(_figure(row, row.figures.get(name)) for name in TARGETS),
                    *(_number(row.ratio(name), 1) for name in OURS),
                )
                for row in rows
            ],
        ),
        Table(
            "Targets",
            ("", "measured", "must", "holds", "aim", "holds"),
            [
                (
                    f"{name}: {row.title}",
                    _figure(row, row.figures.get(name)),
                    *_judged(row, name, row.musts.get(name)),
                    *_judged(row, name, row.aims.get(name)),
                )
                for row in rows
                for name in OURS
                if name in row.musts or name in row.aims
            ],
        ),
        _clients(results),
        _streams(results),
        _lengths(results),
    )
    return [table for table in tables if table.rows]


def _judged(row: Row, target: str, bound: Bound | None) -> tuple[str, str]:
    """The bound and whether it holds."""
    if bound is None:
        return NOTHING, NOTHING
    words = f"{'≤' if row.is_lower_better else '≥'} {bound.limit:g} {row.unit}"
    if bound.ratio is not None:
        words += f", ≥ {bound.ratio:g} / package"
    return words, VERDICTS[row.holds(target, bound)]


def _clients(results: Results) -> Table:
    names = _known(results, Metric.CLIENTS_SPEED)

    def cells(num: int, name: str) -> Iterator[str]:
        yield _number(results.percentile(50, name, Metric.CLIENTS_SPEED, num), 1)
        yield from _ms(results, name, Metric.CLIENTS_FIRST_AUDIO_S, num)

    return Table(
        "Clients at once, a sentence each",
        ("clients", *(f"{name}: {column}" for name in names for column in CLIENT_COLUMNS)),
        [
            (str(num), *(cell for name in names for cell in cells(num, name)))
            for num in results.numbers(Metric.CLIENTS_SPEED)
        ],
    )


def _streams(results: Results) -> Table:
    return Table(
        "Streams at once",
        ("streams", "lowest margin, ms", "first audio, ms", "p95, ms", "gap p50, ms", "p95, ms"),
        [
            (
                f"{num}, {name}",
                *_ms(results, name, Metric.STREAM_MARGIN_S, num, (0,)),
                *_ms(results, name, Metric.STREAM_FIRST_AUDIO_S, num),
                *_ms(results, name, Metric.STREAM_GAP_S, num),
            )
            for num in results.numbers(Metric.STREAM_MARGIN_S)
            for name in _known(results, Metric.STREAM_MARGIN_S, num)
        ],
    )


def _lengths(results: Results) -> Table:
    names = _known(results, Metric.TEXT_SPEED)
    return Table(
        "Length of one text, seconds of audio per second",
        ("sentences", *names),
        [
            (
                str(num),
                *(
                    _number(results.percentile(50, name, Metric.TEXT_SPEED, num), 1)
                    for name in names
                ),
            )
            for num in results.numbers(Metric.TEXT_SPEED)
        ],
    )


def _known(results: Results, metric: Metric, num: int | None = None) -> list[str]:
    """Targets with a value of the metric, for one number or for any."""
    nums = results.numbers(metric) if num is None else [num]
    return [
        name
        for name in results.targets()
        if any(results.percentile(50, name, metric, one) is not None for one in nums)
    ]


def _figure(row: Row, value: float | None) -> str:
    return NOTHING if value is None else f"{value:.{row.digits}f} {row.unit}"


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _ms(
    results: Results, name: str, metric: Metric, num: int, percents: Sequence[int] = PERCENTS
) -> Iterator[str]:
    for percent in percents:
        value = results.percentile(percent, name, metric, num)
        yield _number(None if value is None else value * MS_PER_S, 0)


def write_plot(results: Results, path: Path) -> None:
    """Throughput and first audio against the number of clients, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((10.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _plot(left, results, Metric.CLIENTS_SPEED, 1.0)
    left.set_title("throughput")
    left.set_ylabel("seconds of audio per second")
    left.set_ylim(bottom=0)
    _plot(right, results, Metric.CLIENTS_FIRST_AUDIO_S, MS_PER_S)
    right.set_title("time to first audio, median")
    right.set_ylabel("ms")
    right.set_yscale("log")
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("{x:g}")
    figure.savefig(path, dpi=120)


def _plot(axes: Any, results: Results, metric: Metric, factor: float) -> None:
    """A line for each target that was measured."""
    numbers = results.numbers(metric)
    for name, marker in zip(results.targets(), "os^D", strict=False):
        values = {num: results.percentile(50, name, metric, num) for num in numbers}
        points = [(num, value * factor) for num, value in values.items() if value is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, label=name)
    axes.set_xticks(numbers)
    axes.set_xlabel("clients at once")
    axes.grid(alpha=0.3)
    axes.legend()


class ProcessorTimes(msgspec.Struct, frozen=True):
    """Processor time until now, in seconds over all cores.

    Attributes:
        total: busy or not.
        busy: in any process.
        own: of this process and its children that have ended.
    """

    total: float
    busy: float
    own: float

    def used_by_others(self, before: "ProcessorTimes") -> float:
        """The part of the processor, 0 to 1, that other processes used since `before`."""
        others = (self.busy - before.busy) - (self.own - before.own)
        return max(0.0, others / (self.total - before.total))


def read_processor_times() -> ProcessorTimes:
    """As of now."""
    times = psutil.cpu_times()._asdict()
    total = sum(value for name, value in times.items() if not name.startswith("guest"))
    idle = times["idle"] + times.get("iowait", 0.0)
    return ProcessorTimes(total, total - idle, sum(psutil.Process().cpu_times()[:4]))


def describe_machine(used_by_others: float) -> dict[str, str]:
    """Names and values: processor, cores, memory, system, and other load during the run."""
    logical, physical = psutil.cpu_count(), psutil.cpu_count(logical=False)
    if CPU_INFO.exists():
        processor = processor_of(CPU_INFO.read_text(encoding="utf-8", errors="replace"))
    else:
        processor = platform.processor() or platform.machine()
    return {
        "processor": processor,
        "cores": f"{physical or 'unknown'} ({logical} logical)",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "used by other processes during the run": f"{used_by_others:.0%} of the processor",
    }


def processor_of(cpu_info: str) -> str:
    """The processor's name and those of VECTOR_FLAGS that it has, from /proc/cpuinfo's content."""
    lines = [line.partition(":") for line in cpu_info.splitlines()]
    fields = {name.strip(): value.split() for name, _, value in reversed(lines)}
    name = " ".join(fields.get("model name", [])) or platform.machine()
    found = {*fields.get("flags", []), *fields.get("Features", [])}
    flags = [flag for flag in VECTOR_FLAGS if flag in found]
    return f"{name}, {' '.join(flags)}" if flags else name


def describe_versions() -> dict[str, str]:
    """Names and versions, ours with the commit; a package that is not installed is absent."""
    found = {"Python": platform.python_version()}
    for name in (*PACKAGES, DISTRIBUTION):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    root = Path(__file__).parents[1]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return found

    def ask(*arguments: str) -> str:
        done = subprocess.run(
            [git, *arguments], cwd=root, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    if commit := ask("rev-parse", "--short", "HEAD"):
        changes = " with changes" if ask("status", "--porcelain", "--untracked-files=no") else ""
        found[DISTRIBUTION] = f"{found.get(DISTRIBUTION, '')}, commit {commit}{changes}"
    return found
