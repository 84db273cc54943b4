"""What a standalone Nexus operation is: its request, which never changes, and the small state that is stored whole after each step."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from temporalio.api.enums.v1 import NexusOperationExecutionStatus
from temporalio.api.workflowservice.v1 import StartNexusOperationExecutionRequest

from cloud.engine.core.clock import LATEST, to_ns
from cloud.engine.core.standalone_asked import Asked

_S = NexusOperationExecutionStatus


class OperationPhase(IntEnum):
    """Where it stands. The numbers are stored; the names, as `title` shows them, stand in sentences."""

    SCHEDULED = 1  # its handler is asked to start it
    BACKING_OFF = 2
    STARTED = 3
    SUCCEEDED = 4
    FAILED = 5
    CANCELED = 6
    TERMINATED = 7
    TIMED_OUT = 8

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.name.title().replace("_", "")

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self >= OperationPhase.SUCCEEDED


class CancelPhase(IntEnum):
    """Where a request to cancel stands. The numbers are stored, and are those of the API's states."""

    WAITING = 0  # until it has started
    SCHEDULED = 1  # its handler is asked to cancel it
    BACKING_OFF = 2
    SUCCEEDED = 3
    FAILED = 4


_STATUS = {
    OperationPhase.SUCCEEDED: _S.NEXUS_OPERATION_EXECUTION_STATUS_COMPLETED,
    OperationPhase.FAILED: _S.NEXUS_OPERATION_EXECUTION_STATUS_FAILED,
    OperationPhase.CANCELED: _S.NEXUS_OPERATION_EXECUTION_STATUS_CANCELED,
    OperationPhase.TERMINATED: _S.NEXUS_OPERATION_EXECUTION_STATUS_TERMINATED,
    OperationPhase.TIMED_OUT: _S.NEXUS_OPERATION_EXECUTION_STATUS_TIMED_OUT,
}


@dataclass(slots=True)
class Cancellation:
    """A request to cancel, and the calls that it takes. May only grow by fields with a default. Times are ns, 0 for none."""

    asked: Asked = field(default_factory=Asked)
    phase: CancelPhase = CancelPhase.WAITING
    attempt: int = 0
    last_attempt_complete_time: int = 0
    last_failure: bytes = b""
    next_attempt_time: int = 0


@dataclass(slots=True)
class OperationState:
    """What is stored of it beside its request. May only grow by fields with a default. Times are ns, 0 for none."""

    scheduled_time: int = 0
    start_request_id: str = ""
    request_id: str = ""  # by which its handler knows it
    endpoint_id: str = ""
    phase: OperationPhase = OperationPhase.SCHEDULED
    close_time: int = 0
    transitions: int = 0
    attempt: int = 1
    started_time: int = 0
    token: str = ""
    last_attempt_complete_time: int = 0
    last_failure: bytes = b""
    next_attempt_time: int = 0
    links: list[bytes] = field(default_factory=list)  # as its handler gave them
    cancellation: Cancellation | None = None
    terminate_request_id: str = ""
    result: bytes = b""  # a serialized Payload
    has_result: bool = False  # a result may be empty
    failure: bytes = b""  # the outcome, where it is not the last attempt's failure


@dataclass(slots=True, eq=False)
class StandaloneOperation:
    """One, in memory."""

    run_id: str
    request: StartNexusOperationExecutionRequest
    state: OperationState

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.state.phase.closed

    @property
    def status(self) -> NexusOperationExecutionStatus.ValueType:
        """Its status as the API has it."""
        return _STATUS.get(self.state.phase, _S.NEXUS_OPERATION_EXECUTION_STATUS_RUNNING)

    @property
    def expires_at(self) -> int:
        """By when it must have ended (ns), 0 for never."""
        timeout = to_ns(self.request.schedule_to_close_timeout)
        return min(self.state.scheduled_time + timeout, LATEST) if timeout else 0

    @property
    def outcome_failure(self) -> bytes:
        """What a closed one failed with, serialized; empty if it has a result."""
        return b"" if self.state.has_result else self.state.failure or self.state.last_failure
