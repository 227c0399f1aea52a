"""`soprano-api verify`: the backend onnx against the author's package, sentence by sentence."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from typing import Final

import click
from rich.console import Console
from rich.progress import track

from app.domain.segment import TextSegment
from app.entrypoints.bootstrap import commands
from app.entrypoints.cli.options import config_option, print_columns, settings_from
from app.entrypoints.log import configure_logging

SENTENCES: Final = (
    "The harbour was quiet when the last boat came in.",
    "Could you tell me which platform the train to Leeds leaves from?",
    "It costs $24.50 on weekdays and $31 on Saturdays.",
    "My grandmother, who never learned to swim, bought a house by the sea.",
    "Doctor Okafor will see you at 4:15 p.m. in room 208.",
    "Stop! The bridge is closed.",
    "In 1969, two people walked on the moon while a third flew around it.",
    "She whispered the answer so softly that only the cat heard it.",
    "Turn left at the bakery, cross the square, and ring the second bell.",
    "Nobody expected the orchestra to play on after the lights went out.",
    "What a strange and wonderful idea that was!",
    "The recipe needs 3 eggs, 250 grams of flour and a pinch of salt.",
    "Mr. Nakamura and Ms. O'Brien share an office on the fifth floor.",
    "If it rains tomorrow, we will move the wedding into the barn.",
    "Photosynthesis turns sunlight, water and carbon dioxide into sugar.",
    "He counted: one, two, three, and then he lost his place again.",
    "Why do cats always land on their feet, and dogs never even try?",
    "The committee approved the budget by 7 votes to 2.",
    "Yesterday's newspaper lay open on the kitchen table.",
    "Please leave your name and number after the tone, and we will call you back.",
    "The glacier has shrunk by 12% since the survey of 1985.",
    "Thick fog rolled over the moor, swallowing fences, sheep and finally the road itself.",
    "Well, I suppose you are right, although I would not say so in public.",
    "Her flight from Reykjavik to Buenos Aires took nineteen hours and two stops.",
    (
        "Every evening the old clockmaker wound all forty clocks, one after the other, and every "
        "morning he found that no two of them agreed on the time."
    ),
    "The password must have at least eight characters.",
    "Is that your umbrella, or did someone forget theirs?",
    "A violin, a broken drum and two spoons were all the instruments they had.",
    "Version 2.4 fixes the problem with the printer.",
    "The judge asked for silence, waited a moment, and began to read the verdict.",
    "They were late, hungry and thoroughly lost; still, nobody wanted to ask for directions.",
    "Half of the apples were red, a third were green, and the rest had been eaten.",
    "I have told you a thousand times: do not feed the geese.",
    "The laboratory measured a temperature of minus 40 degrees that night.",
    "Quick, quiet and careful, the fox crossed the frozen pond.",
    (
        "When the power came back at 3 a.m., every machine in the factory started at once, and the "
        "night watchman, who had been asleep, thought that the world was ending."
    ),
    "Chapter 11 explains how bees find their way home.",
    "Thank you for waiting. Your table is ready, and the kitchen is open until ten.",
    "Isabella, Zhang Wei and Sven finished the puzzle before breakfast.",
    "All rivers run to the sea, and yet the sea is never full.",
)
"""Numbers, names, questions and exclamations, from four words to two lines."""

Rows = Sequence[tuple[str, ...]]

MAX_SENTENCE_CHARS: Final = 24  # of a sentence in the table

SENTENCE_HEAD: Final = (
    "sentence", "precision", "tokens", "agree", "top 5", "samples", "log-mel", "cosine", "ends",
)  # fmt: skip

SUMMARY_HEAD: Final = (
    "precision", "agree", "near ties", "top 5", "samples", "log-mel", "cosine", "verdict",
)  # fmt: skip

EXPLANATION: Final = (
    "Each precision is led along the package's greedy tokens, so that one difference does not cause"
    " the next. Agree: share of steps with the package's token. Near ties: other steps, where two"
    " tokens are as good as equally likely. Top 5: share of the five likeliest tokens that are the"
    " same. Samples: largest difference in parts of the package's peak. Log-mel: mean absolute"
    " difference of 80 mel bands. Cosine: of the hidden states. Ends: no, where the package ends a"
    " sentence that the precision, left to itself, does not."
)


@click.command()
@click.option("--model", help="Directory, or cached Hugging Face repository.")
@click.option(
    "--sentences", "max_sentences", type=click.IntRange(min=1), help="Number; default: all."
)
@click.option(
    "--text",
    "text_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text file to use instead of the built-in sentences.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the report in Markdown.",
)
@config_option
def verify(
    model: str | None,
    max_sentences: int | None,
    text_path: Path | None,
    output: Path | None,
    config: str | None,
) -> None:
    """Compare the backend onnx, in each precision, with the package soprano-tts.

    Exits with 0 if fp32 gives the same tokens and audio and the others are close enough, else 1.
    """
    settings = settings_from(config, {"model": model, "log_level": "error"}).settings
    configure_logging(settings.log)
    if output is not None and not output.parent.is_dir():  # not only after minutes of work
        raise click.ClickException(f"{output} cannot be written: {output.parent} is no directory.")
    sentences = _read_sentences(text_path)[:max_sentences]
    wanted, console = settings.model, Console(stderr=True)
    checkpoint = commands.check_checkpoint(
        wanted.checkpoint or commands.DEFAULT_REPO, wanted.revision or None
    )
    compared = list(
        track(
            commands.compare_precisions(checkpoint, wanted, sentences),
            total=len(sentences),
            description="comparing",
            console=console,
            disable=not console.is_terminal,
        )
    )
    judged = commands.judge_all(compared)
    _print(compared, judged)
    if output is not None:
        report = _markdown(str(checkpoint.directory), compared, judged)
        try:
            output.write_text(report, encoding="utf-8")
        except OSError as error:  # of a full disk has no path
            raise click.ClickException(f"{output} cannot be written: {error.strerror}.") from error
    if not all(verdict.is_usable for _, verdict in judged.values()):
        raise click.exceptions.Exit(1)


def _read_sentences(path: Path | None) -> list[TextSegment]:
    if path is None:
        return commands.split_texts(SENTENCES)
    sentences = commands.split_texts([path.read_text(encoding="utf-8", errors="replace")])
    if not sentences:
        raise click.ClickException(f"{path} has no sentence to speak.")
    return sentences


def _print(compared: Sequence[commands.ComparedSentence], judged: commands.Judgements) -> None:
    print_columns([SENTENCE_HEAD, *_sentence_rows(compared)])
    print_columns([SUMMARY_HEAD, *_summary_rows(judged)])
    for precision, (_, verdict) in judged.items():
        click.echo(f"{precision}: {verdict.grade}: {verdict.reason}.")


def _sentence_rows(compared: Sequence[commands.ComparedSentence]) -> Rows:
    return [
        (
            f"{number} {shorten(sentence.text, MAX_SENTENCE_CHARS, placeholder='...')}",
            precision,
            str(one.num_steps),
            f"{one.num_steps_agreed / one.num_steps:.1%}",
            f"{one.best_overlap:.1%}",
            f"{one.peak_difference:.0e}",
            f"{one.log_mel_db:.2f} dB",
            f"{one.state_similarity:.5f}",
            "no" if one.is_unended else "yes",
        )
        for number, sentence in enumerate(compared, 1)
        for precision, one in sentence.by_precision.items()
    ]


def _summary_rows(judged: commands.Judgements) -> Rows:
    return [
        (
            precision,
            f"{summary.step_agreement:.1%}",
            str(summary.num_near_ties),
            f"{summary.best_overlap:.1%}",
            f"{summary.peak_difference:.0e}",
            f"{summary.log_mel_db:.2f} dB",
            f"{summary.state_similarity:.5f}",
            verdict.grade,
        )
        for precision, (summary, verdict) in judged.items()
    ]


def _markdown(
    directory: str, compared: Sequence[commands.ComparedSentence], judged: commands.Judgements
) -> str:
    verdicts = [
        f"- {precision}: **{verdict.grade}**: {verdict.reason}."
        for precision, (_, verdict) in judged.items()
    ]
    packages = ("soprano-tts", "transformers", "torch", "onnxruntime")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    texts = [f"{number}. {one.text}" for number, one in enumerate(compared, 1)]
    parts = (
        "# Soprano on ONNX Runtime against soprano-tts",
        f"Checkpoint `{directory}`; {versions}.",
        "\n".join(verdicts),
        _markdown_table(SUMMARY_HEAD, _summary_rows(judged)),
        EXPLANATION,
        "## Sentences",
        _markdown_table(SENTENCE_HEAD, _sentence_rows(compared)),
        "\n".join(texts),
    )
    return "\n\n".join(parts) + "\n"


def _markdown_table(head: tuple[str, ...], rows: Rows) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
