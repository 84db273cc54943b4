"""Standalone Nexus operations: started by a client, without a workflow and without a history.

Scheduled → calls to the handler → done at once, or started → completed, failed, cancelled, terminated or timed out. What an answer or a
completion means is as for operations of workflows (:mod:`cloud.engine.core.nexus_operation`); the phases and what descriptions tell of
them are the real server's. All that one is, is its request, which never changes, and a small state that is stored whole after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from temporalio.api.common.v1 import Link, Payload
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import StartNexusOperationExecutionRequest

from cloud.engine.core.clock import LATEST, to_ns
from cloud.engine.core.errors import NoSuchTask, NotNow
from cloud.engine.core.failures import shortened
from cloud.engine.core.limits import Limits
from cloud.engine.core.nexus_answers import (
    CALL_ERROR,
    Answer,
    Outcome,
    OutOfTime,
    Pending,
    Refused,
    Succeeded,
    Unsuccessful,
)
from cloud.engine.core.nexus_operation import JITTER, RETRY_INTERVAL, RETRY_INTERVAL_MAX
from cloud.engine.core.standalone_asked import Asked
from cloud.engine.core.standalone_nexus_state import (
    Cancellation,
    CancelPhase,
    OperationPhase,
    OperationState,
    StandaloneOperation,
)

_T = TimeoutType
_FAILURE_BYTES = Limits().activity_failure_size
_NOTHING = Payload(metadata={"encoding": b"binary/null"})


@dataclass(slots=True, eq=False)
class OperationStep:
    """One change of an operation at `now` (ns), and what it asks the runtime for. Functions check first and change after."""

    operation: StandaloneOperation
    now: int
    failure_size: int = _FAILURE_BYTES  # of a failure that is kept while its handler is asked again, at most
    dirty: bool = False
    relist: bool = False  # what lists show changed
    call: bool = False  # its handler is to be asked something
    meters: list[str] = field(default_factory=list)

    @property
    def state(self) -> OperationState:
        """The operation's state."""
        return self.operation.state

    def enter(self, phase: OperationPhase) -> None:
        """It is in `phase` from now on."""
        state = self.state
        state.phase = phase
        state.next_attempt_time = 0
        self.dirty = True
        if phase.closed:
            state.close_time = self.now
            self.relist = True
        elif phase == OperationPhase.SCHEDULED:
            self.call = True


# --- life -------------------------------------------------------------------------------------------------------


def begin(
    run_id: str,
    request: StartNexusOperationExecutionRequest,
    now: int,
    *,
    request_id: str,
    endpoint_id: str,
) -> OperationStep:
    """A new one, with the step that schedules it. `request` is checked and settled, and is its own from now on."""
    state = OperationState(
        scheduled_time=now,
        start_request_id=request.request_id,
        request_id=request_id,
        endpoint_id=endpoint_id,
    )
    operation = StandaloneOperation(run_id, request, state)
    return OperationStep(
        operation, now, dirty=True, relist=True, call=True, meters=["start_standalone_nexus_operation"]
    )


def awaits_start(operation: StandaloneOperation) -> bool:
    """Whether its handler is to be asked to start it, now."""
    return operation.state.phase == OperationPhase.SCHEDULED


def awaits_cancel(operation: StandaloneOperation) -> bool:
    """Whether its handler is to be asked to cancel it, now."""
    cancellation = operation.state.cancellation
    scheduled = cancellation is not None and cancellation.phase == CancelPhase.SCHEDULED
    return scheduled and not operation.closed


def with_handler(state: OperationState) -> bool:
    """Whether its handler is asked something now."""
    cancelling = state.cancellation is not None and state.cancellation.phase == CancelPhase.SCHEDULED
    return state.phase == OperationPhase.SCHEDULED or (cancelling and not state.phase.closed)


