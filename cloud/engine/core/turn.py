"""One transition of one run while it is being computed.

A turn is opened on an execution, core functions add events and effects to it, and the runtime takes what came of it:
`events` (with ids), newly `buffered` ones, `effects`, and which activities' progress changed. Functions of the core check first and
change after, so that a refusal leaves both the turn and the execution as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from cloud.engine.core.clock import SECOND
from cloud.engine.core.effects import Effect, Meter
from cloud.engine.core.errors import Invalid
from cloud.engine.core.limits import Limits
from cloud.engine.core.state import Execution

if TYPE_CHECKING:
    from cloud.engine.core.activity_rules import ActivityRule

# The order in which buffered events enter the history: what ends an activity, a child or an operation goes last, so that a
# started event always stands before it (as the real server sorts them).
_LAST_OUT_OF_THE_BUFFER = frozenset(
    {
        EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT,
        EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED,
        EventType.EVENT_TYPE_NEXUS_OPERATION_COMPLETED,
        EventType.EVENT_TYPE_NEXUS_OPERATION_FAILED,
        EventType.EVENT_TYPE_NEXUS_OPERATION_CANCELED,
        EventType.EVENT_TYPE_NEXUS_OPERATION_TIMED_OUT,
    }
)


_INTENTS = frozenset(
    {
        EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
        EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED,
        EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
        EventType.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED,
        EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED,
    }
)


def grow(execution: Execution, event: HistoryEvent) -> None:
    """The history grew by `event`, which is folded in: count its bytes."""
    size = event.ByteSize()
    execution.history_size += size
    if event.event_type in _INTENTS:
        execution.keep_intent(event.event_id, size)


def wait(execution: Execution, event: HistoryEvent) -> None:
    """`event` enters the buffer."""
    execution.buffered.append(event)
    execution.buffered_size += event.ByteSize()


class Ids(Protocol):
    """Where new ids come from, so that a test can replay them."""

    def run_id(self) -> str:
        """A new run id: a UUID, ordered by time where possible."""

    def request_id(self) -> str:
        """A new request id: a UUID."""


def _polls_nothing(queue: str, version: str) -> bool:
    return False


def _no_endpoint(name: str) -> str:
    raise Invalid(f'endpoint "{name}" not found')


def _no_operation(service: str, operation: str, given: Payload) -> None:
    raise Invalid(f'service "{service}" not found')


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a transition may know of the world beside its run."""

    namespace: str
    namespace_id: str
    limits: Limits
    ids: Ids
    next_cron_delay: Callable[[str, int, int], int]
    """(schedule, start time, now) -> delay to the next run in ns; -1 if there is none."""
    polls: Callable[[str, str], bool] = _polls_nothing
    """(task queue, version of workers) -> whether those poll the queue for workflow tasks, or did."""
    nexus_endpoint: Callable[[str], str] = _no_endpoint
    """The id of a Nexus endpoint by its name; raises Invalid if there is none, or none for this namespace."""
    check_system_operation: Callable[[str, str, Payload], None] = _no_operation
    """Checks (service, operation, input) of a Nexus operation of the service itself. Raises Invalid if it can't be called so."""
    activity_rules: Sequence[ActivityRule] = ()
    retention: int = 0
    """How long closed runs are kept (ns)."""


@dataclass(slots=True)
class Turn:
    """See the module's head. `apply`, `mark_buffered` and `write_task` are the machine's: they fold an event into the execution,
    note what one in the buffer decides, and write the events of a speculative workflow task."""

    execution: Execution
    now: int  # of the run's own clock
    wall: int  # of its cell's
    around: Surroundings
    apply: Callable[[Execution, HistoryEvent], None]
    mark_buffered: Callable[[Execution, HistoryEvent], None]
    write_task: Callable[[Turn], None]
    events: list[HistoryEvent] = field(default_factory=list)
    newly_buffered: list[HistoryEvent] = field(default_factory=list)
    flushed: bool = False
    effects: list[Effect] = field(default_factory=list)
    progressed: set[int] = field(default_factory=set)
    nexus_progressed: set[int] = field(default_factory=set)
    dirty: bool = False

    def event(self, event_type: EventType.ValueType, **attributes: Any) -> HistoryEvent:
        """A new event of this turn's time, not yet in the history; `attributes` is its one attributes field."""
        seconds, nanos = divmod(self.now, SECOND)
        event = HistoryEvent(event_type=event_type, **attributes)
        event.event_time.seconds = seconds
        event.event_time.nanos = nanos
        return event

    def append(self, event: HistoryEvent) -> int:
        """Put `event` at the end of the history and fold it in. Returns its id."""
        execution = self.execution
        event.event_id = execution.next_event_id
        event.task_id = event.event_id  # readers only want it to rise
        execution.next_event_id += 1
        self.dirty = True
        self.apply(execution, event)  # may complete the event, so its size is taken after
        grow(execution, event)
        self.events.append(event)
        return event.event_id

    def add(self, event: HistoryEvent) -> None:
        """Append `event`, or buffer it while a worker has the workflow task."""
        if self.execution.workflow_task.speculative:
            self.write_task(self)  # it can't go without a trace any more
        if not self.execution.workflow_task_in_flight:
            self.append(event)
            return
        self.dirty = True
        wait(self.execution, event)
        self.newly_buffered.append(event)
        self.mark_buffered(self.execution, event)

    def flush_buffer(self) -> bool:
        """Append what is buffered, in the real server's order. Returns whether there was anything."""
        waiting = self.execution.buffered
        if not waiting:
            return False
        self.execution.buffered = []
        self.execution.buffered_size = 0
        self.newly_buffered.clear()
        self.flushed = True
        for last in (False, True):
            for event in waiting:
                if (event.event_type in _LAST_OUT_OF_THE_BUFFER) is last:
                    self.append(event)
        return True

    def drop_buffered(self, event: HistoryEvent) -> None:
        """Take one event out of the buffer again (a timer that was cancelled after it fired)."""
        self.execution.buffered.remove(event)
        self.execution.buffered_size -= event.ByteSize()
        if event in self.newly_buffered:
            self.newly_buffered.remove(event)
        self.flushed = True
        self.dirty = True

    def ask(self, effect: Effect) -> None:
        """Ask the runtime for an effect."""
        self.dirty = True
        self.effects.append(effect)

    def meter(self, kind: str, count: int = 1) -> None:
        """Count usage."""
        self.ask(Meter(kind, count))

    def progress(self, scheduled_event_id: int) -> None:
        """Note that the progress of this activity changed and is to be stored."""
        self.dirty = True
        self.progressed.add(scheduled_event_id)

    def nexus_progress(self, key: int) -> None:
        """Note that the progress of this Nexus operation changed and is to be stored."""
        self.dirty = True
        self.nexus_progressed.add(key)
