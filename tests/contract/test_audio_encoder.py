"""What every AudioEncoder keeps, for every format."""

import gc
import hashlib
import io
from itertools import pairwise

import av
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.adapters.encoding.encoders import StreamingEncoders
from app.adapters.encoding.ffmpeg import bit_rate_for
from app.domain.audio import AudioChunk, AudioEncoding, AudioFormat, choose_sample_rate, to_pcm16
from app.domain.errors import EncodingError, UnsupportedSampleRateError
from app.ports.audio_encoder import AudioEncoders
from tests.examples import examples
from tests.fakes.audio_encoder import FakeAudioEncoders
from tests.listening import CODEC_PADDING, decode_file, decode_pcm

MODEL_RATE = 32_000
FORMATS = list(AudioFormat)
ENCODERS: dict[str, AudioEncoders] = {"fake": FakeAudioEncoders(), "streaming": StreamingEncoders()}


@pytest.fixture(params=list(ENCODERS))
def encoders(request: pytest.FixtureRequest) -> AudioEncoders:
    return ENCODERS[request.param]


def encoding_for(audio_format: AudioFormat, asked: int | None = None) -> AudioEncoding:
    return AudioEncoding(audio_format, choose_sample_rate(audio_format, asked, MODEL_RATE))


def tone(num_samples: int) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 440 * np.arange(num_samples) / MODEL_RATE)).astype(np.float32)


def chunks_of(samples: np.ndarray, sizes: list[int]) -> list[AudioChunk]:
    borders = np.cumsum([0, *sizes])
    return [
        AudioChunk(samples[start:end], MODEL_RATE)
        for start, end in pairwise(borders)
        if end > start
    ]


def encode(
    encoders: AudioEncoders, encoding: AudioEncoding, chunks: list[AudioChunk]
) -> tuple[bytes, bytes]:
    """The file as streamed, and as corrected."""
    encoder = encoders.open(encoding, MODEL_RATE)
    body = b"".join([encoder.encode(chunk) for chunk in chunks]) + encoder.finish()
    head = encoder.head()
    return body, head + body[len(head) :]


@pytest.mark.parametrize("audio_format", FORMATS)
def test_bytes_leave_while_audio_still_comes(
    encoders: AudioEncoders, audio_format: AudioFormat
) -> None:
    encoder = encoders.open(encoding_for(audio_format), MODEL_RATE)
    early = [encoder.encode(AudioChunk(tone(MODEL_RATE), MODEL_RATE)) for _ in range(3)]
    assert all(early)
    assert encoder.finish() is not None


@pytest.mark.parametrize("audio_format", FORMATS)
def test_the_same_chunks_give_the_same_bytes(
    encoders: AudioEncoders, audio_format: AudioFormat
) -> None:
    chunks = chunks_of(tone(50_000), [20_000, 1, 29_999])
    encoding = encoding_for(audio_format)
    assert encode(encoders, encoding, chunks) == encode(encoders, encoding, chunks)


@pytest.mark.parametrize("audio_format", FORMATS)
def test_a_chunk_at_another_rate_is_an_error(
    encoders: AudioEncoders, audio_format: AudioFormat
) -> None:
    encoder = encoders.open(encoding_for(audio_format), MODEL_RATE)
    with pytest.raises(EncodingError):
        encoder.encode(AudioChunk(tone(100), 24_000))


@pytest.mark.parametrize("audio_format", [AudioFormat.MP3, AudioFormat.OPUS, AudioFormat.AAC])
def test_an_impossible_sample_rate_is_refused_at_once(
    encoders: AudioEncoders, audio_format: AudioFormat
) -> None:
    with pytest.raises(UnsupportedSampleRateError):
        encoders.open(AudioEncoding(audio_format, 7_777), MODEL_RATE)


