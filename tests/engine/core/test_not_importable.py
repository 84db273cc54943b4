"""What can't become a run here is refused by its kind, whatever somebody hands in."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from cloud.engine.api.describe import describe_run
from cloud.engine.core import importing
from cloud.engine.core.limits import Limits
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.nexus_breakers import Breakers
from tests.engine.core.machine_driver import Driver, complete, schedule_activity, start_child, start_timer

Events = list[HistoryEvent]
Description = DescribeWorkflowExecutionResponse
Change = Callable[[Events, Description], None]


def half_way() -> Driver:
    driver = Driver()
    driver.start_task()
    driver.complete_task(schedule_activity("a"), start_timer("t", 60))
    return driver


def told(driver: Driver) -> tuple[Events, Description]:
    hot = HotRun(driver.live, Namespace(namespace_id="ns-id", name="ns"))
    found = Description()
    found.CopyFrom(describe_run(hot, driver.now, Breakers()))
    return driver.history(), found


def read(driver: Driver, events: Events, description: Description | None) -> importing.Imported:
    return importing.read(driver.live.key, events, description, Limits())


def _set(field: str, value: object) -> Change:
    def change(events: Events, description: Description) -> None:
        setattr(description.workflow_execution_info, field, value)

    return change


def _forget_event(events: Events, description: Description) -> None:
    del events[3]


def _forget_the_first(events: Events, description: Description) -> None:
    del events[0]


def _forget_all(events: Events, description: Description) -> None:
    events.clear()


def _invent_a_type(events: Events, description: Description) -> None:
    events[-1].event_type = 9999  # type: ignore[assignment]


def _wrong_attributes(events: Events, description: Description) -> None:
    events[-1].timer_fired_event_attributes.timer_id = "t"


def _fire_what_is_not_there(events: Events, description: Description) -> None:
    event = HistoryEvent(event_id=len(events) + 1, event_type="EVENT_TYPE_TIMER_FIRED")  # type: ignore[arg-type]
    event.timer_fired_event_attributes.timer_id = "nowhere"
    events.append(event)


def _begin_again(events: Events, description: Description) -> None:
    event = HistoryEvent()
    event.CopyFrom(events[0])
    event.event_id = len(events) + 1
    events.append(event)


def _forget_an_activity(events: Events, description: Description) -> None:
    del description.pending_activities[:]


def _tell_an_activity_twice(events: Events, description: Description) -> None:
    description.pending_activities.add().CopyFrom(description.pending_activities[0])


def _held_since_never(events: Events, description: Description) -> None:
    description.pending_activities[0].state = "PENDING_ACTIVITY_STATE_STARTED"  # type: ignore[assignment]


def _cancelled_by_one_alone(events: Events, description: Description) -> None:
    description.pending_activities[0].state = "PENDING_ACTIVITY_STATE_CANCEL_REQUESTED"  # type: ignore[assignment]


def _invent_a_child(events: Events, description: Description) -> None:
    description.pending_children.add().initiated_id = 7


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (importing.HistoryGap, _forget_event),
        (importing.HistoryGap, _forget_the_first),
        (importing.HistoryGap, _forget_all),
        (importing.HistoryGap, _fire_what_is_not_there),
        (importing.HistoryGap, _begin_again),
        (importing.UnknownEvent, _invent_a_type),
        (importing.UnknownEvent, _wrong_attributes),
        (importing.Inconsistent, _set("history_length", 99)),
        (importing.Inconsistent, _set("status", 2)),
        (importing.Inconsistent, _forget_an_activity),
        (importing.Inconsistent, _tell_an_activity_twice),
        (importing.Inconsistent, _held_since_never),
        (importing.Inconsistent, _cancelled_by_one_alone),
        (importing.Inconsistent, _invent_a_child),
    ],
)
def test_refused_by_its_kind(kind: type[importing.NotImportable], change: Change) -> None:
    driver = half_way()
    events, description = told(driver)
    read(driver, events, description)
    change(events, description)
    with pytest.raises(kind):
        read(driver, events, description)


def test_an_open_run_without_a_description() -> None:
    driver = half_way()
    with pytest.raises(importing.DescriptionMissing):
        read(driver, driver.history(), None)


def test_a_run_that_is_not_settled() -> None:
    driver = Driver()
    driver.start_task()
    with pytest.raises(importing.TaskInFlight):
        read(driver, *told(driver))
    with pytest.raises(importing.TaskInFlight):
        read(driver, driver.history(), None)
    driver.complete_task(start_child("c"))
    with pytest.raises(importing.NotSettled, match="is being started"):
        read(driver, *told(driver))


def test_events_behind_the_end() -> None:
    driver = Driver()
    driver.start_task()
    driver.complete_task(complete())
    events = driver.history()
    read(driver, events, None)
    events.append(HistoryEvent(event_id=len(events) + 1))
    with pytest.raises(importing.HistoryGap):
        read(driver, events, None)


def test_what_is_too_large() -> None:
    driver = half_way()
    events, description = told(driver)
    with pytest.raises(importing.TooLarge):
        importing.read(driver.live.key, events, description, Limits(history_count_error=2))
    with pytest.raises(importing.TooLarge):
        importing.read(driver.live.key, events, description, Limits(history_size_error=10))


def test_damaged_bytes_are_never_taken_for_a_defect() -> None:
    """Whatever parses is read, or refused by its kind."""
    chance = random.Random(5)
    driver = half_way()
    events, description = told(driver)
    kinds = set()
    for _ in range(3000):
        damaged = list(events)
        index = chance.randrange(len(events))
        data = bytearray(events[index].SerializeToString())
        data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            damaged[index] = HistoryEvent.FromString(bytes(data))
        except Exception:  # noqa: S112 - no proto any more
            continue
        try:
            read(driver, damaged, description)
            kinds.add("read")
        except importing.NotImportable as refused:
            kinds.add(type(refused).__name__)
    assert len(kinds) > 3
