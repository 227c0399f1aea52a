"""Which body each idempotency key stood for, for a day."""

from collections import OrderedDict
from typing import Final

import msgspec

from app.domain.errors import IdempotencyKeyReusedError
from app.domain.repeats import check_idempotency_key, claim_name, fingerprint_of
from app.ports.clock import Clock

MAX_CLAIMS: Final = 10_000
MAX_CLAIM_AGE_S: Final = 86_400.0


class _Claim(msgspec.Struct, frozen=True):
    """What a key stands for, and since when in seconds of the clock's `monotonic`."""

    body: bytes
    claimed_at: float


class IdempotencyKeys:
    """Remembers the keys of the last day, as hashes; the oldest go first.

    Args:
        clock: tells how old they are.
        max_claims: most keys that are remembered.
    """

    def __init__(self, clock: Clock, max_claims: int = MAX_CLAIMS) -> None:
        self._clock = clock
        self._max_claims = max_claims
        self._claims: OrderedDict[bytes, _Claim] = OrderedDict()

    def __len__(self) -> int:
        return len(self._claims)

    def claim(self, key: str, body: bytes, owner: str | None = None) -> None:
        """Let `key` stand for `body`, for a day from its first use on.

        Args:
            key: as the client sent it.
            body: of its request.
            owner: name of the client; keys of others are other keys.

        Raises:
            InvalidIdempotencyKeyError: the key is empty, too long or not printable.
            IdempotencyKeyReusedError: it stands for another body.
        """
        check_idempotency_key(key)
        now = self._clock.monotonic()
        self._forget_old(now)
        claim = _Claim(fingerprint_of(body), now)
        known = self._claims.setdefault(claim_name(key, owner), claim)
        if known.body != claim.body:
            raise IdempotencyKeyReusedError
        if len(self._claims) > self._max_claims:
            self._claims.popitem(last=False)

    def _forget_old(self, now: float) -> None:
        while self._claims:
            oldest = next(iter(self._claims.values()))
            if now - oldest.claimed_at < MAX_CLAIM_AGE_S:
                return
            self._claims.popitem(last=False)
