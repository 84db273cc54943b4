"""What a run may hold beside its history is bounded by count and by bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure

from cloud.engine.core import activity, activity_ends, machine, signal
from cloud.engine.core.failures import shortened
from cloud.engine.core.limits import KIB, MIB, Limits
from tests.engine.core import machine_driver as d
from tests.engine.core.machine_driver import Driver, RandomWalk

FORCED = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND


def signal_of(driver: Driver, size: int) -> bool:
    return driver.transition(
        lambda turn: d._none(
            signal.receive(turn, name="s", input=d.payloads("x" * size), identity="me", request_id="")
        )
    )


def with_activities(count: int) -> Driver:
    driver = Driver()
    driver.start_task()
    driver.complete_task(*(d.schedule_activity(f"a{n}") for n in range(count)))
    return driver


def heartbeat_of(driver: Driver, event_id: int, size: int) -> bool:
    return driver.on_activity(
        event_id, lambda turn, pending: activity.heartbeat(turn, pending, d.payloads("x" * size))
    )


def test_a_hundred_events_may_wait_behind_a_workflow_task() -> None:
    driver = Driver()
    driver.start_task()
    for _ in range(100):
        assert signal_of(driver, 1)
    assert len(driver.live.buffered) == 100
    assert driver.live.workflow_task_in_flight


@pytest.mark.parametrize(("count", "size"), [(101, 1), (3, 900 * KIB)])
def test_beyond_that_the_worker_loses_its_task(count: int, size: int) -> None:
    driver = Driver()
    driver.start_task()
    for _ in range(count):
        assert signal_of(driver, size)
    driver.check()
    assert not driver.live.buffered
    assert not driver.live.buffered_size
    assert not driver.live.workflow_task_in_flight
    assert driver.live.has_pending_workflow_task
    failed = [event for event in driver.history() if event.HasField("workflow_task_failed_event_attributes")]
    assert [event.workflow_task_failed_event_attributes.cause for event in failed] == [FORCED]
    assert driver.live.signal_count == count


def test_what_activities_leave_behind_is_bounded_in_all() -> None:
    driver = with_activities(6)
    ids = list(driver.live.activities)
    for event_id in ids:
        driver.start_activity(event_id)
    for event_id in ids[:4]:
        assert heartbeat_of(driver, event_id, 2 * MIB - KIB)
        assert heartbeat_of(driver, event_id, 2 * MIB - KIB)  # what is replaced counts no longer
    driver.check()
    assert driver.live.running
    assert heartbeat_of(driver, ids[4], 2 * MIB - KIB)
    driver.check()
    last = driver.history()[-1]
    assert last.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED
    reason = last.workflow_execution_terminated_event_attributes.reason
    assert reason == "Workflow mutable state size exceeds limit."


def test_an_activity_that_ended_weighs_nothing() -> None:
    driver = with_activities(1)
    (event_id,) = driver.live.activities
    assert driver.live.size > 0
    driver.start_activity(event_id)
    heartbeat_of(driver, event_id, 1000)
    assert driver.live.progress_size > 1000
    driver.on_activity(
        event_id,
        lambda turn, pending: activity_ends.complete(turn, pending, result=None, identity="worker"),
    )
    assert driver.live.size == 0


def test_a_failure_that_is_kept_for_the_next_attempt_is_shortened() -> None:
    driver = with_activities(1)
    (event_id,) = driver.live.activities
    driver.start_activity(event_id)
    failure = Failure(message="ä" * 10_000, stack_trace="at\n" * 10_000)
    failure.application_failure_info.type = "Bad"
    failure.cause.message = "below"
    driver.on_activity(
        event_id,
        lambda turn, pending: activity_ends.fail(turn, pending, failure=failure, identity="worker"),
    )
    kept = Failure.FromString(driver.live.activities[event_id].progress.last_failure)
    assert kept.ByteSize() < 4 * KIB + 100
    assert kept.message == "Failure exceeds size limit."
    assert kept.cause.application_failure_info.type == "Bad"
    assert set(kept.cause.message) == {"ä"}


def test_a_failure_that_fits_stays_as_it_is() -> None:
    failure = Failure(message="x" * 100)
    assert shortened(failure, 4 * KIB) is failure


def test_the_causes_of_a_long_failure_follow_as_far_as_they_fit() -> None:
    failure = Failure(message="top", stack_trace="s" * 5000)
    failure.cause.message = "below"
    assert not shortened(failure, KIB).cause.HasField("cause")
    failure.stack_trace = "s" * 500
    failure.cause.stack_trace = "t" * 5000
    kept = shortened(failure, KIB).cause
    assert kept.cause.message == "below"
    assert 0 < len(kept.cause.stack_trace) <= KIB - 500


@pytest.mark.parametrize("seed", range(40))
def test_rebuilt_equals_live_where_limits_are_narrow(seed: int) -> None:
    """The ends that limits make are reached by walks too, and leave a state that can be rebuilt."""
    walk = RandomWalk(seed)
    limits: Limits = replace(
        walk.driver.around.limits, buffered_events=1, buffered_events_size=150, mutable_state_size_error=400
    )
    walk.driver.around = replace(walk.driver.around, limits=limits)
    for _ in range(60):
        if not walk.driver.live.running:
            break
        walk.step()
        walk.driver.check()
        assert len(walk.driver.live.buffered) <= 1
    assert machine.due_at(walk.driver.live) >= 0
