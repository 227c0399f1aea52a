import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.audio import DEFAULT_STEM, STEM, AudioFormat, choose_stem
from app.domain.errors import InvalidFileNameError
from tests.examples import table

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
FORMATS = st.sampled_from(AudioFormat)


def test_without_a_name_the_stem_is_the_default() -> None:
    assert choose_stem(None, AudioFormat.MP3) == DEFAULT_STEM == "speech"


@given(stem=st.text(ALPHABET, min_size=1, max_size=64), audio_format=FORMATS)
def test_a_stem_is_taken_as_it_is_with_or_without_the_extension(
    stem: str, audio_format: AudioFormat
) -> None:
    assert choose_stem(stem, audio_format) == stem
    assert choose_stem(f"{stem}.{audio_format}", audio_format) == stem


@given(name=st.text(), audio_format=FORMATS)
def test_whatever_is_accepted_is_a_stem_and_nothing_is_mended(
    name: str, audio_format: AudioFormat
) -> None:
    try:
        stem = choose_stem(name, audio_format)
    except InvalidFileNameError:
        return
    assert STEM.fullmatch(stem)
    assert name in {stem, f"{stem}.{audio_format}"}


@table(
    "name",
    [
        "", ".", "..", ".mp3", "..mp3", "../x", "..%2fx", "%2e%2e/x", "%252e%252e%252fx", "..\\x",
        "/etc/passwd", "//x", "./x", "a/b", "a\\b", "C:\\x", "C:x", "x\0", "x\0.mp3", "x\n", "\nx",
        "x.mp3\n", "x.", "x ", " x", "x.mp3 ", "x.mp3.", "x y", "a" * 65, "a" * 65 + ".mp3",
        "a" * 300, "\u2024\u2024/x", "..\u2215x", "\uff53peech", "\u0661", "ä", "\u202ex",
        "x\udcff",
        ".tmp-1-0123456789abcdef", ".lock", ".sequence", ".x_000001.mp3.captions", "~", "~root",
        "x.wav", "x.MP3", "x.mp3.mp3", "x.mp3.wav", "x.tar.gz", "*", "?", "x;y", "$x", "`x`", "x|y",
        "<script>", "x:y", "x%00",
    ],
)  # fmt: skip
def test_every_other_name_is_refused_with_its_field(name: str) -> None:
    with pytest.raises(InvalidFileNameError) as caught:
        choose_stem(name, AudioFormat.MP3)
    assert (caught.value.code, caught.value.param) == ("invalid_file_name", "file_name")
    assert ".mp3" in str(caught.value)
