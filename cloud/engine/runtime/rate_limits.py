"""How fast tasks of a queue may go to workers: a limit of the whole queue and one of each fairness key.

A queue without a limit has no object of this file. Moments are those of the event loop's clock, in seconds. Tokens are spent by the
generic cell rate algorithm: what is kept is the moment from which the next task may go; up to a second's worth goes at once.
"""

from __future__ import annotations

from dataclasses import dataclass

NEVER = float("inf")

BURST_S = 1.0
"""What was not used for this long can be used at once (the real server's figure)."""

KEYS_MAX = 2_000
"""Fairness keys whose tokens are counted; the one that was used longest ago is forgotten first."""

HELD_BACK_S = 30.0
"""How long a queue is said to be limited after a task had to wait for it."""

_RATE_MIN = 1e-9


@dataclass(frozen=True, slots=True)
class Rate:
    """Tasks per second, 0 for none at all."""

    per_second: float

    def spend(self, ready_at: float, now: float, weight: float = 1.0) -> float:
        """When the next may go, if one goes now and `ready_at` was its moment."""
        if self.per_second <= _RATE_MIN:
            return NEVER
        return max(now, ready_at + BURST_S) - BURST_S + 1 / (self.per_second * weight)

    def allowed(self, ready_at: float, now: float) -> float:
        """`ready_at` after this became the rate: nobody waits longer than under it."""
        if self.per_second <= _RATE_MIN:
            return NEVER
        return min(ready_at, now + 1 / self.per_second)


class RateLimits:
    """The limits of one queue, of all its versions together."""

    __slots__ = ("_each", "_held_at", "_keys", "_ready_at", "_weights", "_whole")

    def __init__(self) -> None:
        self._whole: Rate | None = None
        self._each: Rate | None = None
        self._weights: dict[str, float] = {}
        self._ready_at = 0.0
        self._keys: dict[str, float] = {}
        self._held_at = -NEVER

    def set(self, whole: Rate | None, each: Rate | None, weights: dict[str, float], now: float) -> None:
        """These are the limits from now on: of the whole queue, of a key of weight 1, and the weights that are set for keys."""
        if whole != self._whole:
            self._whole = whole
            self._ready_at = 0.0 if whole is None else whole.allowed(self._ready_at, now)
        if each != self._each:
            self._each = each
            self._keys = (
                {} if each is None else {key: each.allowed(at, now) for key, at in self._keys.items()}
            )
        self._weights = weights

    def ready_at(self, key: str, now: float) -> float:
        """The moment from which a task of a fairness key may go; not above `now`: at once."""
        ready = self._ready_at if self._whole is not None else 0.0
        if self._each is not None:
            fresh = NEVER if self._each.per_second <= _RATE_MIN else 0.0
            ready = max(ready, self._keys.get(key, fresh))
        if ready > now:
            self._held_at = now
        return ready

    def spend(self, key: str, weight: float, now: float) -> None:
        """A task of a fairness key goes."""
        if self._whole is not None:
            self._ready_at = self._whole.spend(self._ready_at, now)
        if self._each is not None:
            at = self._each.spend(self._keys.pop(key, 0.0), now, self._weights.get(key, weight))
            self._keys[key] = at
            if len(self._keys) > KEYS_MAX:
                del self._keys[next(iter(self._keys))]

    def holds_back(self, now: float) -> bool:
        """Whether tasks had to wait for it of late."""
        return now - self._held_at < HELD_BACK_S
