"""What a standalone activity is: its request, which never changes, and the small state that is stored whole after each step."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.enums.v1 import ActivityExecutionStatus
from temporalio.api.workflowservice.v1 import StartActivityExecutionRequest

from cloud.engine.core.clock import LATEST, to_ns
from cloud.engine.core.standalone_asked import Asked
from cloud.engine.core.state import ActivityProgress, CallbackProgress

_S = ActivityExecutionStatus


class Phase(IntEnum):
    """Where it stands. The numbers are stored; the names, as `title` shows them, stand in sentences."""

    SCHEDULED = 1
    STARTED = 2
    CANCEL_REQUESTED = 3
    PAUSED = 4
    PAUSE_REQUESTED = 5
    RESET_REQUESTED = 6
    COMPLETED = 7
    FAILED = 8
    CANCELED = 9
    TERMINATED = 10
    TIMED_OUT = 11

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name.title().replace("_", "")

    @property
    def held(self) -> bool:
        """Whether a worker holds an attempt."""
        return self in _HELD

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self >= Phase.COMPLETED


_HELD = frozenset({Phase.STARTED, Phase.CANCEL_REQUESTED, Phase.PAUSE_REQUESTED, Phase.RESET_REQUESTED})
_STATUS = {
    Phase.PAUSED: _S.ACTIVITY_EXECUTION_STATUS_PAUSED,
    Phase.COMPLETED: _S.ACTIVITY_EXECUTION_STATUS_COMPLETED,
    Phase.FAILED: _S.ACTIVITY_EXECUTION_STATUS_FAILED,
    Phase.CANCELED: _S.ACTIVITY_EXECUTION_STATUS_CANCELED,
    Phase.TERMINATED: _S.ACTIVITY_EXECUTION_STATUS_TERMINATED,
    Phase.TIMED_OUT: _S.ACTIVITY_EXECUTION_STATUS_TIMED_OUT,
}


@dataclass(slots=True)
class ActivityCallback:
    """A completion callback. `callback` is it serialized, empty for the one at the same place in the activity's own request."""

    callback: bytes = b""
    registered_at: int = 0
    request_id: str = ""
    progress: CallbackProgress = field(default_factory=CallbackProgress)


@dataclass(slots=True)
class StandaloneState:
    """What is stored of it beside its request. May only grow by fields with a default. Times are ns, 0 for none."""

    scheduled_time: int = 0
    start_request_id: str = ""
    phase: Phase = Phase.SCHEDULED
    close_time: int = 0
    transitions: int = 0
    first_started_time: int = 0
    heartbeats: int = 0
    retry_interval: int = 0  # between the last attempt that failed and the one that waits
    retry_interval_given: bool = False  # by the worker, not the policy
    progress: ActivityProgress = field(default_factory=ActivityProgress)
    cancel: Asked | None = None
    pause: Asked | None = None  # the last one, over or not
    terminate_request_id: str = ""
    unpause_request_id: str = ""
    reset_request_id: str = ""
    update_request_id: str = ""
    restore_options: bool = False  # once the attempt that a worker holds has failed
    pause_after_reset: bool = False
    result: bytes = b""  # serialized Payloads
    has_result: bool = False  # a result may be empty
    failure: bytes = b""  # the outcome, where it is not the last attempt's failure
    retry_state: int = 0
    links: list[bytes] = field(default_factory=list)  # attached by later starts
    attached_request_ids: list[str] = field(default_factory=list)
    callbacks: list[ActivityCallback] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class StandaloneActivity:
    """One, in memory. `options` are those of the request until they are changed."""

    run_id: str
    request: StartActivityExecutionRequest
    state: StandaloneState
    options: ActivityOptions

    @classmethod
    def of(
        cls, run_id: str, request: StartActivityExecutionRequest, state: StandaloneState
    ) -> StandaloneActivity:
        """What is stored, in memory again."""
        changed = state.progress.options
        options = ActivityOptions.FromString(changed) if changed else original_options(request)
        return cls(run_id, request, state, options)

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.state.phase.closed

    @property
    def status(self) -> ActivityExecutionStatus.ValueType:
        """Its status as the API has it."""
        return _STATUS.get(self.state.phase, _S.ACTIVITY_EXECUTION_STATUS_RUNNING)

    @property
    def first_dispatch(self) -> int:
        """When its first attempt is offered (ns): at once, or after the start delay."""
        return min(self.state.scheduled_time + to_ns(self.options.start_delay), LATEST)

    @property
    def expires_at(self) -> int:
        """By when it must have ended (ns), 0 for never."""
        timeout = to_ns(self.options.schedule_to_close_timeout)
        return min(self.first_dispatch + timeout, LATEST) if timeout else 0

    @property
    def outcome_failure(self) -> bytes:
        """What a closed one failed with, serialized; empty if it has a result."""
        return b"" if self.state.has_result else self.state.failure or self.state.progress.last_failure


def original_options(request: StartActivityExecutionRequest) -> ActivityOptions:
    """The options that it was started with."""
    options = ActivityOptions()
    for name in ActivityOptions.DESCRIPTOR.fields_by_name:
        if request.HasField(name):  # type: ignore[arg-type]
            getattr(options, name).CopyFrom(getattr(request, name))
    return options