def start_answered(step: OperationStep, attempt: int, answer: Answer) -> None:
    """The handler answered attempt `attempt` to start it. Too late an answer changes nothing."""
    state = step.state
    if not awaits_start(step.operation) or state.attempt != attempt:
        return
    match answer:
        case Pending():
            _started(step, answer.token, answer.links, step.now)
        case Refused(retryable=True):
            state.last_attempt_complete_time = step.now
            state.last_failure = _kept(step, answer.failure)
            step.enter(OperationPhase.BACKING_OFF)
            state.next_attempt_time = step.now + _backoff(step, state.attempt, "start")
        case Refused():
            _end_of_attempt(step, OperationPhase.FAILED, _of_server(answer.failure))
        case OutOfTime():
            _end_of_attempt(step, OperationPhase.TIMED_OUT, _timed_out(answer.timeout_type))
        case Unsuccessful():
            phase = OperationPhase.CANCELED if answer.canceled else OperationPhase.FAILED
            _end_of_attempt(step, phase, answer.failure)
        case Succeeded():
            state.links.extend(link.SerializeToString() for link in answer.links)
            _succeeded(step, answer)


def cancel_answered(step: OperationStep, attempt: int, answer: Answer) -> None:
    """The handler answered attempt `attempt` to cancel it. Too late an answer changes nothing."""
    cancellation = step.state.cancellation
    if cancellation is None or not awaits_cancel(step.operation) or cancellation.attempt != attempt:
        return
    step.dirty = True
    cancellation.last_attempt_complete_time = step.now
    cancellation.last_failure = b""
    match answer:
        case Refused(retryable=True):
            cancellation.last_failure = _kept(step, answer.failure)
            cancellation.phase = CancelPhase.BACKING_OFF
            cancellation.next_attempt_time = step.now + _backoff(step, cancellation.attempt, "cancel")
        case Refused():
            cancellation.last_failure = _kept(step, answer.failure)
            cancellation.phase = CancelPhase.FAILED
        case OutOfTime():
            failure = Failure(message="operation timed out before cancellation could be delivered")
            failure.timeout_failure_info.timeout_type = answer.timeout_type
            cancellation.last_failure = failure.SerializeToString()
            cancellation.phase = CancelPhase.FAILED
        case _:
            cancellation.phase = CancelPhase.SUCCEEDED


def require_pending(operation: StandaloneOperation, request_id: str) -> None:
    """Refuse a completion that is about another operation, or comes too late.

    Raises:
        NoSuchTask: nobody waits for it.
    """
    if operation.closed or operation.state.request_id != request_id:
        raise NoSuchTask("operation not found")


def complete(
    step: OperationStep, outcome: Outcome, *, token: str, started_at: int, links: Sequence[Link]
) -> None:
    """What a handler had started has ended. If that comes before the handler's answer, it is the answer too.

    `started_at` (ns, 0 for now), `token` and `links` tell of the start.
    """
    if step.state.phase != OperationPhase.STARTED:
        _started(step, token, links, started_at or step.now)
    if isinstance(outcome, Succeeded):
        _succeeded(step, outcome)
    else:
        step.state.failure = outcome.failure.SerializeToString()
        step.enter(OperationPhase.CANCELED if outcome.canceled else OperationPhase.FAILED)


def request_cancel(step: OperationStep, asked: Asked) -> None:
    """It is to be cancelled: its handler is told as soon as it has started it.

    Raises:
        NotNow: it is over, or another request asked for it.
    """
    state = step.state
    if state.cancellation is not None and state.cancellation.asked.request_id == asked.request_id:
        return
    if step.operation.closed:
        raise NotNow("operation already completed")
    if state.cancellation is not None:
        raise NotNow(f"cancellation already requested with request ID {state.cancellation.asked.request_id}")
    state.cancellation = Cancellation(asked)
    step.dirty = True
    step.meters.append("request_standalone_nexus_operation_cancellation")
    if state.phase == OperationPhase.STARTED:
        _ask_to_cancel(step, state.cancellation)


def terminate(step: OperationStep, asked: Asked) -> None:
    """It ends now; what its handler started may go on.

    Raises:
        NotNow: it is over.
    """
    state = step.state
    if state.phase == OperationPhase.TERMINATED:
        if state.terminate_request_id != asked.request_id:
            raise NotNow(f"already terminated with request ID {state.terminate_request_id}")
        return
    if state.phase.closed:
        raise NotNow(f"invalid transition from {state.phase.title}")
    failure = Failure(message=asked.reason)
    failure.terminated_failure_info.identity = asked.identity
    state.terminate_request_id = asked.request_id
    state.failure = failure.SerializeToString()
    step.enter(OperationPhase.TERMINATED)


# --- what changes -----------------------------------------------------------------------------------------------


