"""Tasks that can't be decoded: the worker is not given them, and the service is told that they failed, as a worker would tell it.

In a worker with a codec of its own, a payload that can't be decoded fails the workflow task, or the activity's attempt, and
Temporal tries again: nothing is lost while the cause is mended. Here the poll was answered already, so whoever decodes the answer
must say so in the worker's place; else the task would be lost until its time-out.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import Message
from temporalio.api.enums.v1 import NexusHandlerErrorRetryBehavior, QueryResultType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.nexus.v1 import HandlerError
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueResponse,
    PollNexusTaskQueueResponse,
    PollWorkflowTaskQueueResponse,
    RespondActivityTaskFailedRequest,
    RespondNexusTaskFailedRequest,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
)

from codec.descriptors import Descriptor
from codec.errors import CodecError
from codec.places import Place, Places

SERVICE = "temporal.api.workflowservice.v1.WorkflowService"
_TASKS = frozenset(
    kind.DESCRIPTOR.full_name
    for kind in (PollWorkflowTaskQueueResponse, PollActivityTaskQueueResponse, PollNexusTaskQueueResponse)
)


@dataclasses.dataclass(frozen=True)
class Task:
    """A task in a response, and how to take it out of there."""

    message: Any
    remove: Callable[[], None]


Find = Callable[[Any], Iterator[Task]]


PAUSE_S_MAX = 4.0
"""A workflow task times out after ten seconds by default."""

TASK_FIELDS = frozenset({"workflow_task", "activity_tasks", "eager_workflow_task", "eager_activity_task"})
"""The fields of responses that hold tasks, beside polls, which are tasks themselves; a test compares."""


class TaskFinders:
    """Finds the tasks in responses, whether they are one or carry some (eager tasks, the next workflow task)."""

    def __init__(self) -> None:
        self._finders: dict[str, Find | None] = {}

    def of(self, descriptor: Descriptor) -> Find | None:
        """The finder for responses of this type; None where they hold no tasks."""
        name = descriptor.full_name
        if name not in self._finders:
            self._finders[name] = None  # for types that hold themselves
            self._finders[name] = _itself if name in _TASKS else self._within(descriptor)
        return self._finders[name]

    def _within(self, descriptor: Descriptor) -> Find | None:
        steps = []
        for field in descriptor.fields:
            held = field.message_type
            if held is None or held.GetOptions().map_entry:
                continue
            find = self.of(held)
            if find is not None:
                steps.append(_in_field(field.name, find, is_repeated=field.is_repeated))
        if not steps:
            return None

        def within(message: Any) -> Iterator[Task]:
            for step in steps:
                yield from step(message)

        return within


def _itself(task: Any) -> Iterator[Task]:
    if task.task_token:
        # An empty answer is what a poll gets that found nothing: the worker polls again.
        yield Task(task, task.Clear)


def _in_field(name: str, find: Find, *, is_repeated: bool) -> Find:
    holds_task = find is _itself

    def step(message: Any) -> Iterator[Task]:
        if not is_repeated:
            if message.HasField(name):
                for task in find(getattr(message, name)):
                    yield (
                        Task(task.message, functools.partial(message.ClearField, name))
                        if holds_task
                        else task
                    )
            return
        items = getattr(message, name)
        for item in list(items):
            for task in find(item):
                yield Task(task.message, functools.partial(items.remove, item)) if holds_task else task

    return step


def outside_tasks(places: Places) -> list[Place]:
    """The payloads of a response that belong to none of its tasks."""
    return [place for place in places.payloads if TASK_FIELDS.isdisjoint(place.field.split("."))]


def is_task(response: Any) -> bool:
    """Whether a response is a task itself, as a poll's is."""
    return response.DESCRIPTOR.full_name in _TASKS


def pause_s(task: Any) -> float:
    """How long to wait before the service is told: longer with each attempt of a workflow task, and well below its time-out.

    Activities and Nexus tasks are retried by the service at their own pace, and a query has somebody who waits.
    """
    if not isinstance(task, PollWorkflowTaskQueueResponse) or task.HasField("query"):
        return 0.0
    pause: float = 0.05 * 2 ** min(task.attempt, 10)
    return min(PAUSE_S_MAX, pause) if task.attempt > 1 else 0.0


def failed(task: Any, error: CodecError, *, namespace: str, identity: str) -> tuple[str, Message]:
    """The method's name and the request that tell the service why `task` could not be handed to the worker.

    The sentence is the codec's, without any of the content; it is to be encoded as a worker's own would be.
    """
    failure = Failure(
        message=f"The proxy before the worker could not decode the task: {error}",
        application_failure_info=ApplicationFailureInfo(type=type(error).__name__),
    )
    if isinstance(task, PollActivityTaskQueueResponse):
        return "RespondActivityTaskFailed", RespondActivityTaskFailedRequest(
            task_token=task.task_token, failure=failure, namespace=namespace, identity=identity
        )
    if isinstance(task, PollNexusTaskQueueResponse):
        return "RespondNexusTaskFailed", RespondNexusTaskFailedRequest(
            task_token=task.task_token,
            namespace=namespace,
            identity=identity,
            error=HandlerError(
                error_type="INTERNAL",
                failure=NexusFailure(message=failure.message),
                retry_behavior=NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_RETRYABLE,
            ),
        )
    if task.HasField("query"):
        return "RespondQueryTaskCompleted", RespondQueryTaskCompletedRequest(
            task_token=task.task_token,
            completed_type=QueryResultType.QUERY_RESULT_TYPE_FAILED,
            error_message=failure.message,
            failure=failure,
            namespace=namespace,
        )
    return "RespondWorkflowTaskFailed", RespondWorkflowTaskFailedRequest(
        task_token=task.task_token,
        cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
        failure=failure,
        namespace=namespace,
        identity=identity,
    )


def failed_instead(method: str, answer: Any, error: CodecError) -> tuple[str, Message] | None:
    """What to tell the service in place of a worker's `answer` that can't be encoded; None where its time-out is to tell it."""
    task: Any
    match method:
        case "RespondWorkflowTaskCompleted":
            task = PollWorkflowTaskQueueResponse(task_token=answer.task_token)
        case "RespondActivityTaskCompleted":
            task = PollActivityTaskQueueResponse(task_token=answer.task_token)
        case _:
            return None
    name, request = failed(task, error, namespace=answer.namespace, identity=answer.identity)
    failure: Any = request
    failure.failure.message = f"The proxy behind the worker could not encode its answer: {error}"
    return name, request
