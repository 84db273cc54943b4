"""How much a namespace may ask for: requests per second by class, concurrent polls.

One token bucket per namespace holds the budget of all classes but visibility. A class may take the last
tokens only if it is P0: each later class leaves a share of the bucket to those before it, so that under load
polls are refused first and the completion of work last. Visibility has a small bucket of its own, because its
cost is the store's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure

from cloud.gateway.method_table import LimitClass, Poll
from cloud.rpc import ResourceExhausted
from cloud.transport.bounds import POLLS_MAX

VISIBILITY_PER_SECOND_MAX = 30.0
ACCOUNT_PER_SECOND_MAX = 160.0
PRINCIPAL_PER_SECOND_MAX = 40.0
"""Control-plane calls of one account, and of one user or service account in it."""

BURST_S = 1.0
"""A bucket holds what its rate gives in this time."""

_RESERVED_SHARE = {
    LimitClass.P0: 0.0,
    LimitClass.P1: 0.05,
    LimitClass.P2: 0.10,
    LimitClass.P3: 0.20,
    LimitClass.P4: 0.30,
    LimitClass.P5: 0.40,
}
_SHARES = [_RESERVED_SHARE[LimitClass(n)] for n in range(len(_RESERVED_SHARE))]


class _Bucket:
    """Tokens that come at `rate` per second, up to BURST_S of them (at least one)."""

    __slots__ = ("capacity", "filled_at", "rate", "tokens")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.capacity = max(1.0, rate * BURST_S)
        self.tokens = self.capacity
        self.filled_at = now

    def take(self, now: float, reserved_share: float) -> bool:
        tokens = min(self.capacity, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        # A bucket of one or two tokens must still serve every class.
        reserve = min(self.capacity * reserved_share, self.capacity - 1.0)
        if tokens - 1.0 < reserve:
            self.tokens = tokens
            return False
        self.tokens = tokens - 1.0
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitStatistics:
    """A snapshot for metrics: how many buckets live, and polls waiting by (namespace, kind)."""

    buckets: int
    polls: dict[tuple[str, Poll], int]


class Place:
    """One place among the waiting polls of a namespace."""

    __slots__ = ("_key", "_polls")

    def __init__(self, polls: dict[tuple[str, Poll], int], key: tuple[str, Poll]) -> None:
        self._polls = polls
        self._key = key

    def give_back(self) -> None:
        """Leave the place to the next poll. Once per place."""
        left = self._polls[self._key] - 1
        if left:
            self._polls[self._key] = left
        else:
            del self._polls[self._key]


class Limits:
    """The counters of one gateway process. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float], *, polls_max: int = POLLS_MAX) -> None:
        self._clock = clock
        self._polls_max = polls_max
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._polls: dict[tuple[str, Poll], int] = {}

    def take(self, namespace: str, limit_class: LimitClass, per_second_max: float) -> None:
        """Count one request of an authorised caller in `namespace`.

        Raises:
            ResourceExhausted: the budget is spent; cause RPS_LIMIT, scope NAMESPACE.
        """
        if limit_class is LimitClass.VISIBILITY:
            if not self._take("visibility", namespace, VISIBILITY_PER_SECOND_MAX, 0.0):
                raise _exhausted(
                    f"Namespace {namespace} is at its limit of {VISIBILITY_PER_SECOND_MAX:g} list, count and "
                    "scan requests per second; call less often, or read one execution with describe.",
                    ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT,
                )
        elif math.isinf(per_second_max):
            return
        elif not self._take("requests", namespace, per_second_max, _SHARES[limit_class]):
            raise _exhausted(
                f"Namespace {namespace} is at its limit of {per_second_max:g} requests per second "
                f"(this call is of class {limit_class.name}, which leaves {_SHARES[limit_class]:.0%} "
                "to more urgent ones); retry later, run fewer pollers, or raise the namespace's limit.",
                ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT,
            )

    def take_account(self, account_id: str, principal_kind: str, principal_id: str) -> None:
        """Count one control-plane call.

        Raises:
            ResourceExhausted: the account's or the principal's budget is spent; scope SYSTEM.
        """
        for kind, name, rate in (
            (principal_kind, principal_id, PRINCIPAL_PER_SECOND_MAX),
            ("account", account_id, ACCOUNT_PER_SECOND_MAX),
        ):
            if not self._take(f"control-plane {kind}", name, rate, 0.0):
                raise _exhausted(
                    f"rate limit exceeded for principal type={kind}, id={name}: {rate:g} control-plane calls "
                    "per second; please retry later.",
                    ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT,
                    ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
                )

    def take_place(self, namespace: str, poll: Poll) -> Place:
        """Take a place among the waiting polls of `namespace`; the caller gives it back when the poll is
        over.

        Raises:
            ResourceExhausted: all places are taken; cause CONCURRENT_LIMIT, scope NAMESPACE.
        """
        key = (namespace, poll)
        waiting = self._polls.get(key, 0)
        if waiting >= self._polls_max:
            raise _exhausted(
                f"Namespace {namespace} has {waiting} waiting {poll.value} polls, its limit is "
                f"{self._polls_max}; run fewer workers or fewer pollers in each.",
                ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT,
            )
        self._polls[key] = waiting + 1
        return Place(self._polls, key)

    def statistics(self) -> LimitStatistics:
        """The counters now."""
        return LimitStatistics(buckets=len(self._buckets), polls=dict(self._polls))

    def _take(self, what: str, name: str, rate: float, reserved_share: float) -> bool:
        now = self._clock()
        key = (what, name)
        bucket = self._buckets.get(key)
        # Names come from authorised calls only, so there are no more buckets than namespaces, accounts and
        # principals.
        if bucket is None or bucket.rate != rate:
            bucket = self._buckets[key] = _Bucket(rate, now)
        return bucket.take(now, reserved_share)


def _exhausted(
    sentence: str,
    cause: ResourceExhaustedCause.ValueType,
    scope: ResourceExhaustedScope.ValueType = ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
) -> ResourceExhausted:
    return ResourceExhausted(sentence, ResourceExhaustedFailure(cause=cause, scope=scope))
