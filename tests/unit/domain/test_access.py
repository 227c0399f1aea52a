"""Keys and their digests."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.api_keys import (
    ApiKey,
    InvalidKeysError,
    KeyLimits,
    Keyring,
    check_name,
    hash_key,
    new_key,
    parse_keys,
)

KEY, OTHER = "sk-soprano-0123456789abcdef", "sk-soprano-fedcba9876543210"

KEYS = st.text(st.characters(codec="ascii", exclude_characters=", ", min_codepoint=33), min_size=16)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True)


@given(st.dictionaries(NAMES, KEYS.filter(str.isprintable), max_size=5), KEYS)
def test_a_ring_finds_exactly_the_keys_that_were_parsed(keys: dict[str, str], other: str) -> None:
    if len(set(keys.values())) < len(keys):
        return
    text = ",".join(f"{name}:{key}" for name, key in keys.items())
    ring = Keyring(parse_keys(text, KeyLimits(3, 4)))
    assert len(ring) == len(keys)
    for name, key in keys.items():
        assert ring.find(key) == ApiKey(name, hash_key(key), KeyLimits(3, 4))
    if other not in keys.values():
        assert ring.find(other) is None


@pytest.mark.parametrize("near", [KEY[:-1], KEY + "0", KEY.upper(), " " + KEY, "", "\xe4\udc80"])
def test_a_key_is_found_whole_or_not_at_all(near: str) -> None:
    assert Keyring([ApiKey("a", hash_key(KEY))]).find(near) is None


def test_every_key_of_the_ring_is_compared_wherever_the_right_one_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("hmac.compare_digest", compare)
    ring = Keyring([ApiKey(str(number), hash_key(f"key {number}")) for number in range(5)])
    for key in ("key 0", "key 4", "none"):
        compared.clear()
        ring.find(key)
        assert len(compared) == 5


def test_only_the_digest_of_a_key_is_kept() -> None:
    (key,) = parse_keys(f"alice:{KEY}", KeyLimits())
    assert key.digest == hashlib.sha256(KEY.encode()).digest()
    assert KEY not in repr(key)
    assert KEY not in repr(Keyring([key]).__dict__)


def test_a_new_key_is_long_plain_and_new() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"sk-soprano-[A-Za-z0-9_-]{43}", key) for key in keys)
    assert all(parse_keys(f"a:{key}", KeyLimits()) for key in keys)


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_a_blank_text_has_no_keys(text: str) -> None:
    assert parse_keys(text, KeyLimits()) == []


def test_spaces_and_a_last_comma_do_not_matter_and_a_key_may_have_colons() -> None:
    keys = parse_keys(f" a:{KEY} , b:{OTHER}:x, ", KeyLimits())
    assert [key.name for key in keys] == ["a", "b"]
    assert keys[1].digest == hash_key(f"{OTHER}:x")


@pytest.mark.parametrize(
    "text",
    [KEY, f"A:{KEY}", f":{KEY}", "a:", "a:short", f"a: {KEY}", f"a:{KEY} x", f"a:{KEY}\xe4",
     f"{'a' * 33}:{KEY}", f"-a:{KEY}", f"b:{OTHER},{KEY}"],
)  # fmt: skip
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InvalidKeysError) as caught:
        parse_keys(text, KeyLimits())
    for secret in (KEY, OTHER, "short"):
        assert secret not in str(caught.value).replace("too short", "")


@pytest.mark.parametrize("name", ["a", "0", "a-b_c", "a" * 32])
def test_a_name_is_plain(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "A", "-a", "_a", "a b", "a.b", "a" * 33, "a\n", "ä", KEY * 2])
def test_another_name_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(InvalidKeysError) as caught:
        check_name(name)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([ApiKey("a", hash_key(KEY)), ApiKey("a", hash_key(OTHER))], "the name a"),
        ([ApiKey("a", hash_key(KEY)), ApiKey("b", hash_key(KEY))], "a and b have the same key"),
    ],
)
def test_names_and_keys_are_distinct(keys: list[ApiKey], words: str) -> None:
    with pytest.raises(InvalidKeysError, match=words):
        Keyring(keys)
