"""The package in a process of its own: a text per line in, the length of each piece out.

Run as `python -m app.entrypoints.cli.bench.package_worker DIR`. Standard input takes one JSON
object per line: `text`, and `is_streamed` for `infer_stream` in place of `infer`. Standard output
gets the number of samples of each piece, a line each, then 0; a first 0 means that the model is
loaded. Imports nothing of this project, so that its memory is the package's.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any


def main(directory: str) -> None:
    """Speak what comes, until there is no more."""
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # the package prints
        from soprano.tts import SopranoTTS

        model = SopranoTTS(backend="transformers", device="cpu", model_path=directory)
        print(0, file=answers, flush=True)
        for line in sys.stdin:
            for num_samples in _speak(model, **json.loads(line)):
                print(num_samples, file=answers, flush=True)
            print(0, file=answers, flush=True)


def _speak(model: Any, text: str, *, is_streamed: bool) -> Iterator[int]:
    pieces = model.infer_stream(text, chunk_size=1) if is_streamed else [model.infer(text)]
    for piece in pieces:
        yield len(piece)


if __name__ == "__main__":
    main(sys.argv[1])
