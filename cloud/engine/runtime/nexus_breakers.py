"""Destinations that are down are left alone for a while: calls of them wait, all but one that tries whether they are back.

One breaker for each namespace and destination, so that nobody's failures stand in another's way. It lives in memory: what waits here is
in no other state than what has just been scheduled, and is asked for again after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

FAILURES_MAX = 5
"""Failures in a row that are borne; the next one opens the breaker (as the real server's do)."""

OPEN_S = 60.0

BREAKERS_MAX = 10_000

CALLS_MAX = 1_000
"""Calls of one destination that are under way or wait here. Those beyond are put off like failed ones, so that their runs leave memory."""

OPEN = "The circuit breaker is open."

BreakerKey = tuple[str, str]
"""(namespace id, destination)."""


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    open_until: float = 0.0  # a reading of the event loop's clock; 0 while it is closed
    probing: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class TooManyCalls(Exception):
    """The destination has CALLS_MAX calls already."""

    def __init__(self) -> None:
        super().__init__("too many calls of the same destination are under way")


class Breakers:
    """See the module's head."""

    def __init__(self) -> None:
        self._breakers: OrderedDict[BreakerKey, _Breaker] = OrderedDict()
        self._calls: Counter[BreakerKey] = Counter()

    @contextlib.contextmanager
    def counted(self, key: BreakerKey) -> Iterator[None]:
        """A call of the destination, from before it waits until it is over.

        Raises:
            TooManyCalls: it has enough.
        """
        if self._calls[key] >= CALLS_MAX:
            raise TooManyCalls
        self._calls[key] += 1
        try:
            yield
        finally:
            self._calls[key] -= 1
            if not self._calls[key]:
                del self._calls[key]

    def is_open(self, key: BreakerKey) -> bool:
        """Whether calls of the destination wait."""
        found = self._breakers.get(key)
        return found is not None and bool(found.open_until)

    async def passed(self, key: BreakerKey) -> None:
        """Wait until the destination may be called. Who has passed says by `note` how it went."""
        loop = asyncio.get_running_loop()
        while (found := self._breakers.get(key)) is not None and found.open_until:
            left_s = found.open_until - loop.time()
            if left_s <= 0 and not found.probing:
                found.probing = True
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s if left_s > 0 else None):
                    await found.changed.wait()

    def note(self, key: BreakerKey, *, down: bool) -> None:
        """A call of the destination is over; `down` if it could not be reached, or was not in a state to answer."""
        found = self._breakers.get(key)
        if not down:
            if found is not None:
                del self._breakers[key]
                found.open_until = 0.0
                found.changed.set()
            return
        if found is None:
            found = self._breakers[key] = _Breaker()
            if len(self._breakers) > BREAKERS_MAX:
                _, oldest = self._breakers.popitem(last=False)
                oldest.open_until = 0.0
                oldest.changed.set()
        found.failures += 1
        if found.probing or (found.failures > FAILURES_MAX and not found.open_until):
            found.open_until = asyncio.get_running_loop().time() + OPEN_S
            found.probing = False
            self._wake(found)

    def abandon(self, key: BreakerKey) -> None:
        """Who has passed did not call after all: another may try."""
        found = self._breakers.get(key)
        if found is not None and found.probing:
            found.probing = False
            self._wake(found)

    @staticmethod
    def _wake(breaker: _Breaker) -> None:
        """Those that wait look again."""
        breaker.changed.set()
        breaker.changed = asyncio.Event()
