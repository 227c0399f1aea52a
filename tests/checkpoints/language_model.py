"""A language model with random layers that says a known chain of tokens, or something of its own.

Each row of the embedding is a random code. The layers add to it what they compute from text and
positions, about half as large. The head is random too, except that a token of the chain answers to
the code of the one before it: [START], tokens drawn by lot, [STOP].

Without a chain the tokens stand in a row of crowds. The code of a token has a part that its crowd
shares, and to that part the same crowd and the next two answer alike; which of their tokens is said
is left to the random head, so it depends on all that was read and said. [STOP] follows the last
crowd: it comes sooner or later, but it comes.
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from tests.checkpoints.tokenizer import START, STOP

LOOP_TOKENS = 48
"""Tokens of a loop: 46 small steps between hidden states; the package's detector wants 17."""

_CHAIN_LOGIT = 20.0
"""Logit of the next token before what the layers add; the best of all others comes near 4.

The repetition penalty leaves 1/1.2 of it ([STOP] is in the prompt), so that sampling follows the
chain even at a temperature of 1.
"""

_SECOND = np.float32(0.999)
"""Logit of the second likeliest token as a part of that of the likeliest: two in a hundred less."""

_LOOP_SHARED, _LOOP_OWN = 0.98, 0.16
"""Parts of a looping token's embedding: one that all share, and its own, which the head reads."""

_CROWD_SHARED, _CROWD_OWN = 0.5, 0.25
"""Parts of the embedding of a token in a crowd. The first pulls at the next crowds; the second is
less than what the layers add, so that the text counts for more than the last token."""

MAX_CROWD_SIZE = 32
"""So few that a token is often about to be said again, and the repetition penalty decides."""

_CROWDS_AHEAD = 2
"""How far the next token may be from the crowd of this one."""

_ATTENTION_GAIN, _MLP_GAIN = 0.9, 0.9
"""Sizes of what the layers add to an embedding of size 1, were nothing averaged out on the way."""

_FINAL_NORM = (1.2, 2.0)
"""Range of the final norm's weights: neighbouring hidden states are then about 900 apart in L1."""


class CheckpointSize(msgspec.Struct, frozen=True, kw_only=True):
    """Shape of the language model; the hidden size is what the decoder takes."""

    vocab_size: int
    num_layers: int
    mlp_size: int
    num_heads: int = 4
    num_kv_heads: int = 1
    head_dim: int = 128
    hidden_size: int = 512
    rope_theta: float = 10_000.0


TINY = CheckpointSize(vocab_size=640, num_layers=2, mlp_size=128)
FULL = CheckpointSize(vocab_size=8_192, num_layers=17, mlp_size=2_304)
"""Soprano-1.1-80M."""


class Chain(msgspec.Struct, frozen=True):
    """What the model says.

    Attributes:
        links: of an id and the one after it.
        looping: ids that sound alike.
        second: an id that is a little less likely than another one after the same id.
    """

    links: Sequence[tuple[int, int]]
    looping: Sequence[int]
    second: int | None = None


class Crowds(msgspec.Struct, frozen=True):
    """What the model may say: ids of each crowd, first to last."""

    members: Sequence[Sequence[int]]


