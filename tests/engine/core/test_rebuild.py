"""The state that is rebuilt from what is stored equals the live one, after every transition of any run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.enums.v1 import EventType

from cloud.engine.core import machine, start
from cloud.engine.core.state import Volatile
from cloud.engine.core.turn import Turn
from tests.engine.core.machine_driver import Driver, RandomWalk

STEPS = 60


def walk(seed: int) -> RandomWalk:
    walk = RandomWalk(seed)
    walk.driver.check()
    for _ in range(STEPS):
        if not walk.driver.live.running:
            break
        walk.step()
        walk.driver.check()
    return walk


@given(st.integers(min_value=0))
@settings(max_examples=150, deadline=None)
def test_rebuilt_equals_live(seed: int) -> None:
    walk(seed)


@pytest.mark.parametrize("seed", [*range(25), 6_433_994])
def test_known_seeds(seed: int) -> None:
    """Seeds that every run of the tests walks, so that a change is held against the same histories."""
    walk(seed)


def test_a_seed_replays_exactly() -> None:
    first, second = walk(7).driver, walk(7).driver
    assert first.history() == second.history()
    assert first.effects == second.effects


def test_walks_reach_what_people_do_to_activities() -> None:
    """Pauses, resets and changed options leave no event: what they leave must have been there to be compared."""
    wanted = {
        "started paused",
        "waiting paused",
        "started reset",
        "waiting reset",
        "started with options",
        "waiting with options",
        "waiting for its jitter",
    }
    seen: set[str] = set()
    for seed in range(2_000):
        if seen == wanted:
            break
        steps = RandomWalk(seed)
        for _ in range(STEPS):
            steps.step()
            for pending in steps.driver.live.activities.values():
                progress = pending.progress
                where = "started" if progress.started_time else "waiting"
                seen |= {f"{where} paused"} if progress.pause else set()
                seen |= {f"{where} reset"} if progress.reset else set()
                seen |= {f"{where} with options"} if progress.options else set()
                seen |= (
                    {"waiting for its jitter"}
                    if progress.backing_off and not progress.last_failure
                    else set()
                )
    assert seen == wanted


def test_walks_reach_every_event_that_the_core_writes() -> None:
    """Else the property above would hold for want of anything that could break it."""
    seen = {event.event_type for seed in range(200) for event in walk(seed).driver.history()}
    written = set(machine.APPLY)
    # Written for the start and the end of a child, which scenarios over the API cover.
    by_others = {
        EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED,
    }
    missing = {EventType.Name(t) for t in written - seen - by_others}
    assert not missing


def test_attached_callbacks_leave_the_first_event_as_it_is() -> None:
    driver = Driver()
    first = driver.history()[0]

    def attach(turn: Turn) -> None:
        event = turn.event(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED)
        event.workflow_execution_options_updated_event_attributes.attached_completion_callbacks.add()
        start.attach(turn, event)

    driver.transition(attach)
    driver.check()
    events = driver.history()
    machine.rebuild(driver.live.key, events, volatile=Volatile(), progress={}, buffered=[])
    assert len(driver.live.started.completion_callbacks) == 1
    assert events[0] == first