@pytest.mark.parametrize("audio_format", FORMATS)
def test_dropping_an_encoder_frees_its_threads(
    encoders: AudioEncoders, audio_format: AudioFormat
) -> None:
    process = psutil.Process()
    encode(encoders, encoding_for(audio_format), chunks_of(tone(1_000), [1_000]))
    gc.disable()
    try:
        num_before = process.num_threads()
        for _ in range(10):
            encoder = encoders.open(encoding_for(audio_format), MODEL_RATE)
            encoder.encode(AudioChunk(tone(MODEL_RATE), MODEL_RATE))
            del encoder
        num_after = process.num_threads()
    finally:
        gc.enable()
    assert num_after < num_before + 5  # of the 20 that ten codecs have


def decode(body: bytes, encoding: AudioEncoding) -> tuple[np.ndarray, int, int]:
    """Samples as float32, sample rate in Hz, channels; raw samples have those of `encoding`."""
    if encoding.format is AudioFormat.PCM:
        return decode_pcm(body), encoding.sample_rate, 1
    raw = str(encoding.format) if encoding.format in (AudioFormat.MULAW, AudioFormat.ALAW) else None
    return decode_file(body, raw, encoding.sample_rate)


@pytest.mark.parametrize("audio_format", FORMATS)
@pytest.mark.parametrize("asked", [None, 16_000, 48_000])
def test_what_is_decoded_is_what_was_said(audio_format: AudioFormat, asked: int | None) -> None:
    encoding = encoding_for(audio_format, asked)
    body, whole = encode(
        StreamingEncoders(), encoding, chunks_of(tone(64_000), [10_000] * 6 + [4_000])
    )
    samples, rate, channels = decode(whole, encoding)
    assert channels == 1
    is_opus = audio_format in (AudioFormat.OPUS, AudioFormat.WEBM)
    assert rate == (48_000 if is_opus else encoding.sample_rate)
    assert len(samples) / rate == pytest.approx(2.0, abs=CODEC_PADDING / rate)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * rate / len(samples) == pytest.approx(440, abs=1)
    assert np.abs(samples).max() == pytest.approx(0.4, abs=0.06)
    assert len(body) == len(whole)


@pytest.mark.parametrize("audio_format", [AudioFormat.PCM, AudioFormat.WAV, AudioFormat.FLAC])
def test_lossless_formats_keep_the_exact_number_of_samples(audio_format: AudioFormat) -> None:
    _, whole = encode(
        StreamingEncoders(), encoding_for(audio_format), chunks_of(tone(32_000), [32_000])
    )
    samples, rate, _ = decode(whole, encoding_for(audio_format))
    assert len(samples) == rate


def test_a_streamed_wav_has_open_sizes_and_a_whole_one_exact_ones() -> None:
    encoding = encoding_for(AudioFormat.WAV)
    streamed, whole = encode(StreamingEncoders(), encoding, chunks_of(tone(1_000), [1_000]))
    assert streamed[4:8] == streamed[40:44] == b"\xff\xff\xff\xff"
    assert int.from_bytes(whole[4:8], "little") == len(whole) - 8
    assert int.from_bytes(whole[40:44], "little") == len(whole) - 44 == 2_000
    assert streamed[:4] == b"RIFF"
    assert streamed[44:] == whole[44:]


@pytest.mark.parametrize("num_samples", [0, 1, 2_304, 100_000])
def test_a_whole_flac_has_its_length_and_the_md5_of_its_samples(num_samples: int) -> None:
    samples = tone(num_samples)
    streamed, whole = encode(
        StreamingEncoders(), encoding_for(AudioFormat.FLAC), chunks_of(samples, [num_samples])
    )
    # RFC 9639, section 8.2: 36 bits of samples behind 28 others, and 16 bytes.
    assert int.from_bytes(whole[18:26]) & 0xF_FFFF_FFFF == num_samples
    assert whole[26:42] == hashlib.md5(to_pcm16(samples).tobytes()).digest()
    if num_samples > 2_304:  # of one frame all is known when the first byte leaves
        assert not int.from_bytes(streamed[18:26]) & 0xF_FFFF_FFFF
    assert (streamed[:8], streamed[42:]) == (whole[:8], whole[42:])


