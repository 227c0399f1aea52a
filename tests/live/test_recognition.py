"""The speech says what was asked: a recogniser writes it down again."""

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

pytestmark = [pytest.mark.live, pytest.mark.slow]

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


def word_error_rate(server: ServerProcess, recogniser: Decoder, audio_format: str) -> float:
    written = []
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        for sentence in SENTENCES:
            answer = client.audio.speech.create(
                model="tts-1",
                voice="alloy",
                input=sentence,
                response_format=audio_format,  # type: ignore[arg-type]
            )
            samples, rate, _ = decode_file(answer.read())
            written.append(transcribe(recogniser, samples, rate))
    said = [sentence.lower().rstrip(".") for sentence in SENTENCES]
    return float(jiwer.wer(said, written))


def test_ten_sentences_are_understood_and_compression_does_not_harm_them(
    server: ServerProcess, recogniser: Decoder, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = {name: word_error_rate(server, recogniser, name) for name in ("wav", "mp3", "opus")}
    with capsys.disabled():
        print("\nword error rate:", ", ".join(f"{k} {v:.3f}" for k, v in rates.items()))
    assert rates["wav"] <= 0.25
    assert rates["mp3"] <= rates["wav"] + 0.05
    assert rates["opus"] <= rates["wav"] + 0.05
