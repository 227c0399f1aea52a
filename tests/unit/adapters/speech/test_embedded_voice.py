import asyncio
import ctypes
import functools
import platform
import re
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.speech.embedded_voice import (
    MAX_CALL_PHONEMES,
    MAX_RUN_CHARS,
    MAX_TRAILING_SILENCE_S,
    MAX_WORD_LETTERS,
    SAMPLE_RATE,
    SILENCE_LEVEL,
    EmbeddedVoice,
    UniformNoise,
    _load_hibari,
    _read,
    in_voice_form,
    trim_silence,
)
from app.adapters.speech.filtered import FilteredModel, measure_loudness
from app.domain.errors import SynthesisError
from app.domain.segment import TextSegment
from app.domain.speech import SamplingParams, SynthesisParams
from app.domain.text.front_end import segment_text
from app.domain.text.mapped_text import MappedText
from tests.examples import examples


@pytest.fixture
async def voice() -> AsyncIterator[EmbeddedVoice]:
    voice = EmbeddedVoice(num_threads=2)
    await voice.load()
    yield voice
    await voice.close()


async def duration_s(voice: EmbeddedVoice, text: str) -> float:
    total = 0.0
    for segment in segment_text(text, voice.split):
        async for chunk in voice.synthesize(segment, SynthesisParams(voice.info.voices[0])):
            total += chunk.duration_s
    return total


def resident_mb() -> float:
    """Without what is free."""
    ctypes.CDLL(None).malloc_trim(0)
    return float(psutil.Process().memory_info().rss / 1e6)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives back at once")
async def test_long_texts_at_the_same_time_leave_no_memory_behind(voice: EmbeddedVoice) -> None:
    await duration_s(voice, "One short sentence.")
    before = resident_mb()
    text = "word after word goes on and on, " * 7 + "."
    assert len(segment_text(text, voice.split)) == 1
    await asyncio.gather(duration_s(voice, text), duration_s(voice, text))
    assert resident_mb() - before < 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Plain text, and café.", "Plain text, and café."),
        ("room 7", "room seven "),
        ("the U\x7fS Senate", "the U S Senate"),
        ("cafe\u0301", "café"),
        ("Ștefan, cœur, Ő", "Stefan, coeur, O"),
        ("你好", "NiHao"),
        ("Привет", "Privet"),
        ("see [text](/link/)", "see [text] (/link/)"),
        ("日 😀 €", "Ri 😀 €"),
    ],
)
def test_only_what_the_package_cannot_say_is_rewritten(text: str, expected: str) -> None:
    assert in_voice_form(MappedText.of(text)).text == expected


WORDS = (
    "no", "nos", "fig", "book", "Gen", "Type", "C", "Charles", "Queen", "King", "Victoria", "May",
    "in", "art", "vol", "pp", "sec", "ed", "ex", "par", "tab", "app", "sat", "mar", "sun",
    "ave", "met", "saw", "table", "chapter", "part", "section", "war", "stage", "mix", "civil",
    "dim", "mill", "max", "min", "temp", "inch", "do", "re", "mi", "answer", "seven", "river",
)  # fmt: skip
"""Ordinary words, most of which are also the short form of another, a numeral or its sign."""


@functools.cache
def package() -> Any:
    return _load_hibari()


def heard(text: str) -> str:
    """The phonemes of all segments of `text`."""
    segments = segment_text(text, EmbeddedVoice(num_threads=1).split)
    return bare("".join("".join(_read(package(), segment.text)) for segment in segments))


@functools.cache
def entry(word: str) -> str:
    """The phonemes of `word` in the package's dictionary."""
    return bare(package().g2p(word, normalize_text=False))


