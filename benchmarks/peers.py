"""`python -m benchmarks.peers`: parts of this server beside what else could do their work.

Our language model in int8 beside llama.cpp's in Q8_0, with the same checkpoint and threads; and the
embedded voice over HTTP beside the same calls without a server. Both of a pair take turns.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from app.adapters.speech.cores import count_cores
from app.adapters.speech.embedded_voice import EmbeddedVoice
from app.adapters.speech.soprano.checkpoint.checkpoint import Checkpoint
from app.adapters.speech.soprano.onnx.model_graphs import MAX_POSITIONS
from app.adapters.speech.soprano.onnx.sessions import open_language_model
from app.domain.audio import PCM_SAMPLE_RATE, to_pcm16
from app.domain.errors import ModelLoadError
from app.domain.speech import SynthesisParams
from app.domain.text.front_end import segment_text
from app.entrypoints.bootstrap.commands import build_checkpoint_graphs, check_checkpoint
from app.entrypoints.settings import ModelSettings
from benchmarks.report import Table
from benchmarks.results import MS_PER_S
from benchmarks.scenarios import iterate_sentences
from benchmarks.targets import BYTES_PER_SAMPLE, HOST, TargetError, serving

ROWS: Final = (1, 4, 8, 16)
NUM_PROMPT_TOKENS: Final = 64
NUM_STEPS: Final = 40  # of each number of rows, per round
SETTLE_S: Final = 0.3  # until the threads of one rest, before the other's turn
MIN_COSINE: Final = 0.98  # of the logits: both are rounded to 8 bits, differently

CLIENTS: Final = (1, 4, 16)
READ_BYTES: Final = 1_048_576  # that a client holds: a whole answer
PERIOD_S: Final = 4.0  # of each number of clients, per round

ROUNDS: Final = 3

# Names of a layer's tensors in a GGUF file, by those of a checkpoint.
LAYER_NAMES: Final = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

Logits = NDArray[np.float32]  # (rows, vocabulary)


@click.command()
@click.option("--model", required=True, help="Directory of a checkpoint, or a cached repo.")
def peers(model: str) -> None:
    """Print both comparisons as Markdown."""
    click.echo(asyncio.run(compare_voices()).markdown())
    try:
        import llama_cpp  # noqa: F401
    except ImportError as error:
        message = "The language models were not compared: pip install '.[bench-peers]'."
        raise click.ClickException(message) from error
    try:
        checkpoint = check_checkpoint(model, None)
        graphs = build_checkpoint_graphs(model, ModelSettings(precision="int8"))
    except ModelLoadError as error:
        raise click.ClickException(str(error)) from error
    with TemporaryDirectory() as directory:
        file = Path(directory) / "language_model.gguf"
        write_gguf(checkpoint, file)
        click.echo(f"\n{compare_language_models(checkpoint, graphs, file).markdown()}")


def write_gguf(checkpoint: Checkpoint, path: Path) -> None:
    """The language model as llama.cpp reads it: matrices in Q8_0, norms in float32."""
    from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, quants

    shape = checkpoint.language_model
    writer = GGUFWriter(path, "qwen3")
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(MAX_POSITIONS)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.num_layers)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_heads)
    writer.add_head_count_kv(shape.num_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("none")
    kind = GGMLQuantizationType.Q8_0
    for name, tensor in checkpoint.load_language_model().items():
        if tensor.ndim == 1:
            writer.add_tensor(_gguf_name(name), tensor)
        else:
            writer.add_tensor(_gguf_name(name), quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_name(name: str) -> str:
    outer = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm"}
    if name in outer:
        return f"{outer[name]}.weight"
    if name == "lm_head.weight":
        return "output.weight"
    _, _, layer, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[part]}.weight"


class OurLanguageModel:
    """Rows that decode together, on ONNX Runtime."""

    def __init__(self, checkpoint: Checkpoint, graphs: Path) -> None:
        cores = count_cores()
        with ThreadPoolExecutor(1) as pool:
            self._model = open_language_model(
                pool, graphs, checkpoint.language_model, max(ROWS), cores, cores
            )

    def prefill(self, row: int, tokens: Sequence[int]) -> Logits:
        """The logits of the last token of a prompt."""
        return self._model.prefill(row, tokens, 0)[1]

    def decode(self, tokens: list[int], position: int) -> Logits:
        """The logits of a step of the first rows."""
        return self._model.decode(0, tokens, [position] * len(tokens))[1]


class LlamaLanguageModel:
    """Rows that decode together, on llama.cpp."""

    def __init__(self, path: Path) -> None:
        import llama_cpp

        self._llama: Any = llama_cpp
        self._silent = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._silent, None)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = max(ROWS) * MAX_POSITIONS
        params.n_seq_max = max(ROWS)
        params.n_threads = params.n_threads_batch = count_cores()
        model_params = llama_cpp.llama_model_default_params()
        model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
        self._context = llama_cpp.llama_init_from_model(model, params)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self._batch = llama_cpp.llama_batch_init(NUM_PROMPT_TOKENS, 0, 1)

    def prefill(self, row: int, tokens: Sequence[int]) -> Logits:
        """The logits of the last token of a prompt."""
        memory = self._llama.llama_get_memory(self._context)
        self._llama.llama_memory_seq_rm(memory, row, 0, -1)
        last = len(tokens) - 1
        return self._run([(token, at, row, at == last) for at, token in enumerate(tokens)])

    def decode(self, tokens: list[int], position: int) -> Logits:
        """The logits of a step of the first rows."""
        return self._run([(token, position, row, True) for row, token in enumerate(tokens)])

    def _run(self, entries: Sequence[tuple[int, int, int, bool]]) -> Logits:
        batch = self._batch
        batch.n_tokens = len(entries)
        for index, (token, position, row, has_logits) in enumerate(entries):
            batch.token[index], batch.pos[index] = token, position
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
            batch.logits[index] = has_logits
        if self._llama.llama_decode(self._context, batch):
            raise click.ClickException("llama.cpp could not compute a step.")
        num_outputs = sum(entry[3] for entry in entries)
        logits = self._llama.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (num_outputs, self._vocab_size))


def compare_language_models(checkpoint: Checkpoint, graphs: Path, gguf: Path) -> Table:
    """Median milliseconds of a prompt, and of a step by its number of rows."""
    models: dict[str, OurLanguageModel | LlamaLanguageModel] = {
        "ours, int8": OurLanguageModel(checkpoint, graphs),
        "llama.cpp, Q8_0": LlamaLanguageModel(gguf),
    }
    vocab_size = checkpoint.language_model.vocab_size
    prompt = np.random.default_rng(0).integers(vocab_size, size=NUM_PROMPT_TOKENS).tolist()
    ours, theirs = (model.prefill(0, prompt)[0].copy() for model in models.values())
    cosine = float(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs))
    if cosine < MIN_COSINE:
        raise click.ClickException(f"The two compute different logits (cosine {cosine:.3f}).")
    times: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for _, num_rows, (name, model) in product(range(ROUNDS), ROWS, models.items()):
        for row in range(num_rows):
            times[name, 0].append(_time_s(partial(model.prefill, row, prompt)))
        for position in range(NUM_PROMPT_TOKENS, NUM_PROMPT_TOKENS + NUM_STEPS):
            step = partial(model.decode, prompt[:num_rows], position)
            times[name, num_rows].append(_time_s(step))
        time.sleep(SETTLE_S)
    titles = {0: f"prompt of {NUM_PROMPT_TOKENS} tokens"} | {
        num: f"step, rows: {num}" for num in ROWS
    }
    rows = []
    for num, title in titles.items():
        ours_ms, theirs_ms = (MS_PER_S * median(times[name, num]) for name in models)
        rows.append((title, f"{ours_ms:.2f}", f"{theirs_ms:.2f}", f"{ours_ms / theirs_ms:.2f}"))
    return Table("Language model, ms", ("", *models, "ours / llama.cpp"), rows)


def _time_s(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Clients:
    """Clients of a server. Each keeps its connection and hardly looks at what comes.

    They share the processor with the server, so what they compute it lacks.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def speak(self, text: str) -> float:
        """Seconds of audio; raises TargetError for another status than 200."""
        connection = self._idle.pop() if self._idle else await self._connect()
        reader, writer = connection
        body = msgspec.json.encode({"input": text, "response_format": "pcm"})
        writer.write(
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise TargetError(head.decode())
        num_bytes = 0
        while size := int(await reader.readline(), 16):  # of a chunk; the last one is empty
            await reader.readexactly(size + len(b"\r\n"))
            num_bytes += size
        await reader.readline()
        self._idle.append(connection)
        return num_bytes / BYTES_PER_SAMPLE / PCM_SAMPLE_RATE

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(HOST, self._port, limit=READ_BYTES)


async def compare_voices() -> Table:
    """Seconds of audio per second by the number of clients; medians over the rounds."""
    voice = EmbeddedVoice()
    await voice.load()

    async def in_process(text: str) -> float:
        params = SynthesisParams(voice.info.voices[0])
        audio_s = 0.0
        for segment in segment_text(text, voice.split):
            async for chunk in voice.synthesize(segment, params):
                to_pcm16(chunk.samples).tobytes()  # as the server does
                audio_s += chunk.duration_s
        return audio_s

    with TemporaryDirectory() as name:
        directory = Path(name)
        config = directory / "peers.toml"
        config.write_text("[cache]\nmax_bytes = 0\n")
        options = ("--config", str(config), "--log-level", "warning", "--host", HOST, "--port")
        arguments = ("app", "serve", "--backend", "embedded", *options)
        async with serving("embedded", arguments, "/health/ready", directory) as server:
            ways = {"in process": in_process, "over HTTP": Clients(server.port).speak}
            speeds: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
            for _, num, (way, speak) in product(range(ROUNDS), CLIENTS, ways.items()):
                speeds[way, num].append(await _speed(speak, num))
    await voice.close()
    rows = []
    for num in CLIENTS:
        direct, served = (median(speeds[way, num]) for way in ways)
        rows.append((str(num), f"{direct:.1f}", f"{served:.1f}", f"{served / direct:.3f}"))
    title = "Embedded voice, seconds of audio per second"
    return Table(title, ("clients", *ways, "over HTTP / in process"), rows)


async def _speed(speak: Callable[[str], Awaitable[float]], num_clients: int) -> float:
    """Of clients that ask for one sentence after the other."""
    sentences = iterate_sentences()
    started = time.perf_counter()

    async def ask() -> float:
        audio_s = 0.0
        while time.perf_counter() - started < PERIOD_S:
            audio_s += await speak(next(sentences))
        return audio_s

    audio_s = sum(await asyncio.gather(*(ask() for _ in range(num_clients))))
    return audio_s / (time.perf_counter() - started)


if __name__ == "__main__":
    peers()
