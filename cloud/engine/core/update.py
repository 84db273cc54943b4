"""Updates: admitted → sent with a workflow task → accepted → completed; or rejected, which leaves no trace.

Until a worker accepted an update it is in no history: the runtime holds it in memory (``runtime/updates.py``) for a caller that waits, and
asks again if the service went away. A worker answers by protocol messages beside its commands, each at the place where a
PROTOCOL_MESSAGE command names it; those that no command names come last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Callback
from temporalio.api.enums.v1 import CommandType, EventType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionOptionsUpdatedEventAttributes,
    WorkflowExecutionUpdateAcceptedEventAttributes,
    WorkflowExecutionUpdateCompletedEventAttributes,
)
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update.v1 import Acceptance, Outcome, Rejection, Request, Response

from cloud.engine.core import callback
from cloud.engine.core.errors import BadCommand
from cloud.engine.core.state import Execution, Update
from cloud.engine.core.turn import Turn

_E = EventType
_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE

Body = Acceptance | Rejection | Response
_BODIES: Mapping[str, type[Body]] = {
    body.DESCRIPTOR.full_name: body for body in (Acceptance, Rejection, Response)
}


@dataclass(slots=True)
class Answer:
    """What a worker said of an update in one completion. A rejection stands alone."""

    accepted: bool = False
    rejection: Failure | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """What another request for an update that no worker accepted yet wants attached to it."""

    request_id: str
    callbacks: Sequence[Callback]


@dataclass(slots=True)
class Answers:
    """The messages of a completion, read and checked, and what they came to.

    `sent` holds the updates that the worker has, `attachments` what else is to be attached to any update, by id.
    """

    sent: Mapping[str, Request]
    attachments: Mapping[str, Sequence[Attachment]] = field(default_factory=dict)
    messages: dict[str, tuple[str, Body]] = field(default_factory=dict)  # message id -> (update id, body)
    by_update: dict[str, Answer] = field(default_factory=dict)

    def of(self, update_id: str) -> Answer:
        """The answer to one update, made on first use."""
        return self.by_update.setdefault(update_id, Answer())

    @property
    def only_rejections(self) -> bool:
        """Whether no message leaves a trace."""
        return all(isinstance(body, Rejection) for _, body in self.messages.values())


# --- folding events ---------------------------------------------------------------------------------------------


def _apply_accepted(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.workflow_execution_update_accepted_event_attributes
    update_id = attributes.protocol_instance_id
    if attributes.HasField("accepted_request"):
        callback.begin_of_update(execution, event, update_id, attributes.accepted_request)
    execution.updates[update_id] = Update(update_id, event.event_id)
    execution.admitted_updates.pop(update_id, None)


def _apply_admitted(execution: Execution, event: HistoryEvent) -> None:
    request = event.workflow_execution_update_admitted_event_attributes.request
    execution.admitted_updates[request.meta.update_id] = event.event_id
    callback.begin_of_update(execution, event, request.meta.update_id, request)


def _apply_completed(execution: Execution, event: HistoryEvent) -> None:
    attributes = event.workflow_execution_update_completed_event_attributes
    update_id = attributes.meta.update_id
    found = execution.updates.get(update_id)
    if found is None:
        found = execution.updates[update_id] = Update(update_id, attributes.accepted_event_id)
    found.completed_event_id = event.event_id


APPLY = {
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED: _apply_admitted,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: _apply_accepted,
    _E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED: _apply_completed,
}


def restore(execution: Execution) -> None:
    """Of the updates that the history admits, forget those that a worker rejected: no event tells."""
    volatile = execution.volatile
    for update_id, event_id in list(execution.admitted_updates.items()):
        if event_id <= volatile.settled_updates or update_id in volatile.rejected_updates:
            del execution.admitted_updates[update_id]


# --- checking ---------------------------------------------------------------------------------------------------


def read(
    turn: Turn,
    commands: Sequence[Command],
    messages: Sequence[ProtocolMessage],
    sent: Mapping[str, Request],
    attachments: Mapping[str, Sequence[Attachment]],
) -> Answers:
    """Read and check the messages of a completion, in the order in which they will be carried out.

    Raises:
        BadCommand: one is wrong, or a command names one that is not there; nothing is changed.
    """
    execution = turn.execution
    answers = Answers(sent, attachments)
    room = turn.around.limits.callbacks - callback.attached_count(execution)
    by_id = {message.id: message for message in messages}
    states: dict[str, str] = {}  # where the messages read so far lead to
    for message in _in_order(commands, by_id):
        body = _body(turn, message)
        update_id = message.protocol_instance_id
        state = states.get(update_id) or _state(execution, sent, update_id, body)
        _check_fields(update_id, body)
        _check_transition(state, update_id, body)
        if isinstance(body, Acceptance):
            room -= len(_request_of(execution, answers, update_id, body).completion_callbacks)
            room -= sum(len(attachment.callbacks) for attachment in attachments.get(update_id, ()))
            if room < 0:
                most = turn.around.limits.callbacks
                raise BadCommand(_BAD, callback.no_room(callback.attached_count(execution), most))
        states[update_id] = "Accepted" if isinstance(body, Acceptance) else "Completed"
        answers.messages[message.id] = (update_id, body)
    return answers


def _in_order(commands: Sequence[Command], by_id: Mapping[str, ProtocolMessage]) -> Iterator[ProtocolMessage]:
    named = set()
    for command in commands:
        if command.command_type != CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE:
            continue
        message_id = command.protocol_message_command_attributes.message_id
        if not message_id:
            raise BadCommand(_BAD, "MessageID is not set on ProtocolMessageCommand.")
        if message_id not in by_id or message_id in named:
            raise BadCommand(_BAD, f"ProtocolMessageCommand referenced absent message ID {message_id}")
        named.add(message_id)
        yield by_id[message_id]
    for message_id, message in by_id.items():
        if message_id not in named:
            yield message


def _body(turn: Turn, message: ProtocolMessage) -> Body:
    name = message.body.TypeName()
    form = _BODIES.get(name)
    if form is None:
        raise BadCommand(_BAD, f"Message type {name} not supported")
    if message.body.ByteSize() > turn.around.limits.blob_size_error:
        raise BadCommand(_BAD, f"Message type {name} exceeds size limit.", terminates=True)
    try:
        return form.FromString(message.body.value)
    except DecodeError:
        raise BadCommand(_BAD, f"unable to unmarshal request: {name} can't be read") from None


def _check_fields(update_id: str, body: Body) -> None:
    missing = ""
    if isinstance(body, Acceptance):
        if not body.accepted_request_sequencing_event_id:
            missing = "accepted_request_sequencing_event_id"
        elif not body.accepted_request_message_id:
            missing = "accepted_request_message_id"
    elif isinstance(body, Response):
        if not body.HasField("meta"):
            missing = "meta"
        elif not body.meta.update_id:
            missing = "meta.update_id"
        elif not body.HasField("outcome"):
            missing = "outcome"
    if missing:
        raise BadCommand(_BAD, f"invalid *update.{type(body).__name__}: {missing} is not set")
    if isinstance(body, Response) and body.meta.update_id != update_id:
        raise BadCommand(_BAD, f"invalid *update.Response: meta.update_id != {update_id}")


def _state(execution: Execution, sent: Mapping[str, Request], update_id: str, body: Body) -> str:
    update = execution.updates.get(update_id)
    if update is not None:
        return "Completed" if update.completed_event_id else "Accepted"
    if update_id in sent or update_id in execution.admitted_updates:
        return "Sent"
    if _request_in(body):
        return "Sent"  # its caller is gone, or the service forgot it: the worker brought it along
    raise BadCommand(
        _BAD,
        f"update {update_id} wasn't found on the server. This is most likely a transient error which will be resolved "
        "automatically by retries",
    )


def _check_transition(state: str, update_id: str, body: Body) -> None:
    expected = "Accepted" if isinstance(body, Response) else "Sent"
    if state != expected:
        raise BadCommand(
            _BAD,
            f"invalid state transition attempted for Update {update_id}: received *update.{type(body).__name__} "
            f"message while in state {state}",
        )


def _request_in(body: Body) -> bool:
    return (isinstance(body, Acceptance) and body.HasField("accepted_request")) or (
        isinstance(body, Rejection) and body.HasField("rejected_request")
    )


# --- carrying out -----------------------------------------------------------------------------------------------


def carry_out(turn: Turn, answers: Answers, message_id: str) -> None:
    """Do what one checked message says."""
    update_id, body = answers.messages.pop(message_id)
    answer = answers.of(update_id)
    if isinstance(body, Rejection):
        answer.rejection = body.failure
        if turn.execution.admitted_updates.pop(update_id, None):
            turn.execution.volatile.rejected_updates.append(update_id)
            callback.update_rejected(turn, update_id, body.failure)
        turn.meter("reject_workflow_update")
    elif not turn.execution.running:
        return  # a command closed the run before
    elif isinstance(body, Acceptance):
        _accept(turn, answers, update_id, body)
        answer.accepted = True
    else:
        turn.append(
            turn.event(
                _E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED,
                workflow_execution_update_completed_event_attributes=WorkflowExecutionUpdateCompletedEventAttributes(
                    meta=body.meta,
                    accepted_event_id=turn.execution.updates[update_id].accepted_event_id,
                    outcome=body.outcome,
                ),
            )
        )
        answer.outcome = body.outcome
        callback.update_ended(turn, update_id)


def _request_of(execution: Execution, answers: Answers, update_id: str, body: Acceptance) -> Request:
    """The request that is to be accepted; empty if an event that admits the update has it."""
    if update_id in execution.admitted_updates:
        return Request()
    return answers.sent.get(update_id) or body.accepted_request


def _accept(turn: Turn, answers: Answers, update_id: str, body: Acceptance) -> None:
    execution = turn.execution
    event = turn.event(
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
        workflow_execution_update_accepted_event_attributes=WorkflowExecutionUpdateAcceptedEventAttributes(
            protocol_instance_id=update_id,
            accepted_request_message_id=body.accepted_request_message_id,
            accepted_request_sequencing_event_id=body.accepted_request_sequencing_event_id,
        ),
    )
    if update_id not in execution.admitted_updates:
        request = _request_of(execution, answers, update_id, body)
        event.workflow_execution_update_accepted_event_attributes.accepted_request.CopyFrom(request)
        for wanted in request.completion_callbacks:
            event.links.extend(wanted.links)
    turn.append(event)
    for attachment in answers.attachments.get(update_id, ()):
        if attachment.request_id not in execution.attached_request_ids:
            turn.append(_attaching(turn, update_id, attachment))
    turn.meter("accept_workflow_update")


def attach(turn: Turn, update_id: str, attachment: Attachment) -> None:
    """Attach callbacks to an update that a worker accepted, once per request id.

    Raises:
        NotNow: there would be too many.
    """
    if attachment.request_id in turn.execution.attached_request_ids:
        return
    callback.check_room(turn, len(attachment.callbacks))
    turn.add(_attaching(turn, update_id, attachment))


def _attaching(turn: Turn, update_id: str, attachment: Attachment) -> HistoryEvent:
    options = WorkflowExecutionOptionsUpdatedEventAttributes.WorkflowUpdateOptionsUpdate(
        update_id=update_id,
        attached_request_id=attachment.request_id,
        attached_completion_callbacks=attachment.callbacks,
    )
    event = turn.event(
        _E.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
        workflow_execution_options_updated_event_attributes=WorkflowExecutionOptionsUpdatedEventAttributes(
            workflow_update_options=[options]
        ),
    )
    event.worker_may_ignore = True
    return event


def carry_out_rest(turn: Turn, answers: Answers) -> None:
    """Do what the messages say that no command named."""
    for message_id in list(answers.messages):
        carry_out(turn, answers, message_id)


def reject_unanswered(turn: Turn, answers: Answers) -> None:
    """A worker that passes over an update does not know updates: it would get it again and again."""
    admitted = turn.execution.admitted_updates
    for update_id in (*answers.sent, *admitted):
        if update_id not in answers.by_update:
            rejection = answers.of(update_id).rejection = _unprocessed()
            turn.meter("reject_workflow_update")
            if update_id in admitted:
                callback.update_rejected(turn, update_id, rejection)
    rejected = turn.execution.volatile.rejected_updates
    if admitted or rejected:
        admitted.clear()
        rejected.clear()
        turn.execution.volatile.settled_updates = turn.execution.next_event_id - 1


def _unprocessed() -> Failure:
    failure = Failure(
        message=(
            "Workflow Update is rejected because it wasn't processed by worker. Probably, Workflow Update is not "
            "supported by the worker."
        ),
        source="Server",
    )
    failure.application_failure_info.type = "UnprocessedUpdate"
    failure.application_failure_info.non_retryable = True
    return failure


def closed_failure() -> Failure:
    """The outcome of an update that was accepted, and whose workflow ended before it completed."""
    failure = Failure(
        message="Workflow Update failed because the Workflow completed before the Update completed.",
        source="Server",
    )
    failure.application_failure_info.type = "AcceptedUpdateCompletedWorkflow"
    failure.application_failure_info.non_retryable = True
    return failure


def outcome_of(event: HistoryEvent) -> Outcome:
    """The outcome that a completion event holds."""
    outcome = Outcome()
    outcome.CopyFrom(event.workflow_execution_update_completed_event_attributes.outcome)
    return outcome


def failed(failure: Failure) -> Outcome:
    """`failure` as an outcome."""
    return Outcome(failure=failure)
