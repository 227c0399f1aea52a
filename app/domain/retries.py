"""When a call may be made again, and after which pause. Pure: the time and the chance come in."""

from collections.abc import Callable

import msgspec


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how soon.

    Attributes:
        max_retries: of one call.
        delay_s: longest pause before the first retry, in seconds; twice as long before each next.
        max_delay_s: most of these.
    """

    max_retries: int = 1
    delay_s: float = 0.05
    max_delay_s: float = 1.0


def pause_s(policy: RetryPolicy, num_retries: int, random: Callable[[], float]) -> float:
    """Seconds before the next retry, after `num_retries` of them.

    From half of the longest pause up to all of it, by chance: instances that die together become
    known one after another within some milliseconds, and a retry must not meet the next of them.
    """
    longest_s = min(policy.max_delay_s, policy.delay_s * 2.0 ** min(num_retries, 30))
    return (1.0 + random()) / 2 * longest_s
