"""What becomes due while a run is paused waits for its end, and no turn of the machine spins on it."""

from __future__ import annotations

from temporalio.api.failure.v1 import Failure

from cloud.engine.core import activity, activity_ends, machine, pause
from cloud.engine.core.clock import SECOND, duration
from cloud.engine.core.effects import DispatchActivity, DispatchWorkflowTask
from tests.engine.core.machine_driver import Driver, schedule_activity


def pause_it(driver: Driver) -> None:
    assert driver.transition(lambda turn: pause.pause(turn, identity="me", reason="", request_id="p"))
    driver.effects.clear()


def unpause_it(driver: Driver) -> None:
    assert driver.transition(lambda turn: pause.unpause(turn, identity="me", reason="", request_id="u"))


def test_first_task_whose_time_comes_meanwhile() -> None:
    driver = Driver(first_workflow_task_backoff=duration(10 * SECOND))
    pause_it(driver)
    driver.advance(20 * SECOND)
    driver.check()
    assert not driver.live.has_pending_workflow_task
    unpause_it(driver)
    assert any(isinstance(effect, DispatchWorkflowTask) for effect in driver.effects)
    driver.check()


def test_first_task_whose_time_comes_later() -> None:
    driver = Driver(first_workflow_task_backoff=duration(10 * SECOND))
    pause_it(driver)
    unpause_it(driver)
    assert not driver.live.has_pending_workflow_task
    assert machine.due_at(driver.live) == driver.live.start_time + 10 * SECOND
    driver.advance(11 * SECOND)
    assert driver.live.has_pending_workflow_task
    driver.check()


def test_attempt_that_is_due_meanwhile() -> None:
    driver = Driver()
    driver.start_task()
    driver.complete_task(schedule_activity("a"))
    (event_id,) = driver.live.activities
    driver.start_activity(event_id)
    driver.on_activity(
        event_id,
        lambda turn, held: activity_ends.fail(turn, held, failure=Failure(message="no"), identity="w"),
    )
    pause_it(driver)
    driver.advance(5 * SECOND)
    driver.check()
    assert not driver.effects
    unpause_it(driver)
    offered = [effect for effect in driver.effects if isinstance(effect, DispatchActivity)]
    assert [effect.stamp for effect in offered] == [driver.live.activities[event_id].progress.stamp]
    assert driver.start_activity(event_id)


def test_offer_of_before_is_stale() -> None:
    driver = Driver()
    driver.start_task()
    driver.complete_task(schedule_activity("a"))
    (event_id,) = driver.live.activities
    pause_it(driver)
    assert not driver.transition(
        lambda turn: activity.start(  # type: ignore[arg-type,return-value]
            turn, scheduled_event_id=event_id, stamp=0, request_id="r", identity="w"
        )
    )
