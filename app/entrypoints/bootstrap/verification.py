"""What the command `verify` compares. Names adapters, as bootstrap does."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from typing import Final

import msgspec

from app.adapters.clock import SystemClock
from app.adapters.speech.soprano.onnx.graph import Precision
from app.adapters.speech.soprano.sampling import MAX_NEW_TOKENS
from app.adapters.speech.soprano.text import prompt_for, split_for_soprano
from app.adapters.speech.verification import (
    Comparison,
    Summary,
    TracedOnnx,
    TracedPackage,
    Verdict,
    compare,
    judge_close,
    judge_equal,
    run_reference,
    summarize,
)
from app.domain.segment import TextSegment
from app.domain.text.front_end import segment_text
from app.entrypoints.bootstrap.commands import DEFAULT_REPO, check_checkpoint
from app.entrypoints.bootstrap.instances import build_graph_cache
from app.entrypoints.settings import ModelSettings

__all__ = [
    "PRECISIONS",
    "ComparedSentence",
    "Comparison",
    "Judgements",
    "Verification",
    "judge",
    "split_texts",
    "versions_compared",
]

PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "int8")

_PACKAGES: Final = ("soprano-tts", "transformers", "torch", "onnxruntime")


Judgements = dict[Precision, tuple[Summary, Verdict]]
"""The figures of each precision, and what they mean."""


class ComparedSentence(msgspec.Struct, frozen=True):
    """A sentence as it was read, and its comparison by precision."""

    text: str
    by_precision: dict[Precision, Comparison]


class Verification:
    """The backend onnx in each precision, and the package to hold it against.

    Args:
        settings: name the checkpoint, the threads and where graphs are kept.

    Raises:
        CheckpointError: the checkpoint is not there, damaged or none.
        ModelLoadError: a package is missing, or a model cannot be built.
    """

    def __init__(self, settings: ModelSettings) -> None:
        checkpoint = check_checkpoint(
            settings.checkpoint or DEFAULT_REPO, settings.revision or None
        )
        self.directory = checkpoint.directory
        self._reference = TracedPackage(checkpoint)
        build = partial(
            TracedOnnx,
            checkpoint,
            num_threads=settings.num_threads,
            cache=build_graph_cache(settings, SystemClock()),
        )
        self._models = {precision: build(precision=precision) for precision in PRECISIONS}

    def run(self, sentences: Iterable[TextSegment]) -> Iterator[ComparedSentence]:
        """Compare one sentence after the other."""
        for sentence in sentences:
            spoken = run_reference(self._reference, prompt_for(sentence), MAX_NEW_TOKENS)
            yield ComparedSentence(
                sentence.text,
                {
                    precision: compare(spoken, model, MAX_NEW_TOKENS)
                    for precision, model in self._models.items()
                },
            )


def split_texts(texts: Iterable[str]) -> list[TextSegment]:
    """The sentences of each text as the model reads them."""
    return [
        sentence
        for text in texts
        for sentence in segment_text(text, split_for_soprano)
        if sentence.text
    ]


def judge(sentences: Sequence[ComparedSentence]) -> Judgements:
    """What at least one sentence says of each precision."""
    judged: Judgements = {}
    for precision in PRECISIONS:
        summary = summarize([one.by_precision[precision] for one in sentences])
        verdict = judge_equal(summary) if precision == "fp32" else judge_close(summary)
        judged[precision] = summary, verdict
    return judged


def versions_compared() -> str:
    """What ran, in one line."""
    return ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
