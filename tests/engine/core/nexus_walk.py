"""What random walks do with Nexus operations: commands, and what handlers and their completions say."""

from __future__ import annotations

import random
from collections.abc import Callable

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import CommandType, TimeoutType
from temporalio.api.failure.v1 import Failure

from cloud.engine.core import nexus_answers as a
from cloud.engine.core import nexus_operation as n
from cloud.engine.core.state import Execution, NexusOperation
from cloud.engine.core.turn import Turn

ENDPOINT = "endpoint"


def schedule(**timeouts: int) -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION)
    wanted = command.schedule_nexus_operation_command_attributes
    wanted.endpoint, wanted.service, wanted.operation = ENDPOINT, "svc", "op"
    wanted.nexus_header["Key"] = "value"
    for name, seconds in timeouts.items():
        getattr(wanted, name).seconds = seconds
    return command


def request_cancel(event_id: int) -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_REQUEST_CANCEL_NEXUS_OPERATION)
    command.request_cancel_nexus_operation_command_attributes.scheduled_event_id = event_id
    return command


def commands(chance: random.Random, live: Execution) -> list[Callable[[], Command]]:
    makers: list[Callable[[], Command]] = [
        schedule,
        lambda: schedule(schedule_to_close_timeout=chance.choice([5, 60]), start_to_close_timeout=7),
        lambda: schedule(schedule_to_start_timeout=10),
    ]
    if live.nexus_operations:
        makers += [lambda: request_cancel(chance.choice(list(live.nexus_operations)))] * 3
    return makers


def changes(chance: random.Random, operation: NexusOperation) -> list[Callable[[Turn], object]]:
    """What may happen to an operation from outside."""
    key, progress = operation.scheduled_event_id, operation.progress
    failure = Failure(message="no")
    answers: list[a.Answer] = [
        a.Succeeded(Payload(data=b"r")),
        a.Unsuccessful(failure, canceled=chance.random() < 0.5),
        *[a.Pending("token")] * 5,
        a.Refused(failure, retryable=True),
        a.Refused(failure, retryable=True),
        a.Refused(failure, retryable=False),
        a.OutOfTime(TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE),
    ]
    outcome: a.Outcome = chance.choice([a.Succeeded(None), a.Unsuccessful(failure, canceled=True)])
    answer, started_at = chance.choice(answers), chance.choice([0, 1_700_000_000_000_000_000])

    def complete(turn: Turn) -> None:
        found = n.require_pending(turn.execution, key, operation.scheduled.request_id)
        n.complete(turn, found, outcome, token="late", started_at=started_at, links=())

    if operation.cancel_requested_event_id and operation.started_time:
        reply = chance.choice(answers[-5:])  # one in five each: taken, and refused for good or not
        tell = lambda turn: n.cancel_answered(turn, key, progress.cancel_attempt, reply)  # noqa: E731
        return [tell, tell, tell, complete]
    return [
        lambda turn: n.start_answered(turn, key, progress.attempt, answer),
        lambda turn: n.start_answered(turn, key, progress.attempt, answer),
        lambda turn: n.start_answered(turn, key, progress.attempt + 1, answer),
        lambda turn: n.cancel_answered(turn, key, progress.cancel_attempt, answer),
        complete,
    ]
