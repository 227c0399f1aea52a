"""What several servers share, in memory: hand one to all of them."""

from collections import Counter
from collections.abc import Sequence

from app.domain.api_keys import TokenBucket
from app.ports.clock import Clock
from app.ports.shared_state import Claim


class FakeSharedCache:
    """Attributes may be changed.

    Attributes:
        is_up: whether it can be reached.
        entries: what is kept, by key.
        leases: holder and time of expiry, by key.
        num_calls: by the name of the method.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.is_up = True
        self.entries: dict[str, bytes] = {}
        self.leases: dict[str, tuple[str, float]] = {}
        self.num_calls: Counter[str] = Counter()

    async def open(self) -> None:
        self.num_calls["open"] += 1

    async def close(self) -> None:
        self.num_calls["close"] += 1

    async def count(self, keys: Sequence[str]) -> int:
        self.num_calls["count"] += 1
        return sum(key in self.entries for key in keys) if self.is_up else 0

    async def claim(self, key: str, holder: str, lease_s: float) -> Claim | None:
        self.num_calls["claim"] += 1
        if not self.is_up:
            return None
        if key in self.entries:
            return Claim.STORED
        now = self._clock.monotonic()
        if key in self.leases and self.leases[key][1] > now:
            return Claim.TAKEN
        self.leases[key] = holder, now + lease_s
        return Claim.GRANTED

    async def read(self, key: str) -> bytes | None:
        self.num_calls["read"] += 1
        return self.entries.get(key, b"") if self.is_up else None

    async def write(self, key: str, holder: str, content: bytes) -> None:
        self.num_calls["write"] += 1
        if self.is_up:
            self.entries[key] = content
        await self.release(key, holder)

    async def release(self, key: str, holder: str) -> None:
        self.num_calls["release"] += 1
        if self.is_up and self.leases.get(key, ("", 0.0))[0] == holder:
            del self.leases[key]


class FakeSharedLimits:
    """Attributes may be changed.

    Attributes:
        is_up: whether it can be reached.
        places: that are held, by the name of the key.
        num_calls: by the name of the method.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}
        self.is_up = True
        self.places: dict[str, set[str]] = {}
        self.num_calls: Counter[str] = Counter()

    async def take(self, name: str, per_minute: int) -> float:
        self.num_calls["take"] += 1
        if not self.is_up:
            return 0.0
        now = self._clock.monotonic()
        return self._buckets.setdefault(name, TokenBucket(per_minute, now)).take(now)

    async def acquire(self, name: str, most: int) -> str | None:
        self.num_calls["acquire"] += 1
        held = self.places.setdefault(name, set())
        if self.is_up and len(held) >= most:
            return None
        place = str(self.num_calls["acquire"])
        held.add(place)
        return place

    async def release(self, name: str, place: str) -> None:
        self.num_calls["release"] += 1
        self.places[name].remove(place)