def bare(phonemes: str) -> str:
    """Without marks and stress; a weak "a" as a strong one."""
    return re.sub(r"[\W\u02c8\u02cc]", "", phonemes).replace("\u0250", "\u00e6")


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=12),
    st.sampled_from([" today", " today.", ", today", "? Today!"]),
)
def test_the_words_that_are_heard_are_the_words_that_are_written(
    words: list[str], end: str
) -> None:
    assert heard(" ".join(words) + end) == "".join(map(entry, [*words, "today"]))


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("King Charles met Queen Victoria.", "kɪŋ ʧɑɹlz mɛt kwin vɪktɔɹiə"),
        ("The answer is no.", "ði ænsəɹ ɪz nO"),
        ("He ate a fig.", "hi At æ fɪɡ"),
        ("The book I read", "ðə bʊk I ɹɛd"),
        ("Gen Z", "ʤɛn zi"),
        ("A USB Type C port.", "æ juɛsbi tIp si pɔɹt"),
        ("I am in art with Gen May.", "I æm ɪn ɑɹt wɪð ʤɛn mA"),
    ],
)  # fmt: skip
def test_no_word_is_taken_for_a_numeral_or_a_short_form(text: str, phonemes: str) -> None:
    assert heard(text) == phonemes.replace(" ", "")


@pytest.mark.parametrize(
    ("written", "in_words"),
    [
        ("King Charles has 3 cars.", "King Charles has three cars."),
        ("The answer is no. 5 of 21 came.", "The answer is number five of twenty-one came."),
        ("Queen Elizabeth II met 100 men.", "Queen Elizabeth the second met one hundred men."),
        ("It costs $5.3bn.", "It costs five point three billion dollars."),
        ("Dial 0451 in May 1990.", "Dial zero four five one in May nineteen ninety."),
    ],
)
def test_figures_are_heard_as_their_words(written: str, in_words: str) -> None:
    assert heard(written) == heard(in_words)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "Zs"]), max_size=200))
def test_no_word_is_longer_than_the_package_can_spell(text: str) -> None:
    words = re.findall(r"[^\W\d_]+", in_voice_form(MappedText.of(text)).text)
    assert max(map(len, words), default=0) <= MAX_WORD_LETTERS


async def test_a_300_digit_number_is_read_out(voice: EmbeddedVoice) -> None:
    """The package raises IndexError on it."""
    assert await duration_s(voice, "1" * 300) > 60


async def test_a_4096_letter_word_is_spoken_to_its_end(voice: EmbeddedVoice) -> None:
    """The package says its first 24 letters and drops the rest."""
    word = "supercalifragilistic" * 10
    assert await duration_s(voice, word) > 5 * await duration_s(voice, word[:24])


async def test_other_scripts_are_spoken_by_their_latin_spelling(voice: EmbeddedVoice) -> None:
    assert await duration_s(voice, "你好世界") > 0.5


@pytest.mark.parametrize(
    "text",
    [
        "1," * 120, "9" * 40, "1e999999", "$" * 50, "M" * 240, "chapter " + "M" * 200,
        "e" + "\u0301" * 240, "[a](/b/)", "x " * 120, "5/0 99:99 13/32/2024", "½²٣１２３",
        "http://" + "a." * 100, "a-" * 120, "<speak><break/></speak>", "[START] [STOP] [TEXT]",
        "\U0001d54f\U0001d550", "ﷺ", "\u202eabc\u202c",
    ],
    ids=lambda text: repr(text[:16]),
)  # fmt: skip
async def test_awkward_text_never_raises(voice: EmbeddedVoice, text: str) -> None:
    assert await duration_s(voice, text) >= 0


def test_the_noise_has_mean_0_and_variance_1_and_is_that_of_its_seed() -> None:
    first, again, other = (
        UniformNoise(seed).standard_normal((601, 400), np.float32) for seed in (7, 7, 8)
    )
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # Five standard errors of 240 400 numbers: of the mean 1/490, of the variance 0.9/490.
    assert abs(first.mean(dtype=np.float64)) < 0.011
    assert abs(first.var(dtype=np.float64) - 1) < 0.01
    assert np.abs(first).max() < 1.74  # the square root of 3: no number of it is far out


