"""The speech says what was asked: a recogniser writes it down again."""

from collections.abc import Iterable

import jiwer
import numpy as np
import openai
import pytest
import soxr
from numpy.typing import NDArray
from pocketsphinx import Decoder

from app.domain.audio import to_pcm16
from tests.listening import decode_file
from tests.serving import ServerProcess

RECOGNISER_RATE = 16_000
SENTENCES = (
    "The weather is beautiful today.",
    "She opened the door and walked into the room.",
    "I would like a cup of coffee please.",
    "The children are playing in the garden.",
    "He read the letter twice before he answered.",
    "The train leaves at seven o'clock in the evening.",
    "My brother works in a large hospital.",
    "They have lived in this house for twenty years.",
    "The river runs through the middle of the city.",
    "You can find the book on the table.",
)


AS_WRITTEN_AND_AS_SAID = (
    ("The meeting is on May 5th.", "The meeting is on May fifth."),
    ("It cost $5.30.", "It cost five dollars thirty cents."),
    ("The train leaves at 9:05 a.m.", "The train leaves at nine oh five a m."),
    ("He ran 12 km in the rain.", "He ran twelve kilometers in the rain."),
    ("About 50% of them came.", "About fifty percent of them came."),
    ("She was born in 1984.", "She was born in nineteen eighty four."),
    ("They sold 1,984 books.", "They sold one thousand nine hundred eighty four books."),
    ("Read pages 10-20 tonight.", "Read pages ten to twenty tonight."),
    ("It is -5 °C outside.", "It is minus five degrees Celsius outside."),
    ("The box weighs 3 kg.", "The box weighs three kilograms."),
    ("Open the door at 13:00.", "Open the door at thirteen hundred."),
    ("We need 1/2 cup of milk.", "We need one half cup of milk."),
    ("Dr. Brown lives on Elm St.", "Doctor Brown lives on Elm Street."),
    ("The 21st of June was warm.", "The twenty first of June was warm."),
    ("They raised $3.5 million.", "They raised three point five million dollars."),
    ("Call 555-0123 for help.", "Call five five five, zero one two three for help."),
    ("Chapter IV is short.", "Chapter four is short."),
    ("The speed was 100 km/h.", "The speed was one hundred kilometers per hour."),
    ("He paid 20€ for it.", "He paid twenty euros for it."),
    ("In the 1990s it was new.", "In the nineteen nineties it was new."),
    ("The room is 4.5 m wide.", "The room is four point five meters wide."),
    ("Flight 007 is late.", "Flight zero zero seven is late."),
    ("He is 6 ft. tall.", "He is six feet tall."),
    ("The file has 10 MB.", "The file has ten megabytes."),
    ("Add 250 g of flour.", "Add two hundred fifty grams of flour."),
    ("Wait 4-6 weeks for it.", "Wait four to six weeks for it."),
    ("The score was 3:2.", "The score was three to two."),
    ("World War II ended in 1945.", "World War two ended in nineteen forty five."),
    ("Take 2 tablets at 8 p.m.", "Take two tablets at eight p m."),
    ("It was 72 °F on Sat.", "It was seventy two degrees Fahrenheit on Saturday."),
    ("Prof. Lee has 3 sons.", "Professor Lee has three sons."),
    ("The bill was £40.", "The bill was forty pounds."),
    ("On 3/14/2015 it rained.", "On March fourteenth twenty fifteen it rained."),
    ("There were 10 000 people.", "There were ten thousand people."),
    ("She won 1st prize.", "She won first prize."),
    ("It takes 90 min. to get there.", "It takes ninety minutes to get there."),
    ("The lake is 30 m deep.", "The lake is thirty meters deep."),
    ("No. 5 is alive.", "Number five is alive."),
    ("The shop is open 24/7.", "The shop is open twenty four seven."),
    ("He owes me $20.", "He owes me twenty dollars."),
)

MAX_MORE_ERRORS = 0.03


@pytest.fixture(scope="module")
def recogniser() -> Decoder:
    return Decoder(samprate=RECOGNISER_RATE, loglevel="FATAL")


def transcribe(recogniser: Decoder, samples: NDArray[np.float32], rate: int) -> str:
    pause = np.zeros(RECOGNISER_RATE // 5, np.float32)
    heard = np.concatenate([pause, soxr.resample(samples, rate, RECOGNISER_RATE), pause])
    recogniser.start_utt()
    recogniser.process_raw(to_pcm16(heard).tobytes(), full_utt=True)
    recogniser.end_utt()
    hypothesis = recogniser.hyp()
    return str(hypothesis.hypstr) if hypothesis else ""


def heard(
    server: ServerProcess, recogniser: Decoder, sentences: Iterable[str], audio_format: str
) -> list[str]:
    """What the recogniser writes down of each sentence."""
    written = []
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        for sentence in sentences:
            answer = client.audio.speech.create(
                model="tts-1",
                voice="alloy",
                input=sentence,
                response_format=audio_format,  # type: ignore[arg-type]
            )
            samples, rate, _ = decode_file(answer.read())
            written.append(transcribe(recogniser, samples, rate))
    return written


def words_of(sentence: str) -> str:
    return sentence.lower().replace("-", " ").rstrip(".")


def word_error_rate(server: ServerProcess, recogniser: Decoder, audio_format: str) -> float:
    said = [words_of(sentence) for sentence in SENTENCES]
    return float(jiwer.wer(said, heard(server, recogniser, SENTENCES, audio_format)))


def test_ten_sentences_are_understood_and_compression_does_not_harm_them(
    server: ServerProcess, recogniser: Decoder, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = {name: word_error_rate(server, recogniser, name) for name in ("wav", "mp3", "opus")}
    with capsys.disabled():
        print("\nword error rate:", ", ".join(f"{k} {v:.3f}" for k, v in rates.items()))
    assert rates["wav"] <= 0.25
    assert rates["mp3"] <= rates["wav"] + 0.05
    assert rates["opus"] <= rates["wav"] + 0.05


def test_figures_are_understood_as_well_as_the_words_that_they_stand_for(
    server: ServerProcess, recogniser: Decoder, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [words_of(words) for _, words in AS_WRITTEN_AND_AS_SAID]
    rates = [
        float(jiwer.wer(said, heard(server, recogniser, sentences, "wav")))
        for sentences in zip(*AS_WRITTEN_AND_AS_SAID, strict=True)
    ]
    with capsys.disabled():
        print(f"\nword error rate: {rates[0]:.3f} as written, {rates[1]:.3f} as said")
    assert rates[0] <= rates[1] + MAX_MORE_ERRORS
