"""What a schedule does when time passes, runs close and its owner changes it."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import msgspec
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import ScheduleOverlapPolicy, WorkflowExecutionStatus
from temporalio.api.failure.v1 import Failure
from temporalio.api.schedule.v1 import (
    BackfillRequest,
    IntervalSpec,
    SchedulePatch,
    SchedulePolicies,
    ScheduleSpec,
    TriggerImmediatelyRequest,
)
from temporalio.api.schedule.v1 import (
    Schedule as Definition,
)
from temporalio.api.schedule.v1 import (
    ScheduleState as DefinedState,
)

from cloud.engine.core.clock import SECOND
from cloud.engine.core.schedule import (
    BACKFILLED_PER_PASS,
    ELAPSED_PER_PASS,
    KEPT_WHEN_DONE,
    WAITING_MAX,
    Outcome,
    Schedule,
    ScheduleState,
)
from cloud.engine.core.schedule_spec import Spec

_P = ScheduleOverlapPolicy
SKIP, ONE, ALL, CANCEL, TERMINATE, ALLOW = (
    _P.SCHEDULE_OVERLAP_POLICY_SKIP,
    _P.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE,
    _P.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL,
    _P.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER,
    _P.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER,
    _P.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL,
)
COMPLETED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
FAILED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_FAILED
T0 = 1_000_000 * SECOND


def compiled(every: int, jitter: int = 0) -> tuple[ScheduleSpec, Spec]:
    spec = ScheduleSpec(jitter=Duration(seconds=jitter))
    if every:
        spec.interval.append(IntervalSpec(interval=Duration(seconds=every)))
    return spec, Spec(spec, UTC, "seed")


class Driver:
    """Carries plans out, and keeps what was started."""

    def __init__(self, policy: int = SKIP, *, every: int = 10, jitter: int = 0, **state: Any) -> None:
        spec, self.spec = compiled(every, jitter)
        defined = Definition(
            spec=spec,
            policies=SchedulePolicies(overlap_policy=policy),
            state=DefinedState(**state),  # type: ignore[arg-type]
        )
        defined.action.start_workflow.workflow_id = "wf"
        self.schedule = Schedule(defined, ScheduleState("key", T0, "r", processed_until=T0), self.spec)
        self.started: list[str] = []
        self.ended: list[str] = []
        self.now = T0

    @property
    def state(self) -> ScheduleState:
        return self.schedule.state

    def to(self, seconds: float) -> Driver:
        self.now = T0 + int(seconds * SECOND)
        self.schedule.elapse(self.now)
        return self.act()

    def act(self) -> Driver:
        more = True
        while more:
            more = False
            plan = self.schedule.plan()
            for start in plan.starts:
                if not self.schedule.may_start(start):
                    self.schedule.declined(start)
                    more = True
                    continue
                run_id = f"run{len(self.started) + 1}"
                self.started.append(run_id)
                self.schedule.started(start, self.schedule.workflow_id(start), run_id, self.now)
            self.ended += [each.run_id for each in (*plan.cancel, *plan.terminate)]
        return self

    def close(self, run_id: str, outcome: Outcome | None = None) -> Driver:
        self.schedule.closed(run_id, outcome or Outcome(COMPLETED))
        return self.act()

    def patch(self, **fields: Any) -> Driver:
        self.schedule.patch(SchedulePatch(**fields), self.now)
        self.schedule.elapse(self.now)
        return self.act()

    def counts(self) -> tuple[int, int, int]:
        return len(self.started), self.state.overlap_skipped, len(self.state.waiting)


@pytest.mark.parametrize(
    ("policy", "counts"),
    [
        (SKIP, (1, 2, 0)),
        (ONE, (1, 1, 1)),
        (ALL, (1, 0, 2)),
        (CANCEL, (1, 0, 2)),
        (TERMINATE, (1, 0, 2)),
        (ALLOW, (3, 0, 0)),
    ],
)
def test_three_times_while_the_first_run_is_open(policy: int, counts: tuple[int, int, int]) -> None:
    driver = Driver(policy).to(10).to(20).to(30)
    assert driver.counts() == counts
    assert bool(driver.ended) == (policy in (CANCEL, TERMINATE))


def test_of_many_that_supersede_only_the_last_is_started() -> None:
    driver = Driver(CANCEL).to(10).to(20).to(30).to(40).close("run1")
    assert driver.counts() == (2, 0, 0)
    assert driver.state.recent[-1].due_at == T0 + 40 * SECOND


def test_buffered_ones_follow_in_their_order() -> None:
    driver = Driver(ALL).to(10).to(20).to(30)
    assert [each.nominal for each in driver.state.waiting] == [T0 + 20 * SECOND, T0 + 30 * SECOND]
    driver.close("run1").close("run2")
    assert [each.due_at - T0 for each in driver.state.recent] == [10 * SECOND, 20 * SECOND, 30 * SECOND]


def test_a_run_that_nobody_knows_changes_nothing() -> None:
    driver = Driver(ALL).to(10).to(20)
    driver.close("another")
    driver.close("run1").close("run1", Outcome(FAILED, failure=Failure(message="late")))
    assert driver.counts() == (2, 0, 0)
    assert not driver.state.last_failure


def test_what_was_missed_by_more_than_the_window_is_counted_only() -> None:
    driver = Driver(ALLOW)
    driver.schedule.defined.policies.catchup_window.FromSeconds(30)
    driver.to(100)
    assert driver.state.missed_catchup_window == 6
    assert len(driver.started) == 4
    driver.to(100)
    assert driver.state.missed_catchup_window == 6


def test_a_long_standstill_is_caught_up_with_in_portions() -> None:
    driver = Driver(SKIP, every=1)
    driver.to(2.5 * ELAPSED_PER_PASS)
    assert driver.schedule.wake_at(driver.now) <= driver.now
    driver.to(2.5 * ELAPSED_PER_PASS).to(2.5 * ELAPSED_PER_PASS)
    assert driver.schedule.wake_at(driver.now) > driver.now
    assert driver.state.overlap_skipped == 2.5 * ELAPSED_PER_PASS - 1


def test_no_more_wait_than_may() -> None:
    driver = Driver(ALL, every=1)
    for _ in range(3):
        driver.to(WAITING_MAX + 500)
    assert len(driver.state.waiting) == WAITING_MAX
    assert driver.state.dropped > 0
    assert len(driver.state.waiting) + driver.state.dropped + 1 == WAITING_MAX + 500


def test_time_spent_paused_is_gone() -> None:
    driver = Driver(ALLOW, paused=True).to(25)
    driver.patch(unpause="on").to(35)
    assert [each.due_at - T0 for each in driver.state.recent] == [30 * SECOND]


def test_actions_run_out() -> None:
    driver = Driver(ALLOW, limited_actions=True, remaining_actions=2).to(10).to(20).to(30)
    assert len(driver.started) == 2
    assert driver.state.conflict_token == 3
    assert driver.schedule.wake_at(driver.now) == T0 + 20 * SECOND + KEPT_WHEN_DONE
    driver.patch(trigger_immediately=TriggerImmediatelyRequest())
    assert len(driver.started) == 3


def test_a_schedule_that_is_done_expires() -> None:
    driver = Driver(SKIP, every=0)
    driver.patch(trigger_immediately=TriggerImmediatelyRequest())
    assert driver.schedule.wake_at(driver.now) == 0
    driver.close("run1")
    expiry = T0 + KEPT_WHEN_DONE
    assert driver.schedule.wake_at(driver.now) == expiry
    assert not driver.schedule.expired(expiry - 1)
    assert driver.schedule.expired(expiry)
    driver.patch(pause="keep it")
    assert driver.schedule.wake_at(driver.now) == 0
    assert not driver.schedule.expired(expiry)


def test_a_backfill_of_thousands_goes_on_by_portions() -> None:
    driver = Driver(ALLOW, every=1, paused=True)
    driver.patch(
        backfill_request=[BackfillRequest(start_time=Timestamp(seconds=1), end_time=Timestamp(seconds=35))]
    )
    assert len(driver.started) <= BACKFILLED_PER_PASS
    passes = 0
    while (wake_at := driver.schedule.wake_at(driver.now)) > 0:
        assert wake_at == driver.now + SECOND
        driver.to((wake_at - T0) / SECOND)
        passes += 1
        assert passes < 10
    assert len(driver.started) == 35


def test_requests_are_told_apart_and_starts_named_alike() -> None:
    driver = Driver(ALL, every=10, paused=True)
    driver.schedule.patch(
        SchedulePatch(
            trigger_immediately=TriggerImmediatelyRequest(scheduled_time=Timestamp(seconds=50)),
            backfill_request=[
                BackfillRequest(start_time=Timestamp(seconds=50), end_time=Timestamp(seconds=50))
            ],
        ),
        T0,
    )
    driver.schedule.elapse(T0)
    first, second = driver.state.waiting
    assert (
        driver.schedule.workflow_id(first) == driver.schedule.workflow_id(second) == "wf-1970-01-01T00:00:50Z"
    )
    assert driver.schedule.request_id(first) != driver.schedule.request_id(second)
    driver.schedule.defined.policies.keep_original_workflow_id = True
    assert driver.schedule.workflow_id(first) == "wf"


def test_after_an_update_what_jitter_moved_is_still_done() -> None:
    driver = Driver(ALLOW, every=100, jitter=90)
    nominal = (T0 // SECOND // 100 + 1) * 100 * SECOND
    due = driver.spec.next(T0)
    assert due is not None
    assert due.nominal == nominal
    assert due.actual > nominal
    between = (nominal + due.actual) // 2
    driver.schedule.elapse(between)
    _, same = compiled(100, 90)
    updated = Definition()
    updated.CopyFrom(driver.schedule.defined)
    driver.schedule.update(updated, same, between)
    assert driver.schedule.wake_at(between) == due.actual
    driver.to((due.actual - T0) / SECOND)
    assert len(driver.started) == 1


def test_an_update_does_not_make_up_for_what_the_new_spec_would_have_done() -> None:
    driver = Driver(ALLOW, every=0).to(1000)
    spec, each_second = compiled(1)
    updated = Definition(spec=spec, policies=driver.schedule.defined.policies)
    driver.schedule.update(updated, each_second, driver.now)
    driver.to(1002)
    assert len(driver.started) == 2


def test_pause_on_failure_and_what_is_handed_on() -> None:
    driver = Driver(ALL).to(10).to(20).to(30)
    result = Payloads(payloads=[Payload(data=b"1")])
    driver.close("run1", Outcome(COMPLETED, result=result))
    assert Payloads.FromString(driver.state.last_result) == result
    driver.schedule.defined.policies.pause_on_failure = True
    driver.close("run2", Outcome(FAILED, failure=Failure(message="oh")))
    assert (
        driver.schedule.defined.state.notes == "paused due to workflow failure: wf-1970-01-12T13:47:00Z: oh"
    )
    assert driver.counts() == (2, 0, 0)
    assert Failure.FromString(driver.state.last_failure).message == "oh"
    assert driver.state.last_result


def test_a_request_is_known_once_it_was_made() -> None:
    schedule = Driver().schedule
    assert not schedule.knows_request("a")
    assert schedule.knows_request("a")
    assert not schedule.knows_request("")
    assert not schedule.knows_request("")


events = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 40)),
        st.tuples(st.just("close"), st.integers(0, 3)),
        st.tuples(st.just("trigger"), st.sampled_from([0, SKIP, ONE, ALL, CANCEL, TERMINATE, ALLOW])),
    ),
    max_size=40,
)


@given(st.sampled_from([SKIP, ONE, ALL, CANCEL, TERMINATE]), events)
def test_never_two_at_once_and_nothing_is_forgotten(policy: int, given_events: list[tuple[str, int]]) -> None:
    driver = Driver(policy)
    seconds = 0.0
    for kind, value in given_events:
        if kind == "wait":
            seconds += value
            driver.to(seconds)
        elif kind == "close" and driver.state.running:
            driver.close(driver.state.running[0].run_id)
        elif kind == "trigger":
            driver.patch(trigger_immediately=TriggerImmediatelyRequest(overlap_policy=value))  # type: ignore[arg-type]
        assert len(driver.state.running) <= 1
        assert driver.state.running or not driver.state.waiting
        data = msgspec.msgpack.encode(driver.state)
        assert msgspec.msgpack.decode(data, type=ScheduleState) == driver.state
    while driver.state.running:
        driver.close(driver.state.running[0].run_id)
    assert not driver.state.waiting