async def test_samples_are_those_of_the_seed(voice: EmbeddedVoice) -> None:
    segment = TextSegment(0, "Hello there.")
    network = RecordingNetwork(voice)

    async def samples(seed: int | None) -> bytes:
        sampling = SamplingParams(seed=seed)
        params = SynthesisParams(voice.info.voices[0], sampling=sampling)
        return b"".join(
            [chunk.samples.tobytes() async for chunk in voice.synthesize(segment, params)]
        )

    assert await samples(7) == await samples(7) != await samples(8)
    assert await samples(None) == await samples(0)
    assert all(isinstance(noise, UniformNoise) for noise in network.noises)


class RecordingNetwork:
    """The network's calls: how many phonemes each was given, and which random numbers."""

    def __init__(self, voice: EmbeddedVoice) -> None:
        self._from_ids = voice._hibari.from_ids
        voice._hibari.from_ids = self.from_ids
        self.num_phonemes: list[int] = []
        self.noises: list[object] = []

    def from_ids(self, ids: list[int], speed: float, noise: object) -> object:
        self.num_phonemes.append(len(ids))
        self.noises.append(noise)
        return self._from_ids(ids, speed, noise)


@pytest.mark.parametrize("text", ["+", "%", "W", "777 ", "Mr. ", "ﷺ", "½", "a-", "漢", ".a", "^a"])
@pytest.mark.parametrize("speed", [1.0, 0.5])
async def test_no_text_makes_a_call_of_the_network_long(
    voice: EmbeddedVoice, text: str, speed: float
) -> None:
    network = RecordingNetwork(voice)
    segment = segment_text(text * 250, voice.split)[0]
    params = SynthesisParams(voice.info.voices[0], speed)
    chunks = [chunk async for chunk in voice.synthesize(segment, params)]
    assert len(chunks) == len(network.num_phonemes) > 0
    assert max(network.num_phonemes) <= MAX_CALL_PHONEMES * speed + 2  # a pad at each end


async def test_a_client_that_leaves_ends_a_long_segment_after_the_call_under_way(
    voice: EmbeddedVoice,
) -> None:
    network = RecordingNetwork(voice)
    segment = TextSegment(0, "+" * 250)  # longer than any that `split` makes
    chunks = voice.synthesize(segment, SynthesisParams(voice.info.voices[0]))
    await anext(chunks)
    await chunks.aclose()
    num_calls = len(network.num_phonemes)
    assert await duration_s(voice, "Next.") > 0
    assert len(network.num_phonemes) == num_calls + 1


@given(st.text(alphabet=st.sampled_from("+-=a.%/&@é#_'"), min_size=1, max_size=400))
def test_no_run_without_a_space_is_longer_than_the_package_reads_quickly(text: str) -> None:
    sayable = in_voice_form(MappedText.of(text)).text
    assert max(map(len, sayable.split())) <= MAX_RUN_CHARS
    assert sayable.replace(" ", "").replace("(", "") == text.replace(",", "").replace("(", "")


def test_an_address_of_usual_length_stays_whole() -> None:
    address = "See example.org/a/b?c now."
    assert in_voice_form(MappedText.of(address)).text == address


async def test_a_text_without_marks_has_no_long_pause_where_it_is_cut(voice: EmbeddedVoice) -> None:
    text = " ".join(["meadow", "paper", "window", "quiet", "morning", "lantern", "harbour"] * 16)
    segments = segment_text(text, voice.split)
    params = SynthesisParams(voice.info.voices[0])
    chunks = [
        chunk.samples for segment in segments async for chunk in voice.synthesize(segment, params)
    ]
    loud = np.flatnonzero(np.abs(np.concatenate(chunks)) > SILENCE_LEVEL)
    assert len(segments) > 2
    assert np.diff(loud).max() / SAMPLE_RATE < 0.25


