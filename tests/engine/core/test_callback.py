"""Completion callbacks in the core: when they are called, how often, and that a rebuilt run knows it."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import Callback
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import WorkflowExecutionOptionsUpdatedEventAttributes

from cloud.engine.core import callback, close, machine, start
from cloud.engine.core.clock import SECOND
from cloud.engine.core.effects import DeliverCallback
from cloud.engine.core.turn import Turn
from tests.engine.core import machine_driver as d
from tests.engine.core.machine_driver import Driver


def callbacks(count: int) -> list[Callback]:
    return [Callback(nexus=Callback.Nexus(url=f"http://host/{n}")) for n in range(count)]


def attach(turn: Turn, count: int, request_id: str = "again") -> None:
    attributes = WorkflowExecutionOptionsUpdatedEventAttributes(
        attached_request_id=request_id, attached_completion_callbacks=callbacks(count)
    )
    event = turn.event(
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
        workflow_execution_options_updated_event_attributes=attributes,
    )
    start.attach(turn, event)


def asked(driver: Driver) -> list[int]:
    return [effect.index for effect in driver.effects if isinstance(effect, DeliverCallback)]


def test_called_when_the_run_closes_until_they_take_it() -> None:
    driver = Driver(completion_callbacks=callbacks(3))
    assert asked(driver) == []
    driver.transition(lambda turn: close.terminate(turn, reason="", details=None, identity="me"))
    assert asked(driver) == [0, 1, 2]
    driver.check()

    driver.transition(lambda turn: callback.delivered(turn, 0))
    driver.transition(lambda turn: callback.not_delivered(turn, 1, "not now", retryable=True))
    driver.transition(lambda turn: callback.not_delivered(turn, 2, "never", retryable=False))
    driver.check()
    assert not machine.outstanding(driver.live)[3:]
    progress = driver.live.callbacks[1].progress
    assert driver.now + 0.8 * SECOND <= progress.next_attempt_time <= driver.now + SECOND
    assert machine.due_at(driver.live) == progress.next_attempt_time

    driver.advance(SECOND)
    assert asked(driver) == [0, 1, 2, 1]
    driver.check()
    driver.transition(lambda turn: callback.not_delivered(turn, 1, "not now", retryable=True))
    driver.check()
    assert driver.live.callbacks[1].progress.next_attempt_time >= driver.now + 1.6 * SECOND


def test_left_to_the_run_that_follows() -> None:
    driver = Driver(completion_callbacks=callbacks(1))
    driver.transition(lambda turn: attach(turn, 1))
    driver.start_task()
    driver.complete_task(d.continue_as_new())
    assert not driver.live.running
    assert asked(driver) == []
    driver.check()
    (following,) = d.next_runs(driver)
    assert [found.nexus.url for found in following.attributes.completion_callbacks] == [
        "http://host/0",
        "http://host/0",
    ]


def test_attached_while_a_task_is_in_flight() -> None:
    driver = Driver()
    driver.start_task()
    driver.transition(lambda turn: attach(turn, 1))
    driver.check()
    assert driver.live.callbacks == []  # it waits in the buffer
    driver.complete_task()
    driver.check()
    assert [found.request_id for found in driver.live.callbacks] == ["again"]


@pytest.mark.parametrize("in_flight", [False, True])
def test_no_more_than_the_limit(in_flight: bool) -> None:
    driver = Driver(completion_callbacks=callbacks(30))
    if in_flight:
        driver.start_task()
    assert driver.transition(lambda turn: attach(turn, 2, "first"))
    assert not driver.transition(lambda turn: attach(turn, 1, "second"))
    driver.check()


@pytest.mark.parametrize("seed", range(40))
def test_those_of_updates_are_asked_for_once(seed: int) -> None:
    """Each callback is asked for when its time comes, and again only after a call that failed."""
    walk = d.RandomWalk(seed)
    driver = walk.driver
    for _ in range(80):
        if not driver.live.running:
            break
        before = driver.live.key.run_id
        walk.step()
        if driver.live.key.run_id != before:
            break  # it was reset: the effects are those of two runs
        for index, found in enumerate(driver.live.callbacks):
            waits = callback.awaits_delivery(driver.live, index)
            assert asked(driver).count(index) == found.progress.attempt + waits


def test_walks_reach_all_that_updates_callbacks_go_through() -> None:
    wanted = {
        "attached",
        "attached late",
        "succeeded",
        "failed",
        "backing off",
        "rejected",
        "of a closed run",
    }
    seen: set[str] = set()
    for seed in range(3_000):
        if seen == wanted:
            break
        walk = d.RandomWalk(seed)
        for _ in range(60):
            if not walk.driver.live.running:
                break
            walk.step()
            live = walk.driver.live
            if live.volatile.rejections:
                seen.add("rejected")
            for found in live.callbacks:
                if not found.update_id:
                    continue
                by_event = live.attached_request_ids[found.request_id]
                if by_event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED:
                    seen.add("attached")
                    ended = (
                        live.updates[found.update_id].completed_event_id
                        if found.update_id in live.updates
                        else 0
                    )
                    if 0 < ended < by_event.event_id:
                        seen.add("attached late")
                progress = found.progress
                if progress.succeeded:
                    seen.add("succeeded")
                if progress.failed:
                    seen.add("failed")
                if progress.next_attempt_time and live.running:
                    seen.add("backing off")
                if not live.running and found.update_id in live.updates:
                    seen.add("of a closed run")
    assert seen == wanted
