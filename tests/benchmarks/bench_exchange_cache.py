"""What a look-up in the exchange cache costs with 10 users and with 10,000. Prints both and their ratio.

Run it with ``python -m tests.benchmarks.bench_exchange_cache``. Every user asks, in mixed order, so that what the processor's caches miss counts
too. The two sizes take turns and each keeps its best round: a busy machine slows both.
"""

import random
import timeit

from shared.exchange_cache import ExchangeCache, Fresh, assertion_key

SIZES = (10, 10_000)
ROUNDS = 15
LOOK_UPS = 20_000


def never() -> Fresh[str]:
    """Stand for an exchange that a warm cache never makes."""
    raise AssertionError("the entry was warm")


def warm_cache(users: int) -> ExchangeCache[str]:
    """Return a cache that holds one entry for each user."""
    cache: ExchangeCache[str] = ExchangeCache(capacity=users, now=timeit.default_timer)
    ends_at = timeit.default_timer() + 3600
    for user in range(users):
        cache.get_or_exchange(key_of(user), lambda: Fresh("token", ends_at), wait_s=0)
    return cache


def key_of(user: int) -> bytes:
    """Return the cache key of a user."""
    return assertion_key("tenant", "client", ["scope"], f"assertion of user {user}")


def microseconds_per_look_up(cache: ExchangeCache[str], keys: list[bytes]) -> float:
    """Time one round of look-ups, all hits."""
    started = timeit.default_timer()
    for _ in range(LOOK_UPS // len(keys)):
        for key in keys:
            cache.get_or_exchange(key, never, wait_s=0)
    return (timeit.default_timer() - started) / LOOK_UPS * 1e6


def main() -> None:
    """Measure and print."""
    caches = {users: warm_cache(users) for users in SIZES}
    keys = {users: random.sample([key_of(user) for user in range(users)], users) for users in SIZES}
    best = dict.fromkeys(SIZES, float("inf"))
    for _ in range(ROUNDS):
        for users, cache in caches.items():
            best[users] = min(best[users], microseconds_per_look_up(cache, keys[users]))
    for users in SIZES:
        print(f"users={users} microseconds_per_look_up={best[users]:.2f}")  # noqa: T201  # printing is its job
    print(f"ratio={best[SIZES[1]] / best[SIZES[0]]:.2f}")  # noqa: T201


if __name__ == "__main__":
    main()