@pytest.mark.parametrize("lufs", [-16.0, -23.0])
async def test_whatever_it_says_has_the_loudness_that_is_set(lufs: float) -> None:
    model = FilteredModel(EmbeddedVoice(num_threads=2), lufs)
    await model.load()
    params = SynthesisParams(model.info.voices[0])
    for text in (
        "On Monday the committee approved a budget of twelve million dollars for the library.",
        "Wait! Stop! Come back here right now!",
        "She sells sea shells by the sea shore.",
    ):
        samples = [
            chunk.samples
            for segment in segment_text(text, model.split)
            async for chunk in model.synthesize(segment, params)
        ]
        spoken = np.concatenate(samples)
        assert measure_loudness(spoken, SAMPLE_RATE) == pytest.approx(lufs, abs=1.0)
        assert np.abs(spoken).max() < 0.9
    await model.close()


async def test_unloaded_it_cannot_speak() -> None:
    voice = EmbeddedVoice()
    with pytest.raises(SynthesisError):
        await anext(voice.synthesize(TextSegment(0, "Hi."), SynthesisParams(voice.info.voices[0])))


async def test_many_sentences_at_once_sound_as_they_do_alone(voice: EmbeddedVoice) -> None:
    sentences = [f"This is sentence number {number} of many." for number in range(12)]

    async def speak(text: str) -> np.ndarray:
        chunks = voice.synthesize(TextSegment(0, text), SynthesisParams(voice.info.voices[0]))
        return (await anext(chunks)).samples

    alone = [await speak(text) for text in sentences]
    together = await asyncio.gather(*(speak(text) for text in sentences))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@settings(max_examples=examples(200), deadline=None)
@given(
    st.integers(0, 20_000), st.integers(1, 5_000), st.integers(0, 20_000), st.sampled_from([0.5, 1])
)
def test_trimming_keeps_all_sound(lead: int, sound: int, trail: int, speed: float) -> None:
    samples = np.concatenate(
        [np.zeros(lead), np.full(sound, 0.5), np.zeros(trail)], dtype=np.float32, casting="unsafe"
    )
    trimmed = trim_silence(samples, speed, MAX_TRAILING_SILENCE_S)
    assert (trimmed == 0.5).sum() == sound
    assert len(trimmed) <= sound + (0.06 + 0.30) / speed * SAMPLE_RATE + 2


def test_trimming_leaves_pure_silence_alone() -> None:
    assert len(trim_silence(np.zeros(100, np.float32), 1.0, MAX_TRAILING_SILENCE_S)) == 100


PLAIN_TEXTS = (
    "King Charles met Queen Victoria.",
    "The answer is no.",
    "He ate a fig.",
    "The book I read",
    "Gen Z likes it.",
    "A USB Type C port.",
    "James Cameron called Mark Cuban.",
    "Sat down in March, never to rise",
)


def phonemes_of_words(voice: EmbeddedVoice, text: str) -> list[str]:
    """Of each word: what the package makes of the words alone, below its own reading."""
    tokens = voice._hibari.g2p.phonemize_tokens(voice._hibari.g2p.tokenize(text))
    return [token.text for token in tokens if token.phonemes and token.text.strip(".,!?")]


@pytest.mark.parametrize("text", PLAIN_TEXTS)
async def test_the_words_that_are_phonemized_are_the_words_that_were_written(
    voice: EmbeddedVoice, text: str
) -> None:
    (segment,) = segment_text(text, voice.split)
    assert segment.text == text
    assert phonemes_of_words(voice, segment.text) == re.findall(r"[A-Za-z']+", text)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("It cost $5.30 on May 5th.", "It cost five dollars thirty cents on May fifth."),
        ("Meet Dr. Lee at 9:05 p.m.", "Meet doctor Lee at nine oh five P M."),
        ("Run 12 km in -5 °C.", "Run twelve kilometers in minus five degrees Celsius."),
    ],
)
async def test_figures_sound_as_the_words_that_they_stand_for(
    voice: EmbeddedVoice, written: str, said: str
) -> None:
    (as_figures,) = segment_text(written, voice.split)
    (as_words,) = segment_text(said, voice.split)
    assert voice._hibari.g2p(as_figures.text, normalize_text=False) == voice._hibari.g2p(
        as_words.text, normalize_text=False
    )
