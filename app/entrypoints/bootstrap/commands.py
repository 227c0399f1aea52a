"""What commands need beside the server: checkpoints, their graphs, keys, books, the comparison."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from app.adapters.clock import SystemClock
from app.adapters.encoding.book_file import BOOK_FORMATS, duration_of, join_parts
from app.adapters.reloaded_files import add_key, describe_entry
from app.adapters.speech import verification
from app.adapters.speech.cores import count_cores
from app.adapters.speech.ray_serve import APPLICATION, apply_serve_config
from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint, read_checkpoint
from app.adapters.speech.soprano.checkpoint.hub import DEFAULT_REPO, download, list_cached, locate
from app.adapters.speech.soprano.onnx.graph import MAX_LEVEL, Precision, int8_here
from app.adapters.speech.soprano.onnx.sessions import open_sessions
from app.adapters.speech.soprano.text import prompt_for, split_for_soprano
from app.adapters.text.documents import is_document, read_book
from app.domain.segment import TextSegment
from app.domain.text.front_end import segment_text
from app.entrypoints.bootstrap.instances import (
    application_arguments,
    build_application,
    build_graph_cache,
    choose,
)
from app.entrypoints.bootstrap.ports import identify_sound
from app.entrypoints.services import Ports
from app.entrypoints.settings import ModelSettings, Settings

__all__ = [
    "BOOK_FORMATS", "DEFAULT_REPO", "Checkpoint", "add_key",
    "apply_serve_config", "count_cores", "describe_entry", "duration_of", "is_document",
    "join_parts", "list_cached", "read_book",
]  # fmt: skip

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)

Judgements = dict[Precision, tuple[verification.Summary, verification.Verdict]]
"""The figures of each precision, and what they mean."""


def has_dot_products() -> bool:
    """Whether this processor adds products of 8 bits, without which int8 is half as fast."""
    return int8_here().max_level == MAX_LEVEL


def check_checkpoint(model: str, revision: str | None) -> Checkpoint:
    """The checkpoint in a directory or a cached repository; raises CheckpointError."""
    return _read_whole(locate(model, revision, may_download=False, clock=SystemClock()))


def build_checkpoint_graphs(model: str, settings: ModelSettings) -> Path:
    """Where the graphs of a checkpoint are, for onnx, built if needed; raises ModelLoadError."""
    checkpoint = check_checkpoint(model, settings.revision or None)
    return build_graph_cache(settings, SystemClock()).get(checkpoint, settings.precision)


def pull_checkpoint(repo: str, revision: str | None, *, is_forced: bool = False) -> Checkpoint:
    """The newest state of a repository, fetched and checked; raises CheckpointError."""
    return _read_whole(download(repo, revision, clock=SystemClock(), is_forced=is_forced))


def _read_whole(directory: Path) -> Checkpoint:
    """Also the checksums of the decoder, which are only verified when its numbers are read."""
    checkpoint = read_checkpoint(directory)
    checkpoint.load_decoder()
    return checkpoint


def describe_sound(ports: Ports, settings: Settings) -> str:
    """What decides how a text sounds, beside the request."""
    known = ports.lexicon.pronunciations.respellings if ports.lexicon is not None else {}
    sound = identify_sound(ports.choice.backend, settings, ports.clock)
    return repr((sound, settings.speech.loudness_lufs, settings.text.markup, sorted(known.items())))


def serve_config(settings: Settings) -> dict[str, Any]:
    """The configuration with which Ray Serve runs the replicas of the settings."""
    arguments = application_arguments(choose(settings.model).backend, settings)
    application = {
        "name": APPLICATION,
        "route_prefix": None,
        "import_path": f"{build_application.__module__}:{build_application.__name__}",
        "args": msgspec.to_builtins(arguments),
    }
    return {"proxy_location": "Disabled", "applications": [application]}


class ComparedSentence(msgspec.Struct, frozen=True):
    """A sentence as it was read, and its comparison by precision."""

    text: str
    by_precision: dict[Precision, verification.Comparison]


def compare_precisions(
    checkpoint: Checkpoint, settings: ModelSettings, sentences: Iterable[TextSegment]
) -> Iterator[ComparedSentence]:
    """Sentences by the backend onnx in each precision, one after the other, against the package.

    Raises ModelLoadError if a package is missing, or a model cannot be built.
    """
    reference = verification.TracedPackage(checkpoint)
    cache = build_graph_cache(settings, SystemClock())
    models = {
        precision: verification.TracedOnnx(
            open_sessions(checkpoint, precision, 1, settings.num_threads, cache)
        )
        for precision in PRECISIONS
    }
    for sentence in sentences:
        spoken = reference.synthesize(prompt_for(sentence))
        comparisons = {
            precision: verification.compare(spoken, model) for precision, model in models.items()
        }
        yield ComparedSentence(sentence.text, comparisons)


def split_texts(texts: Iterable[str]) -> list[TextSegment]:
    """The sentences of each text as the model reads them."""
    segments = (segment for text in texts for segment in segment_text(text, split_for_soprano))
    return [segment for segment in segments if segment.text]


def judge_all(sentences: Sequence[ComparedSentence]) -> Judgements:
    """What at least one sentence says of each precision."""
    judged: Judgements = {}
    for precision in PRECISIONS:
        summary = verification.summarize([one.by_precision[precision] for one in sentences])
        judge = verification.judge_equal if precision == "fp32" else verification.judge_close
        judged[precision] = summary, judge(summary)
    return judged
