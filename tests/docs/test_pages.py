"""What the documentation says can be followed: links, commands, settings and code."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import click
import msgspec
import pytest

from app.entrypoints.cli.main import cli
from app.entrypoints.settings import Settings
from app.entrypoints.settings_loader import all_keys
from docs.generate import BLOCK, TABLES, pages, with_tables

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
PAGES: Final = [*pages(), ROOT / "CONTRIBUTING.md"]
MAX_README_LINES: Final = 180

LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE: Final = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND: Final = re.compile(r"(?:^|\s|`)(?:\.venv/bin/)?soprano-api ((?:[^`#|\n\\]|\\\n)*)")
SECTIONS: Final = {field.name for field in msgspec.structs.fields(Settings)}

# Archaic words, and the words of the glossary's last column that have no other use.
BANNED: Final = re.compile(
    r"\b(anew|amid|by lot|of late|whoever|likewise|to be had|left alone|look-ahead|turned away)\b",
    re.IGNORECASE,
)


class Snippet(msgspec.Struct, frozen=True):
    """A fenced block of a page."""

    page: Path
    language: str
    code: str


@cache
def text_of(page: Path) -> str:
    return page.read_text()


def snippets(*languages: str) -> list[object]:
    found = [
        Snippet(page, language, code)
        for page in PAGES
        for language, code in FENCE.findall(text_of(page))
        if language in languages
    ]
    return [
        pytest.param(each, id=f"{name_of(each.page)}-{number}") for number, each in enumerate(found)
    ]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts and MyST make them."""
    prose = FENCE.sub("", text_of(page))
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


every_page: Final = pytest.mark.parametrize("page", PAGES, ids=name_of)


@every_page
def test_a_link_within_the_documentation_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", text_of(page))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors_of(linked), target


def test_every_page_of_the_site_is_linked_from_its_index() -> None:
    listed = {
        (page.parent / entry).resolve().with_suffix(".md")
        for page in PAGES
        for language, code in FENCE.findall(text_of(page))
        if language == "{toctree}"
        for entry in code.splitlines()
        if entry and not entry.startswith(":")
    }
    site = {page for page in PAGES if (ROOT / "docs") in page.parents}
    assert site - listed == {ROOT / "docs" / "index.md"}


def test_the_readme_is_short() -> None:
    assert len(text_of(README).splitlines()) <= MAX_README_LINES


@every_page
def test_a_generated_table_is_up_to_date(page: Path) -> None:
    """If not: `make docs`."""
    assert with_tables(text_of(page)) == text_of(page)


def test_every_generated_table_is_on_a_page() -> None:
    used = {name for page in PAGES for _, name, _ in BLOCK.findall(text_of(page))}
    assert used == set(TABLES)


@pytest.mark.integration
@pytest.mark.parametrize("snippet", snippets("sh"))
def test_a_shell_example_parses(snippet: Snippet) -> None:
    code = snippet.code.replace("<this repository>", "https://example.org/soprano")
    done = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", snippets("python"))
def test_a_python_example_compiles(snippet: Snippet) -> None:
    compile(snippet.code, name_of(snippet.page), "exec")


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("snippet", snippets("js"))
def test_a_node_example_parses(snippet: Snippet, tmp_path: Path) -> None:
    example = tmp_path / "example.mjs"
    example.write_text(snippet.code)
    subprocess.run(["node", "--check", example], check=True)


@pytest.mark.parametrize("snippet", snippets("toml", "yaml", "json", "ini"))
def test_an_example_of_a_file_parses(snippet: Snippet) -> None:
    match snippet.language:
        case "toml":
            assert msgspec.toml.decode(snippet.code)
        case "yaml":
            assert msgspec.yaml.decode(snippet.code)
        case "json":
            assert json.loads(snippet.code)
        case _:
            parser = configparser.ConfigParser(strict=False)
            parser.read_string(snippet.code)
            assert parser.sections()


def test_every_example_is_in_a_language_that_is_checked() -> None:
    checked = {"sh", "python", "js", "toml", "yaml", "json", "ini"}
    checked |= {"nginx", "caddy"}  # by tests/live/test_proxies.py
    used = {language for page in PAGES for language, _ in FENCE.findall(text_of(page))}
    assert used <= checked | {"text", "{toctree}"}


@every_page
def test_a_command_and_its_options_exist(page: Path) -> None:
    for found in COMMAND.findall(BLOCK.sub("", text_of(page))):
        command: click.Command = cli
        for word in shlex.split(found.split(" <")[0].strip().rstrip(".,;:)'")):
            if isinstance(command, click.Group) and not word.startswith("-"):
                named = command.get_command(click.Context(command), word)
                assert named is not None, found
                command = named
            elif word.startswith("-") and word != "-":
                options = {
                    name
                    for parameter in command.params
                    for name in (*parameter.opts, *parameter.secondary_opts)
                }
                assert word.split("=")[0] in options | {"--help", "--version"}, found


@every_page
def test_a_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = set(re.findall(r"(?:^|`)make ([a-z-]+)", text_of(page), re.MULTILINE))
    assert used - {"test-all"} <= targets


@every_page
def test_a_setting_that_is_named_exists(page: Path) -> None:
    text = text_of(page)
    variables = re.findall(r"SOPRANO_([A-Z]+)__([A-Z_]+)", text)
    named = {f"{section}.{name}".lower() for section, name in variables}
    for section, name in re.findall(r"`([a-z]+)\.([a-z_]+)(?: =[^`]*)?`", text):
        is_event = page.name in {"log-events.md", "monitor.md"} or "adr" in page.parts
        if section in SECTIONS and not is_event and f"{section}.{name}" not in events():
            named.add(f"{section}.{name}")
    assert named <= set(all_keys())


@cache
def events() -> frozenset[str]:
    rows = text_of(ROOT / "docs" / "reference" / "log-events.md")
    spans = {"speech.queue", "speech.sentence", "speech.first_audio", "speech.caption"}
    return frozenset(re.findall(r"^\| `([a-z_.]+)`", rows, re.MULTILINE)) | spans


@pytest.mark.parametrize(
    "path", sorted((ROOT / "app").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_code_uses_the_words_of_the_glossary(path: Path) -> None:
    assert BANNED.findall(path.read_text()) == []


@every_page
def test_a_page_uses_the_words_of_the_glossary(page: Path) -> None:
    if page.name == "glossary.md":
        return
    assert BANNED.findall(FENCE.sub("", text_of(page))) == []
