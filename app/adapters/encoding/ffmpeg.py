"""Compressed formats through FFmpeg's libraries, written to a stream that cannot seek.

No ID3 tag, no Xing frame, no encoder name: files can be joined, and the same samples give the same
bytes.
"""

import weakref
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.domain.audio import AudioFormat, to_pcm16
from app.domain.errors import EncodingError


class Codec(msgspec.Struct, frozen=True):
    """How FFmpeg writes a format."""

    muxer: str  # FFmpeg's name of the container
    encoder: str  # FFmpeg's name of the encoder
    sample_format: str  # the encoder's input: `flt`, `fltp` or `s16`
    sample_rates: tuple[int, ...] = ()  # that the format can hold, in Hz; empty for any
    muxer_options: dict[str, str] = {}  # see FFmpeg's documentation of the muxer
    encoder_options: dict[str, str] = {}  # see FFmpeg's documentation of the encoder


_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_OPUS_OPTIONS = {"application": "audio", "frame_duration": "20"}
_MPEG_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

# The other coder (twoloop) takes three times as long, has a lower signal-to-noise ratio on speech
# (23.5 against 24.4 dB at 64 kbit/s) and doubles the peak of a sudden onset.
_AAC_OPTIONS = {"aac_coder": "fast"}

CODECS: Final = {
    AudioFormat.MP3: Codec(
        muxer="mp3",
        encoder="libmp3lame",
        sample_format="fltp",
        sample_rates=_MPEG_RATES,
        muxer_options={"write_xing": "0", "id3v2_version": "0"},
        # LAME's quality 7 of 9 takes half as long as its own choice (3), which would cost more than
        # the embedded voice itself. PESQ (ITU-T P.862.2) of speech at 24 and 32 kHz: 4.41, 4.56
        # against 4.38, 4.59.
        encoder_options={"compression_level": "7"},
    ),
    AudioFormat.OPUS: Codec(
        muxer="ogg",
        encoder="libopus",
        sample_format="flt",
        sample_rates=_OPUS_RATES,
        # A page per 100 ms instead of one per second: the first bytes of sound leave sooner.
        muxer_options={"page_duration": "100000"},
        encoder_options=_OPUS_OPTIONS,
    ),
    AudioFormat.AAC: Codec(
        muxer="adts",
        encoder="aac",
        sample_format="fltp",
        sample_rates=_MPEG_RATES,
        encoder_options=_AAC_OPTIONS,
    ),
    AudioFormat.M4A: Codec(
        muxer="ipod",
        encoder="aac",
        sample_format="fltp",
        sample_rates=_MPEG_RATES,
        # A fragment per 100 ms, so that it can be streamed. The index waits for the first packet,
        # which says how many samples a player leaves out because the codec begins with silence.
        muxer_options={"movflags": "delay_moov+default_base_moof", "frag_duration": "100000"},
        encoder_options=_AAC_OPTIONS,
    ),
    AudioFormat.FLAC: Codec(muxer="flac", encoder="flac", sample_format="s16"),
    AudioFormat.WEBM: Codec(
        muxer="webm",
        encoder="libopus",
        sample_format="flt",
        sample_rates=_OPUS_RATES,
        # A cluster per 100 ms; else the first one is kept until it has 5 s.
        muxer_options={"cluster_time_limit": "100", "live": "1"},
        encoder_options=_OPUS_OPTIONS,
    ),
    AudioFormat.MULAW: Codec(muxer="mulaw", encoder="pcm_mulaw", sample_format="s16"),
    AudioFormat.ALAW: Codec(muxer="alaw", encoder="pcm_alaw", sample_format="s16"),
}

_BIT_RATES: Final = ((12_000, 32_000), (24_000, 80_000), (48_000, 96_000))
"""(highest sample rate in Hz, bit/s): transparent for one voice; low rates cannot hold more."""


def bit_rate_for(sample_rate: int) -> int:
    """Constant bit rate in bit/s of a lossy mono stream."""
    return next(bit_rate for highest, bit_rate in _BIT_RATES if sample_rate <= highest)


class FfmpegWriter:
    """One compressed file; dropping it frees the codec. Raises EncodingError without a codec."""

    def __init__(self, codec: Codec, sample_rate: int) -> None:
        import av

        self._sample_rate = sample_rate
        self._sample_format = codec.sample_format
        self._num_samples = 0
        self._stream_info = b""
        self._sink = _Sink()
        options = {"fflags": "+bitexact", **codec.muxer_options}
        try:
            self._container = av.open(self._sink, "w", format=codec.muxer, options=options)
            self._stream: Any = self._container.add_stream(
                codec.encoder, rate=sample_rate, options=dict(codec.encoder_options)
            )
        except (av.error.FFmpegError, ValueError) as error:
            raise EncodingError(f"This server cannot write {codec.muxer} audio.") from error
        # An open container and its stream hold each other, with two threads and up to 7 MB.
        weakref.finalize(self, self._container.close)
        context: Any = self._stream.codec_context
        context.layout = "mono"
        context.format = codec.sample_format
        context.flags |= av.codec.context.Flags.bitexact
        if codec.sample_format != "s16":  # the lossy ones
            context.bit_rate = bit_rate_for(sample_rate)

    def write(self, samples: NDArray[np.float32]) -> bytes:
        """Encode (num_samples,) float32; the bytes that are ready."""
        import av

        data = to_pcm16(samples) if self._sample_format == "s16" else np.clip(samples, -1, 1)
        frame = av.AudioFrame.from_ndarray(
            data[np.newaxis], format=self._sample_format, layout="mono"
        )
        frame.sample_rate = self._sample_rate
        frame.pts = self._num_samples
        self._num_samples += len(samples)
        self._mux(frame)
        return self._sink.take()

    def finish(self) -> bytes:
        """The codec's last packets and the container's end."""
        self._mux(None)
        self._container.close()
        return self._sink.take()

    def head(self) -> bytes:
        """Of FLAC, its beginning with the number of samples and their MD5; else nothing.

        MP3 needs none: its frames have one bit rate, so the size of the file tells its length.
        Pages of Ogg and fragments of M4A count samples themselves.
        """
        # RFC 9639, section 8: a marker, then the header of a block of 34 bytes, and the block.
        return b"fLaC\0\0\0\x22" + self._stream_info if self._stream_info else b""

    def _mux(self, frame: Any) -> None:
        import av

        try:
            packets = self._stream.encode(frame)
            for packet in packets:
                if packet.has_sidedata("new_extradata"):  # the last one of FLAC
                    self._stream_info = bytes(packet.get_sidedata("new_extradata"))
            self._container.mux(packets)
        except av.error.FFmpegError as error:
            raise EncodingError("The audio could not be encoded.") from error


class _Sink:
    """A file without a beginning to go back to: FFmpeg writes, `take` empties."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        return taken
