"""The examples that users paste from the documentation run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx
import msgspec
import pytest

from tests.listening import decode_file, decode_pcm
from tests.serving import ServerProcess

ROOT: Final = Path(__file__).parents[2]
CLIENTS: Final = ROOT / "docs/how-to/clients.md"
PAGES: Final = (
    ROOT / "README.md",
    ROOT / "docs/getting-started.md",
    CLIENTS,
    ROOT / "docs/reference/websocket.md",
)
DOCUMENTED_HOST: Final = "127.0.0.1:8000"
SNIPPET_TIMEOUT_S: Final = 60

ADDRESS: Final = re.compile(
    r"http://(?:127\.0\.0\.1|host\.docker\.internal|192\.0\.2\.10):8000([\w/.-]*)"
)
FILE: Final = re.compile(r"[\w-]+\.(?:mp3|wav|pcm|opus)\b")


class Snippet(msgspec.Struct, frozen=True):
    """A fenced block, and the number of the line that ends it."""

    page: str
    line: int
    language: str
    code: str


def find_snippets() -> list[Snippet]:
    return [snippet for page in PAGES for snippet in read_snippets(page)]


def read_snippets(page: Path) -> list[Snippet]:
    found: list[Snippet] = []
    language, lines = "", list[str]()
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if language and line == "```":
            found.append(Snippet(page.name, number, language, "\n".join(lines) + "\n"))
            language, lines = "", []
        elif language:
            lines.append(line)
        elif fence := re.fullmatch(r"```(\w+)", line):
            language = fence[1]
    return found


def is_run(snippet: Snippet) -> bool:
    """Whether it needs nothing but this server and what the tests have."""
    match snippet.language:
        case "python":
            return "from openai import" in snippet.code or "from websockets" in snippet.code
        case "js":
            return True
        case "sh":
            return snippet.code.startswith("curl ") and "ffplay" not in snippet.code
        case _:
            return False


def name_of(snippet: Snippet) -> str:
    return f"{snippet.page}:{snippet.line}"


def case(snippet: Snippet) -> object:
    return pytest.param(snippet, id=name_of(snippet))


SNIPPETS: Final = find_snippets()
RUN: Final = [snippet for snippet in SNIPPETS if is_run(snippet)]


def served_by(server: ServerProcess, snippet: Snippet) -> str:
    """The code, to be run against this server."""
    return snippet.code.replace(DOCUMENTED_HOST, httpx.URL(server.url).netloc.decode())


def run(command: list[str], directory: Path) -> str:
    done = subprocess.run(
        command, cwd=directory, capture_output=True, timeout=SNIPPET_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def assert_is_speech(path: Path) -> None:
    body = path.read_bytes()
    samples = decode_pcm(body) if path.suffix == ".pcm" else decode_file(body)[0]
    assert len(samples) > 8_000, path


def assert_files_are_speech(snippet: Snippet, directory: Path) -> None:
    for name in set(FILE.findall(snippet.code)):
        assert_is_speech(directory / name)


@pytest.mark.parametrize("snippet", [case(each) for each in RUN if each.language == "python"])
def test_python_examples_speak(server: ServerProcess, tmp_path: Path, snippet: Snippet) -> None:
    (tmp_path / "example.py").write_text(served_by(server, snippet))
    printed = run([sys.executable, "example.py"], tmp_path)
    assert_files_are_speech(snippet, tmp_path)
    if "error.code" in snippet.code:
        assert printed.startswith("voice_not_found voice ")


@pytest.mark.parametrize("snippet", [case(each) for each in RUN if each.language == "js"])
def test_node_examples_speak(server: ServerProcess, node_directory: Path, snippet: Snippet) -> None:
    example = node_directory / "example.mjs"
    example.write_text(served_by(server, snippet))
    printed = run(["node", example.name], node_directory)
    assert_files_are_speech(snippet, node_directory)
    if "error.code" in snippet.code:
        assert printed.startswith("model_not_found model ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("snippet", [case(each) for each in RUN if each.language == "sh"])
def test_curl_examples_speak(server: ServerProcess, tmp_path: Path, snippet: Snippet) -> None:
    run(["sh", "-c", served_by(server, snippet)], tmp_path)
    assert_files_are_speech(snippet, tmp_path)


def test_examples_of_each_kind_are_run() -> None:
    kinds = {(snippet.page, snippet.language) for snippet in RUN}
    assert {("clients.md", "python"), ("clients.md", "js"), ("clients.md", "sh")} <= kinds
    assert {("README.md", "python"), ("getting-started.md", "python")} <= kinds
    assert {("websocket.md", "python")} <= kinds


def test_every_address_of_the_page_is_one_that_this_server_has(server: ServerProcess) -> None:
    paths = set(ADDRESS.findall(CLIENTS.read_text()))
    assert paths == {"/v1", "/v1/audio/speech"}
    schema = httpx.get(f"{server.url}/schema/openapi.json").json()
    assert "/v1/audio/speech" in schema["paths"]


def test_the_voices_and_models_of_the_page_are_served(server: ServerProcess) -> None:
    text = CLIENTS.read_text()
    models = set(re.findall(r"""model["']?[=:] ?["']([\w-]+)["']""", text)) - {"nothing"}
    voices = set(re.findall(r"""voice["']?[=:] ?["']([\w-]+)["']""", text)) - {"nobody"}
    known = {each["id"] for each in httpx.get(f"{server.url}/v1/models").json()["data"]}
    spoken = {each["id"] for each in httpx.get(f"{server.url}/v1/audio/voices").json()["voices"]}
    assert models
    assert models <= known
    assert voices
    assert voices <= spoken
