"""The package soprano-tts in a process of its own, with a checkpoint of our choice.

`python -m benchmarks.package_process server DIR PORT` runs the package's own HTTP server. Its
module builds a model from the hub's weights when it is imported, so it is given the directory here.

`... worker DIR` reads a JSON object per line: `text`, and `is_streamed` for `infer_stream` in place
of `infer`. It prints the number of samples of each chunk, a line each, then 0; a first 0 means that
the model is loaded.

Imports nothing of this project, so that the memory measured is the package's.
"""

import contextlib
import json
import sys
from functools import partial


def serve(directory: str, port: str) -> None:
    """Serve until stopped."""
    import soprano.tts
    import uvicorn

    soprano.tts.SopranoTTS = partial(
        soprano.tts.SopranoTTS, backend="transformers", device="cpu", model_path=directory
    )
    from soprano.server import app

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


def work(directory: str) -> None:
    """Synthesize each line of standard input until it ends."""
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # the package prints
        from soprano.tts import SopranoTTS

        model = SopranoTTS(backend="transformers", device="cpu", model_path=directory)
        print(0, file=answers, flush=True)
        for line in sys.stdin:
            message = json.loads(line)
            text = message["text"]
            chunks = (
                model.infer_stream(text, chunk_size=1)
                if message["is_streamed"]
                else [model.infer(text)]
            )
            for chunk in chunks:
                print(len(chunk), file=answers, flush=True)
            print(0, file=answers, flush=True)


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "server":
        serve(*arguments)
    else:
        work(*arguments)