def _started(step: OperationStep, token: str, links: Sequence[Link], started_at: int) -> None:
    state = step.state
    step.enter(OperationPhase.STARTED)
    state.started_time = state.last_attempt_complete_time = started_at
    state.last_failure = b""
    state.token = token
    state.links.extend(link.SerializeToString() for link in links)
    if state.cancellation is not None and state.cancellation.phase == CancelPhase.WAITING:
        _ask_to_cancel(step, state.cancellation)


def _ask_to_cancel(step: OperationStep, cancellation: Cancellation) -> None:
    cancellation.phase = CancelPhase.SCHEDULED
    cancellation.attempt += 1
    cancellation.next_attempt_time = 0
    step.dirty = step.call = True


def _succeeded(step: OperationStep, outcome: Succeeded) -> None:
    step.state.has_result = True
    step.state.result = (outcome.result or _NOTHING).SerializeToString()
    step.enter(OperationPhase.SUCCEEDED)


def _end_of_attempt(step: OperationStep, phase: OperationPhase, failure: Failure) -> None:
    """A call ended it: its failure is the attempt's and the outcome's."""
    step.state.last_attempt_complete_time = step.now
    step.state.last_failure = failure.SerializeToString()
    step.enter(phase)


def _kept(step: OperationStep, failure: Failure) -> bytes:
    return shortened(_of_server(failure), step.failure_size).SerializeToString()


def _of_server(failure: Failure) -> Failure:
    """A failure of the call itself, not of its handler, is told as the server's."""
    if failure.application_failure_info.type != CALL_ERROR:
        return failure
    told = Failure(message=failure.message)
    told.server_failure_info.non_retryable = failure.application_failure_info.non_retryable
    return told


def _timed_out(timeout_type: TimeoutType.ValueType) -> Failure:
    failure = Failure(message="operation timed out")
    failure.timeout_failure_info.timeout_type = timeout_type
    return failure


def _backoff(step: OperationStep, attempt: int, what: str) -> int:
    """The pause (ns) behind attempt `attempt`: it doubles, and a part of it is left out."""
    interval = min(RETRY_INTERVAL << min(attempt - 1, 32), RETRY_INTERVAL_MAX)
    seed = f"{step.operation.run_id}/{what}/{attempt}"
    return interval - int(interval * JITTER * crc32(seed.encode()) / 2**32)


# --- what becomes due -------------------------------------------------------------------------------------------


def _dues(operation: StandaloneOperation) -> Iterator[tuple[int, Callable[[OperationStep], None]]]:
    state, request = operation.state, operation.request
    if operation.closed:
        return
    yield operation.expires_at, _out_of_time(_T.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE)
    if state.phase == OperationPhase.STARTED:
        timeout = to_ns(request.start_to_close_timeout)
        due = min(state.started_time + timeout, LATEST) if timeout else 0
        yield due, _out_of_time(_T.TIMEOUT_TYPE_START_TO_CLOSE)
        if state.cancellation is not None:
            yield state.cancellation.next_attempt_time, _cancel_again
    else:
        timeout = to_ns(request.schedule_to_start_timeout)
        due = min(state.scheduled_time + timeout, LATEST) if timeout else 0
        yield due, _out_of_time(_T.TIMEOUT_TYPE_SCHEDULE_TO_START)
        yield state.next_attempt_time, _start_again


def due_at(operation: StandaloneOperation) -> int:
    """When it next needs to be woken (ns), 0 for never."""
    return min((due for due, _ in _dues(operation) if due), default=0)


def fire_due(step: OperationStep) -> None:
    """Do all that is due by now, earliest first."""
    while True:
        due = [entry for entry in _dues(step.operation) if 0 < entry[0] <= step.now]
        if not due:
            return
        min(due, key=lambda entry: entry[0])[1](step)


def _out_of_time(timeout_type: TimeoutType.ValueType) -> Callable[[OperationStep], None]:
    def time_out(step: OperationStep) -> None:
        step.state.failure = _timed_out(timeout_type).SerializeToString()
        step.enter(OperationPhase.TIMED_OUT)

    return time_out


def _start_again(step: OperationStep) -> None:
    step.state.attempt += 1
    step.enter(OperationPhase.SCHEDULED)


def _cancel_again(step: OperationStep) -> None:
    assert step.state.cancellation is not None
    _ask_to_cancel(step, step.state.cancellation)