@pytest.mark.parametrize("num_samples", [1_024, 30_000, 100_000])
def test_an_m4a_tells_which_samples_are_those_that_were_said(num_samples: int) -> None:
    chunks = [AudioChunk(tone(num_samples), MODEL_RATE)]
    body, _ = encode(StreamingEncoders(), encoding_for(AudioFormat.M4A), chunks)
    with av.open(io.BytesIO(body), "r") as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        times = [(packet.pts or 0, packet.duration or 0) for packet in packets]
    assert times[0][0] == -1_024  # players leave out what is before 0
    assert sum(times[-1]) == num_samples


def test_an_mp3_is_as_long_as_its_bit_rate_says() -> None:
    body, _ = encode(
        StreamingEncoders(), encoding_for(AudioFormat.MP3), chunks_of(tone(200_000), [200_000])
    )
    samples, rate, _ = decode_file(body)
    assert len(body) * 8 / bit_rate_for(rate) == len(samples) / rate


def test_mp3_has_neither_tags_nor_an_information_frame() -> None:
    body, _ = encode(
        StreamingEncoders(), encoding_for(AudioFormat.MP3), chunks_of(tone(64_000), [64_000])
    )
    assert body[:2] == b"\xff\xfb"
    assert not any(mark in body for mark in (b"ID3", b"Xing", b"Info", b"TAG", b"LAVF"))


def test_joined_mp3_bodies_play_as_one() -> None:
    body, _ = encode(
        StreamingEncoders(), encoding_for(AudioFormat.MP3), chunks_of(tone(64_000), [64_000])
    )
    samples, rate, _ = decode_file(body * 3)
    assert len(samples) / rate == pytest.approx(6.0, abs=3 * CODEC_PADDING / rate)


@pytest.mark.parametrize(
    ("audio_format", "mark"),
    [
        (AudioFormat.MP3, b"\xff\xfb"),
        (AudioFormat.OPUS, b"OggS"),
        (AudioFormat.AAC, b"\xff\xf1"),
        (AudioFormat.FLAC, b"fLaC"),
        (AudioFormat.WAV, b"RIFF"),
        (AudioFormat.WEBM, b"\x1aE\xdf\xa3"),
        (AudioFormat.M4A, b"\0\0\0\x1cftypM4A "),
    ],
)
def test_a_container_is_recognizable_by_its_first_bytes(
    audio_format: AudioFormat, mark: bytes
) -> None:
    body, _ = encode(
        StreamingEncoders(), encoding_for(audio_format), chunks_of(tone(5_000), [5_000])
    )
    assert body.startswith(mark)


def test_full_scale_and_beyond_is_clipped_in_every_format() -> None:
    loud = chunks_of(np.float32(3.0) * tone(32_000), [32_000])
    for audio_format in (AudioFormat.PCM, AudioFormat.WAV, AudioFormat.FLAC):
        _, whole = encode(StreamingEncoders(), encoding_for(audio_format), loud)
        samples, _, _ = decode(whole, encoding_for(audio_format))
        steps = np.abs(np.diff(samples))
        assert steps.max() < 0.5, f"{audio_format} wrapped around"


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.integers(0, 5_000), min_size=1, max_size=12),
    st.sampled_from([None, 8_000, 24_000, 44_100]),
)
def test_pcm_does_not_depend_on_where_chunks_end(sizes: list[int], asked: int | None) -> None:
    samples = tone(sum(sizes) + 1)
    encoding = encoding_for(AudioFormat.PCM, asked)
    once, _ = encode(StreamingEncoders(), encoding, chunks_of(samples, [len(samples)]))
    often, _ = encode(StreamingEncoders(), encoding, chunks_of(samples, [*sizes, 1]))
    difference = np.frombuffer(once, "<i2").astype(int) - np.frombuffer(often, "<i2").astype(int)
    assert np.abs(difference).max(initial=0) <= 1
