"""The package's own HTTP server, on a checkpoint and a port of our choice.

Run as `python -m app.entrypoints.cli.bench.package_server DIR PORT`. The package's module makes its
model when it is imported, of weights from the hub; it is handed the directory here. Imports nothing
of this project, so that its memory is the package's.
"""

import sys
from functools import partial

import uvicorn


def main(directory: str, port: int) -> None:
    """Serve until stopped."""
    import soprano.tts

    soprano.tts.SopranoTTS = partial(
        soprano.tts.SopranoTTS, backend="transformers", device="cpu", model_path=directory
    )
    from soprano.server import app

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