def draw_crowds(rng: np.random.Generator, audio_ids: range, *, num_crowds: int) -> Crowds:
    """Different ids in random order."""
    size = min(MAX_CROWD_SIZE, len(audio_ids) // num_crowds)
    said = rng.choice(audio_ids, (num_crowds, size), replace=False)
    return Crowds(said.tolist())


def draw_chain(
    rng: np.random.Generator,
    audio_ids: range,
    *,
    num_tokens: int,
    num_looping: int,
    never_stops: bool,
    loops_greedily: bool,
) -> Chain:
    """Different ids in random order, the looping ones last, or instead of the others."""
    said = rng.choice(audio_ids, num_tokens, replace=False).tolist()
    looping = said[num_tokens - num_looping :]
    if loops_greedily:
        words = said[: num_tokens - num_looping]
        links = [*pairwise([START, *looping, STOP]), *pairwise([START, *words, STOP])]
        return Chain(links, looping, words[0])
    after = said[0] if never_stops else STOP
    return Chain(list(pairwise([START, *said, after])), looping)


def build_language_model(
    rng: np.random.Generator, size: CheckpointSize, says: Chain | Crowds
) -> dict[str, NDArray[np.float32]]:
    """All tensors under the names of `Qwen3ForCausalLM`, float32."""
    if isinstance(says, Crowds):
        own = np.zeros((size.hidden_size, 0), np.float32)
        embedding, directions = _link_crowds(rng, size, says)
    else:
        axes = _axes(rng, size, 1 + len(says.looping))
        own = axes[:, 1:]
        embedding, directions = _link(rng, size, says, axes[:, 0], own)
    final_norm = _uniform(rng, size.hidden_size, *_FINAL_NORM)
    tensors = {
        "model.embed_tokens.weight": embedding,
        "model.norm.weight": final_norm,
        "lm_head.weight": directions * np.float32(_CHAIN_LOGIT / size.hidden_size) / final_norm,
    }
    for index in range(size.num_layers):
        prefix = f"model.layers.{index}."
        tensors |= {prefix + name: tensor for name, tensor in _layer(rng, size, own).items()}
    return tensors


def _axes(rng: np.random.Generator, size: CheckpointSize, count: int) -> NDArray[np.float32]:
    """Directions at right angles, (hidden_size, count)."""
    axes: NDArray[np.float32] = np.linalg.qr(
        rng.standard_normal((size.hidden_size, count), np.float32)
    ).Q
    return axes


def _link_crowds(
    rng: np.random.Generator, size: CheckpointSize, crowds: Crowds
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings, and the directions that the head answers to; both (vocab_size, hidden_size)."""
    shape = size.vocab_size, size.hidden_size
    embedding = rng.standard_normal(shape, np.float32)
    directions = rng.standard_normal(shape, np.float32)
    codes = _axes(rng, size, len(crowds.members)).T * np.float32(size.hidden_size**0.5)
    directions[STOP] = codes[-1]
    # [START] pulls as the first crowd does.
    for index, members in enumerate([[START, *crowds.members[0]], *crowds.members[1:]]):
        embedding[members] = _CROWD_SHARED * codes[index] + _CROWD_OWN * embedding[members]
        if index < len(crowds.members) - 1:
            following = crowds.members[index : index + _CROWDS_AHEAD + 1]
            directions[[token for crowd in following for token in crowd]] += codes[index]
    return embedding, directions


def _link(
    rng: np.random.Generator,
    size: CheckpointSize,
    chain: Chain,
    shared: NDArray[np.float32],
    own: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings, and the directions that the head answers to; both (vocab_size, hidden_size)."""
    shape = size.vocab_size, size.hidden_size
    embedding = _kept_off(own, rng.standard_normal(shape, np.float32).T).T
    directions = rng.standard_normal(shape, np.float32)
    answers = embedding.copy()
    unit = np.float32(size.hidden_size**0.5)
    embedding[chain.looping] = unit * (_LOOP_SHARED * shared + _LOOP_OWN * own.T)
    answers[chain.looping] = unit / _LOOP_OWN * own.T
    directions[[following for _, following in chain.links]] = 0.0
    for token, following in chain.links:
        directions[following] += answers[token]
    if chain.second is not None:
        directions[chain.second] *= _SECOND
    return embedding, directions


def _layer(
    rng: np.random.Generator, size: CheckpointSize, own: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    hidden, mlp = size.hidden_size, size.mlp_size
    query, key = size.num_heads * size.head_dim, size.num_kv_heads * size.head_dim
    share = (2 * size.num_layers) ** -0.5
    attended = _linear(rng, hidden, query, _ATTENTION_GAIN * share)
    computed = _linear(rng, hidden, mlp, _MLP_GAIN * share)
    return {
        "input_layernorm.weight": _uniform(rng, hidden, 0.8, 1.2),
        "self_attn.q_proj.weight": _linear(rng, query, hidden),
        "self_attn.k_proj.weight": _linear(rng, key, hidden),
        "self_attn.v_proj.weight": _linear(rng, key, hidden),
        "self_attn.o_proj.weight": _kept_off(own, attended),
        "self_attn.q_norm.weight": _uniform(rng, size.head_dim, 0.8, 1.6),
        "self_attn.k_norm.weight": _uniform(rng, size.head_dim, 0.8, 1.6),
        "post_attention_layernorm.weight": _uniform(rng, hidden, 0.8, 1.2),
        "mlp.gate_proj.weight": _linear(rng, mlp, hidden),
        "mlp.up_proj.weight": _linear(rng, mlp, hidden),
        "mlp.down_proj.weight": _kept_off(own, computed),
    }


def _kept_off(own: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same weights without output along the axes that tell looping tokens apart.

    Those signals are small, and the head has to amplify them; it would amplify the rest as well.
    """
    return weights - own @ (own.T @ weights)


def _linear(
    rng: np.random.Generator, rows: int, columns: int, gain: float = 1.0
) -> NDArray[np.float32]:
    """Weights that turn values of size 1 into values of size `gain`."""
    return rng.standard_normal((rows, columns), np.float32) * np.float32(gain / columns**0.5)


def _uniform(rng: np.random.Generator, length: int, low: float, high: float) -> NDArray[np.float32]:
    return rng.uniform(low, high, length).astype(np.float32)
