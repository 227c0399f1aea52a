"""A small tokenizer that treats text as Soprano's does: lower case, single blanks, single digits.

Ids: four special tokens, then the audio tokens [0], [1] and so on, then text at the end.
The vocabulary is made up: characters, and the beginnings of a few words, so that merges happen too.
"""

import string
from collections.abc import Iterator

UNK, TEXT, START, STOP = range(4)
SPECIAL_TOKENS = ("[UNK]", "[TEXT]", "[START]", "[STOP]")

_CHARACTERS = (*" .,!?'\"-:;", *string.digits, *string.ascii_lowercase)
_WORDS = ("speech", "listen", "quiet", "water", "evening", "there", "never", "and", "in", "on")


def audio_ids(vocab_size: int) -> range:
    """The ids between the special tokens and the text: what the model may say."""
    return range(len(SPECIAL_TOKENS), vocab_size - len(_text_tokens()))


def tokenizer_json(vocab_size: int) -> dict[str, object]:
    """The content of `tokenizer.json`."""
    return {
        "version": "1.0",
        "truncation": None,
        # As published: padding is named [STOP] but carries id 0; transformers goes by the name.
        "padding": {
            "strategy": "BatchLongest",
            "direction": "Left",
            "pad_to_multiple_of": None,
            "pad_id": UNK,
            "pad_type_id": 0,
            "pad_token": "[STOP]",
        },
        "added_tokens": [
            {"id": index} | _added_token(token)
            for index, token in enumerate(_added_tokens(vocab_size))
        ],
        "normalizer": _NORMALIZER,
        "pre_tokenizer": _PRE_TOKENIZER,
        "post_processor": None,
        "decoder": None,
        "model": _bpe(vocab_size),
    }


def tokenizer_config(vocab_size: int) -> dict[str, object]:
    """The content of `tokenizer_config.json`."""
    return {
        "added_tokens_decoder": {
            str(index): _added_token(token) for index, token in enumerate(_added_tokens(vocab_size))
        },
        "bos_token": "[STOP]",
        "clean_up_tokenization_spaces": False,
        "eos_token": "[STOP]",
        "extra_special_tokens": {},
        "model_max_length": 2_048,
        "pad_token": "[STOP]",
        "padding_side": "left",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "[UNK]",
    }


_NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Lowercase"},
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
    ],
}

_PRE_TOKENIZER = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {
            "type": "Split",
            "pattern": {"Regex": r"\s+|\w+|[^\w\s]+"},
            "behavior": "Isolated",
            "invert": False,
        },
    ],
}


def _bpe(vocab_size: int) -> dict[str, object]:
    tokens = (*_added_tokens(vocab_size), *_text_tokens())
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": "[UNK]",
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {token: index for index, token in enumerate(tokens)},
        "merges": list(_merges()),
    }


def _added_tokens(vocab_size: int) -> tuple[str, ...]:
    return (*SPECIAL_TOKENS, *(f"[{number}]" for number in range(len(audio_ids(vocab_size)))))


def _added_token(content: str) -> dict[str, object]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"content": content, "special": True, **flags}


def _text_tokens() -> tuple[str, ...]:
    return (*_CHARACTERS, *(left + right for left, right in _merges()))


def _merges() -> Iterator[tuple[str, str]]:
    """Pairs to join, first come first: each word grows from its first letter."""
    seen = set()
    for word in _WORDS:
        for end in range(1, len(word)):
            pair = word[:end], word[end]
            if pair not in seen:
                seen.add(pair)
                yield pair
