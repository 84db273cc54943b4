"""A run's own clock: in which time its deadlines are told, and how far it may go."""

from __future__ import annotations

from temporalio.api.common.v1 import TimeSkippingConfig
from temporalio.api.workflow.v1 import WorkflowExecutionOptions

from cloud.engine.core import machine, options, run_clock
from cloud.engine.core.clock import SECOND, to_ns
from tests.engine.core.machine_driver import Driver, start_timer

HOUR = 3600
CENTURY = 100 * 365 * 24 * HOUR


def skipping(**config: int) -> Driver:
    return Driver(time_skipping_config=TimeSkippingConfig(enabled=True, max_session_skip_count=9, **config))


def step(driver: Driver, timer_id: str, seconds: int) -> None:
    assert driver.start_task()
    assert driver.complete_task(start_timer(timer_id, seconds)) is not None
    driver.check()


def test_what_is_skipped_to_is_due_now_by_the_cells_clock() -> None:
    driver = skipping()
    step(driver, "a", HOUR)
    assert run_clock.ahead(driver.live) == HOUR * SECOND
    assert machine.due_at(driver.live) <= driver.now
    driver.advance(0)
    fired = driver.history()[-2]
    assert fired.HasField("timer_fired_event_attributes")
    assert to_ns(fired.event_time) == driver.now + HOUR * SECOND


def test_what_is_due_later_is_due_by_the_cells_clock() -> None:
    driver = skipping()
    step(driver, "a", HOUR)
    driver.advance(0)
    step(driver, "b", HOUR)
    assert run_clock.ahead(driver.live) // SECOND == 2 * HOUR
    assert driver.transition(lambda turn: options.update(turn, WorkflowExecutionOptions(), identity="me"))
    driver.advance(0)
    step(driver, "c", HOUR)
    assert (machine.due_at(driver.live) - driver.now) // SECOND == HOUR  # not skipped: an hour from now


def test_time_ends_where_moments_can_not_be_stored_any_more() -> None:
    driver = skipping()
    for number in range(3):
        step(driver, f"t{number}", CENTURY)
        driver.advance(0)
        if not driver.live.has_pending_workflow_task:
            break
    now = driver.now + run_clock.ahead(driver.live)
    assert now <= run_clock.FURTHEST
    assert run_clock.ahead(driver.live) >= CENTURY * SECOND
    assert driver.live.timers


def test_usage_is_of_the_cells_time() -> None:
    driver = skipping()
    step(driver, "a", HOUR)
    turn = machine.open_turn(driver.live, driver.now, driver.around)
    assert turn.now - turn.wall == HOUR * SECOND
    assert turn.wall == driver.now
