"""Which hidden states to decode when, so that pieces join to exactly the whole.

T hidden states are T-1 tokens of audio: token i is the 2048 samples between states i and i+1. A
sample depends on 11 decoder frames to either side (8 blocks of a kernel of 3, an input kernel of at
most 3, and 2 frames of overlap of the inverse transform), and 4 frames are one state: so a window
with 3 more states on each side decodes its inner tokens exactly.
"""

from typing import Final

import msgspec

# States on each side that a window needs, see above; fewer change the samples at its edges.
CONTEXT_STATES: Final = 3

# The first chunk is as small as possible, so that audio starts early; later ones waste less work on
# context. The last entry repeats.
TOKENS_PER_CHUNK: Final = (1, 2, 4, 8, 16)


class Window(msgspec.Struct, frozen=True):
    """Decode states [first_state, end_state), drop `num_skipped` tokens, keep `num_tokens`."""

    first_state: int
    end_state: int
    num_skipped: int
    num_tokens: int


def next_window(
    num_states: int, num_tokens_sent: int, num_chunks_sent: int, *, is_finished: bool
) -> Window | None:
    """The next window that can be decoded, or None if more states are needed first.

    Args:
        num_states: that exist, or may be used so far.
        num_tokens_sent: that earlier windows kept.
        num_chunks_sent: how many windows there were.
        is_finished: whether no state will follow.
    """
    num_ready = num_states - 1 if is_finished else num_states - 1 - CONTEXT_STATES
    wanted = TOKENS_PER_CHUNK[min(num_chunks_sent, len(TOKENS_PER_CHUNK) - 1)]
    num_tokens = min(num_ready - num_tokens_sent, wanted)
    if num_tokens < 1 or (num_tokens < wanted and not is_finished):
        return None
    end_token = num_tokens_sent + num_tokens
    first_state = max(0, num_tokens_sent - CONTEXT_STATES)
    return Window(
        first_state=first_state,
        end_state=min(num_states, end_token + 1 + CONTEXT_STATES),
        num_skipped=num_tokens_sent - first_state,
        num_tokens=num_tokens,
    )
