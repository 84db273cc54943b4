"""What a reset changes in the state of a run, and what its reset points are."""

from __future__ import annotations

from temporalio.api.common.v1 import Callback
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes

from cloud.engine.core import callback, close, machine, reset
from cloud.engine.core.clock import SECOND, duration, to_ns
from cloud.engine.core.effects import DeliverCallback, DispatchActivity
from cloud.engine.core.turn import Turn
from tests.engine.core.machine_driver import Driver, schedule_activity, start_timer


def test_time_outs_count_from_the_reset() -> None:
    driver = Driver(workflow_run_timeout=duration(100 * SECOND))
    driver.start_task()
    driver.complete_task()
    driver.advance(60 * SECOND)
    assert driver.reset(4)
    driver.check()
    assert machine.due_at(driver.live) == driver.now + 100 * SECOND
    assert driver.live.original_start_time == driver.now - 60 * SECOND


def test_timers_keep_their_time_and_activities_begin_anew() -> None:
    driver = Driver()
    driver.start_task()
    driver.complete_task(start_timer("t", 30), schedule_activity("a", schedule_to_start_timeout=20))
    driver.signal()
    driver.start_task()
    driver.complete_task()
    ends = [e.event_id for e in driver.history() if e.HasField("workflow_task_completed_event_attributes")]
    driver.advance(10 * SECOND)
    driver.effects.clear()
    assert driver.reset(ends[-1])
    driver.check()
    assert machine.due_at(driver.live) == driver.now + 20 * SECOND
    assert driver.live.timers["t"].fires_at == driver.now + 20 * SECOND
    offered = [effect for effect in driver.effects if isinstance(effect, DispatchActivity)]
    assert len(offered) == 1
    driver.advance(21 * SECOND)
    driver.check()
    assert not driver.live.timers
    assert not driver.live.activities


def test_callbacks_are_those_of_the_run_that_goes_on() -> None:
    driver = Driver(completion_callbacks=[Callback(nexus=Callback.Nexus(url="http://there"))])

    def end(turn: Turn) -> None:
        turn.execution.volatile.reset_run_id = "run-1"
        turn.execution.volatile.ended_by_reset = True
        close.terminate(turn, reason="", details=None, identity="history-resetter")

    driver.start_task()
    driver.complete_task()
    base = driver.history()
    driver.transition(end)
    driver.check()
    assert not callback.triggered(driver.live, driver.live.callbacks[0])
    assert not any(isinstance(effect, DeliverCallback) for effect in driver.effects)
    again = Driver(
        completion_callbacks=base[0].workflow_execution_started_event_attributes.completion_callbacks
    )
    again.start_task()
    again.complete_task()
    assert again.reset(4)
    again.transition(lambda turn: close.terminate(turn, reason="", details=None, identity="me"))
    assert any(isinstance(effect, DeliverCallback) for effect in again.effects)


def test_reset_points_are_handed_on_until_their_run_is_deleted() -> None:
    driver = Driver()
    driver.start_task()
    driver.complete_task()
    ((version, point),) = driver.live.reset_points.items()
    assert point.first_workflow_task_completed_id == 4
    attributes = WorkflowExecutionStartedEventAttributes()
    reset.hand_on_points(driver.live, attributes, now=driver.now, retention=100 * SECOND)
    (handed_on,) = attributes.prev_auto_reset_points.points
    assert to_ns(handed_on.expire_time) == driver.now + 100 * SECOND
    following = Driver(prev_auto_reset_points=attributes.prev_auto_reset_points)
    assert following.live.reset_points[version].run_id == "run-0"
    late = WorkflowExecutionStartedEventAttributes(prev_auto_reset_points=attributes.prev_auto_reset_points)
    late.prev_auto_reset_points.points[0].expire_time.FromSeconds(1)
    assert not Driver(prev_auto_reset_points=late.prev_auto_reset_points).live.reset_points


def test_reset_points_are_bounded() -> None:
    driver = Driver()
    for number in range(reset.RESET_POINTS_MAX + 5):
        driver.signal()
        driver.start_task()
        driver.complete_task(checksum=f"c{number}")
    assert len(driver.live.reset_points) == reset.RESET_POINTS_MAX
    assert ("c24", "") in driver.live.reset_points
    driver.check()
