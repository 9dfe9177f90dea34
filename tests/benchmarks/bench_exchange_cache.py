"""What a warm on-behalf-of exchange costs with 10 users and with 10,000.

It also measures what a user costs in memory.

Run it with ``python -m tests.benchmarks exchange_cache``. It measures what each request pays:
making the key from an assertion of an ordinary size, and the look-up. Every user asks, in mixed
order, so that misses of the processor's caches count, too. The two sizes take turns.
"""

import random
import timeit
import tracemalloc

from shared.entra.exchange_cache import ExchangeCache, Fresh
from shared.identity.caller import fingerprint
from tests.benchmarks import Figure, figure

SIZES = (10, 10_000)
ROUNDS = 15
LOOK_UPS = 20_000
ASSERTION_CHARS = 1_300  # an access token of Entra ID without group claims


def never() -> Fresh[str]:
    """Stand in for an exchange that a warm cache never makes."""
    raise AssertionError("the entry was warm")


def assertion_of(user: int) -> str:
    """Return something as long as a token, different for each user."""
    return f"{user:08d}".ljust(ASSERTION_CHARS, "x")


def warm_cache(users: int) -> ExchangeCache[str]:
    """Return a cache that holds one entry for each user.

    All share one token, so that its size is not counted.
    """
    cache: ExchangeCache[str] = ExchangeCache(capacity=users, now=timeit.default_timer)
    ends_at = timeit.default_timer() + 3600
    for user in range(users):
        cache.get_or_exchange(
            fingerprint(assertion_of(user)), lambda: Fresh("token", ends_at), wait_s=0
        )
    return cache


def microseconds(cache: ExchangeCache[str], assertions: list[str]) -> float:
    """Time one round of warm exchanges."""
    started = timeit.default_timer()
    for _ in range(LOOK_UPS // len(assertions)):
        for assertion in assertions:
            cache.get_or_exchange(fingerprint(assertion), never, wait_s=0)
    return (timeit.default_timer() - started) / LOOK_UPS * 1e6


def bytes_per_user() -> float:
    """Measure what an entry costs beyond the token itself."""
    tracemalloc.start()
    try:
        cache = warm_cache(SIZES[1])
        return tracemalloc.get_traced_memory()[0] / SIZES[1] if cache else 0.0
    finally:
        tracemalloc.stop()


def measure() -> list[Figure]:
    """Compare a cache of many users with one of a few."""
    caches = {users: warm_cache(users) for users in SIZES}
    assertions = {
        users: random.sample([assertion_of(user) for user in range(users)], users)
        for users in SIZES
    }
    rounds: dict[int, list[float]] = {users: [] for users in SIZES}
    for _ in range(ROUNDS):
        for users, cache in caches.items():
            rounds[users].append(microseconds(cache, assertions[users]))
    few = figure(f"warm exchange, {SIZES[0]:,} users", "us", rounds[SIZES[0]])
    many = figure(f"warm exchange, {SIZES[1]:,} users", "us", rounds[SIZES[1]], to=few)
    memory = figure("exchange cache: a user, beyond the token", "bytes", [bytes_per_user()] * 2)
    return [few, many, memory]
