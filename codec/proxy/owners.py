"""Whose payload it is that stands somewhere in a message: what SDKs tell their codecs, told here by descriptors.

A payload belongs to the nearest message around it that names a workflow (its child's input in a parent's command to the child, a
signal to the workflow that is signalled), or a Nexus service and operation; else to what the whole message is about. Answers of
workers name a task only, by its token: `Owners` remembers from the task what it was about, for as long as LRU keeps it.

Only profiles that bind payloads to workflows, or have keys for subjects, need any of this (`PayloadChain.told`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    PollActivityTaskQueueResponse,
    PollNexusTaskQueueResponse,
)
from temporalio.converter import (
    ActivitySerializationContext,
    NexusSerializationContext,
    SerializationContext,
    WorkflowSerializationContext,
)

from codec.descriptors import Descriptor
from codec.encryption.owner import DescribedWorkflowContext
from codec.places import Place

TOKENS_MAX = 50_000
"""Tasks that are remembered, the latest ones."""

_EXECUTION = WorkflowExecution.DESCRIPTOR.full_name
_USER_METADATA = UserMetadata.DESCRIPTOR.full_name
_EXECUTION_FIELDS = ("workflow_execution", "execution")
# These tell how a Nexus operation ended, and not which it was: the SDK's codec is not told either, where a worker replays them.
_UNTOLD = "temporal.api.history.v1.NexusOperation"

_Name = Callable[[Any, str], "SerializationContext | None"]


class _Untold(SerializationContext):
    """Nobody says whose it is, and what is around must not be asked."""


_UNTOLD_CONTEXT = _Untold()
_RULES: dict[str, _Name | None] = {}


class Owners:
    """The tasks that one namespace's workers have in hand."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._tasks: OrderedDict[bytes, SerializationContext] = OrderedDict()

    def remember(self, task: Any) -> None:
        """Keep what a task is about, for the answer to it."""
        context = _named(task, self._namespace)
        if context is None and isinstance(task, PollNexusTaskQueueResponse):
            context = _named(task.request.start_operation, self._namespace)
        if context is None or not task.task_token:
            return
        self._tasks[task.task_token] = context
        if len(self._tasks) > TOKENS_MAX:
            self._tasks.popitem(last=False)

    def of_request(self, request: Any) -> SerializationContext | None:
        """What a whole request is about."""
        token = getattr(request, "task_token", b"")
        if token:
            known = self._tasks.get(token)
            if known is not None:
                self._tasks.move_to_end(token)
            return known
        return _named(request, self._namespace) or _activity(request, self._namespace)

    def of_response(self, response: Any, asked: SerializationContext | None) -> SerializationContext | None:
        """What a whole response is about, if the request was about `asked`."""
        if isinstance(response, DescribeWorkflowExecutionResponse):
            info = response.workflow_execution_info
            return DescribedWorkflowContext(
                namespace=self._namespace,
                workflow_id=info.execution.workflow_id,
                parent_workflow_id=info.parent_execution.workflow_id or None,
            )
        return asked

    def of_place(
        self, place: Place, whole: SerializationContext | None, *, reading: bool = False
    ) -> SerializationContext | None:
        """Whose payload stands at `place`, in a message that is about `whole`."""
        where = place.where
        if reading and where is not None and where[3].DESCRIPTOR.full_name == _USER_METADATA:
            # A child's summary is its parent's: people read it, no worker, and SDKs tell their codecs nothing of it.
            return whole if isinstance(whole, DescribedWorkflowContext) else None
        while where is not None:
            context = _named(where[3], self._namespace)
            if context is not None:
                return None if context is _UNTOLD_CONTEXT else context
            where = where[0]
        return whole


def _named(message: Any, namespace: str) -> SerializationContext | None:
    descriptor = message.DESCRIPTOR
    name = descriptor.full_name
    if name not in _RULES:
        _RULES[name] = _rule(descriptor)
    rule = _RULES[name]
    return None if rule is None else rule(message, namespace)


def _rule(descriptor: Descriptor) -> _Name | None:
    fields = descriptor.fields_by_name
    field = fields.get("workflow_id")
    if field is not None and field.type == field.TYPE_STRING:
        return _by_id
    for name in _EXECUTION_FIELDS:
        field = fields.get(name)
        held = None if field is None or field.is_repeated else field.message_type
        if held is not None and held.full_name == _EXECUTION:
            return _by_execution(name)
    operation = fields.get("operation")
    if "service" in fields and operation is not None and operation.type == operation.TYPE_STRING:
        return _by_operation
    if descriptor.full_name.startswith(_UNTOLD):
        return lambda message, namespace: _UNTOLD_CONTEXT
    return None


def _by_id(message: Any, namespace: str) -> SerializationContext | None:
    return _workflow(message.workflow_id, namespace)


def _by_execution(name: str) -> _Name:
    def rule(message: Any, namespace: str) -> SerializationContext | None:
        context = _workflow(getattr(message, name).workflow_id, namespace)
        if context is None and isinstance(message, PollActivityTaskQueueResponse):
            return _activity(message, namespace)
        return context

    return rule


def _by_operation(message: Any, namespace: str) -> SerializationContext | None:
    if not message.service:
        return None
    return NexusSerializationContext(
        endpoint=getattr(message, "endpoint", ""), service=message.service, operation=message.operation
    )


def _workflow(workflow_id: str, namespace: str) -> SerializationContext | None:
    return WorkflowSerializationContext(namespace=namespace, workflow_id=workflow_id) if workflow_id else None


def _activity(message: Any, namespace: str) -> SerializationContext | None:
    """An activity that no workflow started."""
    activity_id = getattr(message, "activity_id", "")
    if not activity_id:
        return None
    return ActivitySerializationContext(
        namespace=namespace,
        activity_id=activity_id,
        activity_type=None,
        activity_task_queue=None,
        workflow_id=None,
        workflow_type=None,
        is_local=False,
    )
