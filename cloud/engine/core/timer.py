"""Timers: started → fired or cancelled."""

from __future__ import annotations

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent, TimerFiredEventAttributes

from cloud.engine.core import deadline_kinds as kinds
from cloud.engine.core import workflow_task
from cloud.engine.core.clock import to_ns
from cloud.engine.core.deadlines import push
from cloud.engine.core.state import Execution, Timer
from cloud.engine.core.turn import Turn

_E = EventType


def _apply_started(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.timer_started_event_attributes
    execution.timers[attributes.timer_id] = Timer(
        timer_id=attributes.timer_id,
        started_event_id=event.event_id,
        fires_at=to_ns(event.event_time) + to_ns(attributes.start_to_fire_timeout),
    )


def _apply_fired(execution: Execution, event: HistoryEvent) -> None:
    del execution.timers[event.timer_fired_event_attributes.timer_id]


def _apply_canceled(execution: Execution, event: HistoryEvent) -> None:
    execution.timers.pop(event.timer_canceled_event_attributes.timer_id, None)


APPLY = {
    _E.EVENT_TYPE_TIMER_STARTED: _apply_started,
    _E.EVENT_TYPE_TIMER_FIRED: _apply_fired,
    _E.EVENT_TYPE_TIMER_CANCELED: _apply_canceled,
}


def mark_buffered(execution: Execution, event: HistoryEvent) -> None:
    """A timer whose firing waits in the buffer does not fire again."""
    if event.event_type == _E.EVENT_TYPE_TIMER_FIRED:
        execution.timers[event.timer_fired_event_attributes.timer_id].closing = True


def start(turn: Turn, event: HistoryEvent) -> None:
    """Write a timer's start `event`."""
    turn.append(event)
    turn.meter("start_timer")
    timer_id = event.timer_started_event_attributes.timer_id
    push(turn.execution, kinds.TIMER, timer_id, due(turn.execution, timer_id))


def buffered_firing(execution: Execution, timer_id: str) -> HistoryEvent | None:
    """The fired event of `timer_id` that waits in the buffer, if one does."""
    return next(
        (
            event
            for event in execution.buffered
            if event.event_type == _E.EVENT_TYPE_TIMER_FIRED
            and event.timer_fired_event_attributes.timer_id == timer_id
        ),
        None,
    )


def due(execution: Execution, key: int | str) -> int:
    """When the timer fires."""
    timer = execution.timers.get(key) if isinstance(key, str) else None
    return 0 if timer is None or timer.closing else timer.fires_at


def fire(turn: Turn, key: int | str) -> None:
    """The timer's time has come."""
    timer = turn.execution.timers[str(key)]
    turn.add(
        turn.event(
            _E.EVENT_TYPE_TIMER_FIRED,
            timer_fired_event_attributes=TimerFiredEventAttributes(
                timer_id=timer.timer_id, started_event_id=timer.started_event_id
            ),
        )
    )
    workflow_task.schedule(turn)
