"""How often a caller may ask, and how much is worked on at once. Counters only, with a clock that is given."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from codec.server.protocol import Refusal

CALLERS_MAX = 10_000
"""Callers that are remembered; the one that was silent the longest is forgotten, and begins anew."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one request, one caller and all together may cost."""

    body_bytes_max: int = 16 * 1024 * 1024
    payloads_max: int = 10_000
    answer_bytes_max: int = 64 * 1024 * 1024
    """Of decoded payloads in one answer."""
    fetched_payload_bytes_max: int = 8 * 1024 * 1024
    """Of one payload that is fetched from the object store, as it lies there."""
    fetched_request_bytes_max: int = 32 * 1024 * 1024
    requests_per_second_max: float = 200.0
    """Of one caller. The CLI asks once for each field of an event: a long history is thousands of requests."""
    requests_burst_max: int = 2_000
    failures_per_second_max: float = 5.0
    """Requests without a good token, of one address."""
    failures_burst_max: int = 50
    at_once_max: int = 32
    at_once_per_caller_max: int = 16
    waiting_max: int = 256


class Buckets:
    """A token bucket per key."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        """`rate` per second, of which `burst` may come at once. `clock` is monotonic, in seconds."""
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """0.0 if `key` may go on (and one is taken), else the seconds until it may."""
        level = self._level(key)
        if level < 1.0:
            return (1.0 - level) / self._rate
        self._put(key, level - 1.0)
        return 0.0

    def wait_s(self, key: str) -> float:
        """The same without taking one."""
        level = self._level(key)
        return 0.0 if level >= 1.0 else (1.0 - level) / self._rate

    def _level(self, key: str) -> float:
        level, since = self._levels.get(key, (self._burst, self._clock()))
        return min(self._burst, level + (self._clock() - since) * self._rate)

    def _put(self, key: str, level: float) -> None:
        self._levels[key] = (level, self._clock())
        self._levels.move_to_end(key)
        if len(self._levels) > CALLERS_MAX:
            self._levels.popitem(last=False)


class Allowances:
    """What callers have left. Belongs to one event loop."""

    def __init__(self, bounds: Bounds, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._requests = Buckets(bounds.requests_per_second_max, bounds.requests_burst_max, clock)
        self._failures = Buckets(bounds.failures_per_second_max, bounds.failures_burst_max, clock)
        self._running: Counter[str] = Counter()
        self._gate = asyncio.Semaphore(bounds.at_once_max)
        self._waiting = 0

    def check_address(self, remote: str) -> None:
        """Look whether this address has sent too many bad tokens of late.

        Raises:
            Refusal: it has (429).
        """
        _refuse_if(self._failures.wait_s(remote), _GUESSED)

    def count_failure(self, remote: str) -> None:
        """A request of this address had no good token.

        Raises:
            Refusal: there were too many of late (429).
        """
        _refuse_if(self._failures.take(remote), _GUESSED)

    def take(self, caller: str) -> None:
        """Count a request.

        Raises:
            Refusal: the caller has none left (429).
        """
        _refuse_if(self._requests.take(caller), "You ask more often than this codec server allows")

    @asynccontextmanager
    async def working(self, caller: str) -> AsyncIterator[None]:
        """Hold a place while a request's body is read and worked on.

        Raises:
            Refusal: the caller has too many under way (429), or all together do (503).
        """
        if self._running[caller] >= self._bounds.at_once_per_caller_max:
            raise _busy(429, "You have too many requests under way here", "limited")
        if self._gate.locked() and self._waiting >= self._bounds.waiting_max:
            raise _busy(503, "The codec server has too much to do", "busy")
        self._running[caller] += 1
        try:
            self._waiting += 1
            try:
                await self._gate.acquire()
            finally:
                self._waiting -= 1
            try:
                yield
            finally:
                self._gate.release()
        finally:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]


_GUESSED = "Too many requests without a good token came from this address"


def _refuse_if(wait_s: float, what: str) -> None:
    if wait_s > 0:
        raise _busy(429, what, "limited", wait_s=wait_s)


def _busy(status: int, what: str, reason: str, *, wait_s: float = 1.0) -> Refusal:
    seconds = max(1, int(wait_s + 0.999))
    return Refusal(
        status, f"{what}; try again in {seconds} s.", reason, headers={"retry-after": str(seconds)}
    )
