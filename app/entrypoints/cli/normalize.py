"""`soprano-api normalize`: what is spoken for what is written, without speaking it."""

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from app.domain.text.front_end import ReadingOptions, read_text, segment_text
from app.domain.text.markup import Pause
from app.domain.text.reading.matching import JOINT
from app.domain.text.splitting import split_sentences
from app.entrypoints.bootstrap.ports import build_lexicon, build_ports
from app.entrypoints.cli.options import common_options, settings_from, standard_input, text_or_input
from app.entrypoints.log import configure_logging
from app.ports.speech_model import SpeechModel


@click.command()
@click.argument("text", required=False)
@click.option("--jsonl", is_flag=True, help="Read and write one JSON string per line.")
@click.option("--voice-form", is_flag=True, help="Print the text as the model receives it.")
@common_options
def normalize(
    text: str | None, *, jsonl: bool, voice_form: bool, config: str | None, **flags: Any
) -> None:
    """Print the normalized form of TEXT, one sentence per line.

    Reads standard input without TEXT, or if TEXT is '-'.
    """
    flags["log_level"] = flags["log_level"] or "warning"
    settings = settings_from(config, flags).settings
    configure_logging(settings.log)
    model = build_ports(settings).model if voice_form else None
    options = ReadingOptions(has_markup=settings.text.markup == "auto")
    if (lexicon := build_lexicon(settings)) is not None:
        options = msgspec.structs.replace(options, pronunciations=lexicon.pronunciations)
    if not jsonl:
        for sentence in _sentences(text_or_input(text), options, model):
            click.echo(sentence)
        return
    for number, line in enumerate(standard_input(), start=1):
        if line.strip():
            try:
                written = msgspec.json.decode(line, type=str)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                message = f"Line {number} is not a JSON string: {error}"
                raise click.ClickException(message) from error
            click.echo(msgspec.json.encode(" ".join(_sentences(written, options, model))))


def _sentences(text: str, options: ReadingOptions, model: SpeechModel | None) -> Iterator[str]:
    if model is not None:
        segments = segment_text(text, model.split, options)
        yield from (segment.text for segment in segments if segment.text)
        return
    for part in read_text(text, options):
        if not isinstance(part, Pause):
            yield from (one.text.replace(JOINT, "") for one in split_sentences(part))
