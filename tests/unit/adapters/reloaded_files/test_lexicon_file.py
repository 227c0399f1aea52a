from pathlib import Path

import pytest
import structlog.testing

from app.adapters.reloaded_files import InvalidLexiconError, LexiconFile, read_lexicon
from tests.fakes.clock import FakeClock


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_has_a_word_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "lexicon.toml", '# ours\nSQL = "sequel"\n"C++" = "see plus plus"\n')
    assert read_lexicon(path).respellings == {"SQL": "sequel", "C++": "see plus plus"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('a = "b"\ngif = "j1f"\n', "line 2"),
        ('a = "b"\n\n"gif" = 7\n', "line 3"),
        ('a = "b"\na = "c"\n', "line 2"),
        ("a = \n", "line 1"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(InvalidLexiconError, match=reason):
        read_lexicon(write(tmp_path / "lexicon.toml", text))


def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b'caf\xe9 = "a"')
    for name in ("", "missing", "latin", "\0"):
        with pytest.raises(InvalidLexiconError, match=str(tmp_path)):
            read_lexicon(tmp_path / name)


async def test_a_file_that_changes_is_read_again_and_a_bad_one_changes_nothing(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    path = write(tmp_path / "lexicon.toml", 'gif = "jif"\n')
    lexicon = LexiconFile(path, clock)
    write(path, 'gif = "ghif"\nsql = "sequel"\n')
    assert lexicon.pronunciations.respellings == {"gif": "jif"}
    await clock.advance(1.0)
    with structlog.testing.capture_logs() as events:
        assert lexicon.pronunciations.respellings == {"gif": "ghif", "sql": "sequel"}
        write(path, "gif = ")
        await clock.advance(1.0)
        assert lexicon.pronunciations.respellings == {"gif": "ghif", "sql": "sequel"}
        path.unlink()
        await clock.advance(1.0)
        assert len(lexicon.pronunciations.respellings) == 2
    assert [event["event"] for event in events] == [
        "lexicon.reloaded",
        "lexicon.not_reloaded",
        "lexicon.not_reloaded",
    ]
