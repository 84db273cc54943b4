"""What is fetched once and kept for a while: data keys of a key service, keys of subjects.

A thing that is kept has four ages::

    0 ──────────── renew ─────── age ──────────────── age + grace
      used as is        used, and       used only while           fetched before it is used
                        fetched anew    its source can't be
                        meanwhile       reached

so nobody waits for a fetch but the first, and an outage is survived by those who have what they need. Only an outage
(`KeyServiceUnavailable`) gives grace: a source that answers "no" is believed at once.

`wear` lets a value grow old by use too: 0 is new, 1 is its bound; in an outage it may reach 2.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from codec.errors import KeyServiceUnavailable
from codec.keys.background import completed, run_in_background

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")
_log = logging.getLogger(__name__)

_WEAR_MAX_IN_OUTAGE = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Keeping:
    """How long and how many."""

    count: int
    age_seconds: float
    grace_seconds: float
    renew_share: float = 0.8
    """The share of its age (or wear) at which a thing is fetched anew while it is in use."""
    pause_seconds: float = 5.0
    """After a renewal that failed; so a source that is down is not asked all the time."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.age_seconds <= 0 or self.grace_seconds < 0 or not 0 < self.renew_share <= 1:
            raise ValueError(
                f"{self} is no way to keep things: bounds are positive, renew_share is above 0 and at most 1"
            )


@dataclasses.dataclass
class _Kept(Generic[_V]):
    value: _V
    since: float
    # Whether the last attempt to renew it failed because its source could not be reached.
    outage: bool = False
    renew_not_before: float = 0.0


class Fetched(Generic[_K, _V]):
    """Values by key: the least recently used goes first. Safe to share between threads and event loops.

    However many ask for one that is not there, it is fetched once.
    """

    def __init__(
        self,
        fetch: Callable[[_K], Coroutine[Any, Any, _V]],
        keeping: Keeping,
        *,
        what: str,
        wear: Callable[[_V], float] = lambda _: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`what` names such a value in the log; keys are never shown."""
        self._fetch = fetch
        self._keeping = keeping
        self._what = what
        self._wear = wear
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[_K, _Kept[_V]] = OrderedDict()
        self._flights: dict[_K, Future[_V]] = {}
        self._swept = clock()

    def peek(self, key: _K) -> _V | None:
        """The value, if it may be used; None if it has to be awaited. One that grows old is renewed meanwhile."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return None
            now = self._clock()
            usable = self._usable(kept, now)
            if usable:
                self._kept.move_to_end(key)
            if (
                usable
                and self._age(kept, now) >= self._keeping.renew_share
                and now >= kept.renew_not_before
                and key not in self._flights
            ):
                self._start(key)
            return kept.value if usable else None

    async def get(self, key: _K) -> _V:
        """The value, fetched if need be.

        Raises:
            CodecError: it can't be fetched; the sentence says what to do.
        """
        if (value := self.peek(key)) is not None:
            return value
        with self._lock:
            flight = self._flights.get(key) or self._start(key)
        try:
            return await completed(flight)
        except KeyServiceUnavailable:
            # That fetch has marked the outage, so that what is kept may be in its grace now.
            if (value := self.peek(key)) is not None:
                return value
            raise

    def put(self, key: _K, value: _V) -> None:
        """Keep a value that came another way."""
        self._put(key, value, self._clock())

    def drop(self, key: _K) -> None:
        """Forget a value."""
        with self._lock:
            self._kept.pop(key, None)

    def __len__(self) -> int:
        return len(self._kept)

    def _put(self, key: _K, value: _V, since: float) -> None:
        with self._lock:
            now = self._clock()
            self._kept[key] = _Kept(value, since)
            self._kept.move_to_end(key)
            while len(self._kept) > self._keeping.count:
                self._kept.popitem(last=False)
            if now - self._swept > self._keeping.age_seconds:
                # So that keys that nobody asks for again don't stay in memory.
                self._swept = now
                bound = self._keeping.age_seconds + self._keeping.grace_seconds
                for old in [one for one, kept in self._kept.items() if now - kept.since > bound]:
                    del self._kept[old]

    def _age(self, kept: _Kept[_V], now: float) -> float:
        return max((now - kept.since) / self._keeping.age_seconds, self._wear(kept.value))

    def _usable(self, kept: _Kept[_V], now: float) -> bool:
        if self._age(kept, now) < 1:
            return True
        in_time = now - kept.since < self._keeping.age_seconds + self._keeping.grace_seconds
        return kept.outage and in_time and self._wear(kept.value) < _WEAR_MAX_IN_OUTAGE

    def _start(self, key: _K) -> Future[_V]:
        # Under the lock, as the fetch takes it before it is over: nobody starts a second one in between.
        flight = self._flights[key] = run_in_background(self._fly(key))
        return flight

    async def _fly(self, key: _K) -> _V:
        asked = self._clock()
        try:
            value = await self._fetch(key)
        except KeyServiceUnavailable as error:
            with self._lock:
                if (kept := self._kept.get(key)) is not None:
                    kept.outage = True
                    kept.renew_not_before = self._clock() + self._keeping.pause_seconds
            if kept is not None:
                _log.warning(
                    "%s not renewed, the one that is there stays in use for a while: %s", self._what, error
                )
            raise
        except BaseException:
            self.drop(key)
            raise
        else:
            # As old as the question: what its source has said since, nobody has heard.
            self._put(key, value, asked)
            return value
        finally:
            with self._lock:
                self._flights.pop(key, None)
