from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.enums.v1 import ResourceExhaustedCause as Cause
from temporalio.api.enums.v1 import ResourceExhaustedScope as Scope
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure

from cloud.gateway import LimitClass, Limits, Poll
from cloud.gateway.limits import VISIBILITY_PER_SECOND_MAX
from cloud.rpc import ResourceExhausted


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits(clock, polls_max=2)


def admitted(limits: Limits, limit_class: LimitClass, rate: float, tries: int, name: str = "a") -> int:
    count = 0
    for _ in range(tries):
        try:
            limits.take(name, limit_class, rate)
        except ResourceExhausted:
            continue
        count += 1
    return count


def test_a_bucket_fills_with_time(limits: Limits, clock: Clock) -> None:
    assert admitted(limits, LimitClass.P0, 10, 50) == 10
    clock.now += 0.5
    assert admitted(limits, LimitClass.P0, 10, 50) == 5
    clock.now += 1_000
    assert admitted(limits, LimitClass.P0, 10, 50) == 10


def test_namespaces_do_not_share(limits: Limits) -> None:
    assert admitted(limits, LimitClass.P1, 100, 200, "a") == 95
    assert admitted(limits, LimitClass.P1, 100, 200, "b") == 95


def test_polls_are_refused_before_completions(limits: Limits) -> None:
    assert admitted(limits, LimitClass.P5, 100, 200) == 60
    assert admitted(limits, LimitClass.P4, 100, 200) == 10
    assert admitted(limits, LimitClass.P3, 100, 200) == 10
    assert admitted(limits, LimitClass.P2, 100, 200) == 10
    assert admitted(limits, LimitClass.P1, 100, 200) == 5
    assert admitted(limits, LimitClass.P0, 100, 200) == 5
    assert admitted(limits, LimitClass.P0, 100, 200) == 0


@pytest.mark.parametrize("limit_class", [c for c in LimitClass if c is not LimitClass.VISIBILITY])
def test_the_smallest_rate_still_serves_every_class(limits: Limits, limit_class: LimitClass) -> None:
    assert admitted(limits, limit_class, 1, 5) == 1


def test_visibility_has_its_own_budget(limits: Limits) -> None:
    assert admitted(limits, LimitClass.VISIBILITY, math.inf, 100) == VISIBILITY_PER_SECOND_MAX
    assert admitted(limits, LimitClass.P1, 100, 1) == 1


def test_no_limit_is_no_limit(limits: Limits) -> None:
    assert admitted(limits, LimitClass.P5, math.inf, 10_000) == 10_000


def test_a_changed_limit_counts_at_once(limits: Limits) -> None:
    admitted(limits, LimitClass.P0, 1, 5)
    assert admitted(limits, LimitClass.P0, 100, 500) == 100


def test_the_refusal_says_what_and_how_much(limits: Limits) -> None:
    admitted(limits, LimitClass.P4, 10, 50)
    with pytest.raises(ResourceExhausted) as caught:
        limits.take("a", LimitClass.P4, 10)
    assert caught.value.details == (
        ResourceExhaustedFailure(
            cause=Cause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT,
            scope=Scope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
        ),
    )
    assert "limit of 10 requests per second" in caught.value.message
    assert "P4" in caught.value.message


def test_places_of_polls_are_given_back(limits: Limits) -> None:
    places = [limits.take_place("a", Poll.WORKFLOW) for _ in range(2)]
    with pytest.raises(ResourceExhausted) as caught:
        limits.take_place("a", Poll.WORKFLOW)
    assert caught.value.details[0].cause == Cause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT  # type: ignore[attr-defined]
    assert "has 2 waiting workflow polls, its limit is 2" in caught.value.message
    limits.take_place("a", Poll.ACTIVITY).give_back()
    limits.take_place("b", Poll.WORKFLOW).give_back()
    places[0].give_back()
    limits.take_place("a", Poll.WORKFLOW).give_back()
    places[1].give_back()
    assert limits.statistics().polls == {}


def test_an_account_and_its_principals_are_counted(limits: Limits) -> None:
    for _ in range(40):
        limits.take_account("acme", "user", "ann")
    with pytest.raises(ResourceExhausted, match="type=user, id=ann"):
        limits.take_account("acme", "user", "ann")
    for name in ("bob", "cid", "dan"):
        for _ in range(40):
            limits.take_account("acme", "user", name)
    with pytest.raises(ResourceExhausted, match="type=account, id=acme"):
        limits.take_account("acme", "user", "eve")


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from(list(LimitClass)[:6])), max_size=200))
def test_never_more_than_the_rate_and_a_burst(steps: list[tuple[float, LimitClass]]) -> None:
    clock = Clock()
    limits = Limits(clock)
    begun = clock.now
    taken = 0
    for wait_s, limit_class in steps:
        clock.now += wait_s
        taken += admitted(limits, limit_class, 5, 7)
        assert taken <= 5 * (clock.now - begun) + 5 + 1e-6
