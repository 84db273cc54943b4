"""Random requests to every method, made from the protos' own descriptors, on a cell in this process.

A request is either filled at random or a sound one with random changes. Values come from what the cell answered before (ids, task
tokens, page tokens), so that calls build on each other: a poll's token is answered with random commands. All follows from the seed, but
for the order in which calls that wait are answered.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from temporalio.api.command.v1 import (
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    ContinueAsNewWorkflowExecutionCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
    StartChildWorkflowExecutionCommandAttributes,
    StartTimerCommandAttributes,
)
from temporalio.api.common.v1 import ActivityType, WorkflowType
from temporalio.api.enums.v1 import CommandType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from cloud.cells.native import NativeCell
from cloud.gateway.development import DevelopmentDirectory
from cloud.gateway.gateway import Gateway
from cloud.rpc import Method, RpcError
from cloud.transport.calls import CallParts, ListenerKind
from tests.conformance.requests import MINUTE, NAMESPACE_CHANGES, QUEUE, SECOND, About, methods, sound

NAMESPACE = "fuzzed"
CELL = "local"
DEPTH_MAX = 5
REPEATED_MAX = 3
TEXT_MAX = 2_000
POOL_MAX = 200
"""How many values of a field's name are remembered."""

PATIENCE_SECONDS = 0.15
"""A call that waits longer is given up by its caller."""

AT_ONCE = 8

_F = FieldDescriptor
_TEXTS = (
    "",
    "a",
    "x" * 1_001,
    "not-a-uuid",
    "temporal-sys-x",
    "/_sys/x",
    "\u0000",
    "ü\U0001f600",
    "1.5",
    "'",
    "WorkflowId='a'",
)
_NUMBERS = (-(2**63), -(2**31), -1, 0, 1, 2, 3, 5, 10, 1_000, 2**31 - 1, 2**63 - 1)
_FLOATS = (float("nan"), float("inf"), -1.0, 0.0, 0.5, 1.0, 1e300)


_COMMANDS = [
    text.SerializeToString()
    for text in (
        Command(
            command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
            schedule_activity_task_command_attributes=ScheduleActivityTaskCommandAttributes(
                activity_id="a",
                activity_type=ActivityType(name="demo"),
                task_queue=TaskQueue(name=QUEUE),
                start_to_close_timeout=MINUTE,
                heartbeat_timeout=SECOND,
            ),
        ),
        Command(
            command_type=CommandType.COMMAND_TYPE_START_TIMER,
            start_timer_command_attributes=StartTimerCommandAttributes(
                timer_id="t", start_to_fire_timeout=SECOND
            ),
        ),
        Command(
            command_type=CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION,
            start_child_workflow_execution_command_attributes=StartChildWorkflowExecutionCommandAttributes(
                workflow_id="child", workflow_type=WorkflowType(name="demo"), task_queue=TaskQueue(name=QUEUE)
            ),
        ),
        Command(
            command_type=CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION,
            continue_as_new_workflow_execution_command_attributes=ContinueAsNewWorkflowExecutionCommandAttributes(
                workflow_type=WorkflowType(name="demo"), task_queue=TaskQueue(name=QUEUE)
            ),
        ),
        Command(
            command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
            complete_workflow_execution_command_attributes=CompleteWorkflowExecutionCommandAttributes(),
        ),
    )
]


class Maker:
    """Makes messages from a seed and from what was seen."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._seen: dict[tuple[str, type], deque[Any]] = defaultdict(lambda: deque(maxlen=POOL_MAX))

    def learn(self, message: Message) -> None:
        """Remember the texts and tokens of an answer by the names of their fields."""
        for descriptor, value in message.ListFields():
            if descriptor.type == _F.TYPE_MESSAGE:
                if descriptor.message_type.GetOptions().map_entry:
                    continue
                for part in value if descriptor.is_repeated else (value,):
                    self.learn(part)
            elif descriptor.type in {_F.TYPE_STRING, _F.TYPE_BYTES} and not descriptor.is_repeated:
                self._seen[descriptor.name, type(value)].append(value)

    def request(self, name: str) -> Message:
        """A request to the method `name`."""
        if self._random.random() < 0.35:
            message = methods()[name].request_type()
            self._fill(message, 0)
        else:
            message = sound(name, self._about())
            if isinstance(message, RespondWorkflowTaskCompletedRequest):
                message.commands.extend(self._commands())
            for _ in range(self._random.choice((0, 1, 1, 2, 4))):
                self._change(message)
        self._place(message, name)
        return message

    def _commands(self) -> list[Command]:
        """Sound commands, some with one change."""
        chosen = [
            Command.FromString(text) for text in self._random.choices(_COMMANDS, k=self._random.randrange(4))
        ]
        for command in chosen:
            if self._random.random() < 0.3:
                self._change(command)
                self._command_of_its_type(command)
        return chosen

    def _about(self) -> About:
        choice = self._random.choice
        return About(
            namespace=NAMESPACE,
            workflow_id=choice([f"w{self._random.randrange(30)}", *self._seen["workflow_id", str]]),
            schedule_id=f"s{self._random.randrange(10)}",
            workflow_token=choice([b"", *self._seen["task_token", bytes]]),
            activity_token=choice([b"", *self._seen["task_token", bytes]]),
        )

    def _command_of_its_type(self, command: Message) -> None:
        """Most commands have the attributes of their type; without them none comes past the first check."""
        attributes = command.WhichOneof("attributes")
        if attributes is not None and self._random.random() < 0.9:
            name = attributes.removesuffix("_command_attributes").upper()
            command.command_type = CommandType.Value(f"COMMAND_TYPE_{name}")  # type: ignore[attr-defined]

    def _place(self, message: Message, name: str) -> None:
        """Most calls name the namespace and the queue where something is."""
        fields = message.DESCRIPTOR.fields_by_name
        if "namespace" in fields and name not in NAMESPACE_CHANGES and self._random.random() < 0.95:
            message.namespace = NAMESPACE  # type: ignore[attr-defined]
        elif name in NAMESPACE_CHANGES and getattr(message, "namespace", "") == NAMESPACE:
            message.namespace = "another"  # type: ignore[attr-defined]
        if "namespace_id" in fields:  # of one that is to go
            message.namespace_id = ""  # type: ignore[attr-defined]
        if isinstance(getattr(message, "task_queue", None), TaskQueue) and self._random.random() < 0.9:
            message.task_queue.name = QUEUE  # type: ignore[attr-defined]

    def _change(self, message: Message) -> None:
        """Change one field somewhere."""
        while True:
            parts = [
                value for d, value in message.ListFields() if d.type == _F.TYPE_MESSAGE and not d.is_repeated
            ]
            if parts and self._random.random() < 0.5:
                message = self._random.choice(parts)
                continue
            fields = message.DESCRIPTOR.fields
            if not fields:
                return
            chosen = self._random.choice(fields)
            message.ClearField(chosen.name)
            if self._random.random() < 0.8:
                self._set(message, chosen, 1)
            return

    def _fill(self, message: Message, depth: int) -> None:
        for descriptor in message.DESCRIPTOR.fields:
            if self._random.random() < (0.5 if depth == 0 else 0.3):
                self._set(message, descriptor, depth)
        if isinstance(message, Command):
            self._command_of_its_type(message)

    def _set(self, message: Message, descriptor: FieldDescriptor, depth: int) -> None:
        if descriptor.type == _F.TYPE_MESSAGE and descriptor.message_type.GetOptions().map_entry:
            self._fill_map(getattr(message, descriptor.name), descriptor.message_type, depth)
        elif descriptor.type == _F.TYPE_MESSAGE:
            if depth >= DEPTH_MAX:
                return
            if descriptor.is_repeated:
                for _ in range(self._random.randrange(REPEATED_MAX + 1)):
                    self._fill(getattr(message, descriptor.name).add(), depth + 1)
            else:
                part = getattr(message, descriptor.name)
                part.SetInParent()
                self._fill(part, depth + 1)
        elif descriptor.is_repeated:
            count = self._random.randrange(REPEATED_MAX + 1)
            getattr(message, descriptor.name).extend(self._value(descriptor) for _ in range(count))
        else:
            setattr(message, descriptor.name, self._value(descriptor))

    def _fill_map(self, entries: Any, entry: Descriptor, depth: int) -> None:
        value = entry.fields_by_name["value"]
        for _ in range(self._random.randrange(REPEATED_MAX)):
            key = self._value(entry.fields_by_name["key"])
            if value.type == _F.TYPE_MESSAGE:
                if depth < DEPTH_MAX:
                    self._fill(entries[key], depth + 1)
            else:
                entries[key] = self._value(value)

    def _value(self, descriptor: FieldDescriptor) -> Any:
        choose = self._random.choice
        match descriptor.type:
            case _F.TYPE_STRING:
                known = self._seen.get((descriptor.name, str))
                if known and self._random.random() < 0.6:
                    return choose(known)
                return (
                    choose(_TEXTS)
                    if self._random.random() < 0.5
                    else f"{descriptor.name}{self._random.randrange(9)}"
                )
            case _F.TYPE_BYTES:
                known = self._seen.get((descriptor.name, bytes))
                if known and self._random.random() < 0.7:
                    return choose(known)
                return self._random.randbytes(self._random.choice((0, 1, 16, TEXT_MAX)))
            case _F.TYPE_ENUM:
                return self._enum(descriptor.enum_type)
            case _F.TYPE_BOOL:
                return choose((False, True))
            case _F.TYPE_FLOAT | _F.TYPE_DOUBLE:
                return choose(_FLOATS) if descriptor.type == _F.TYPE_DOUBLE else choose(_FLOATS[:-1])
            case _F.TYPE_INT32 | _F.TYPE_SINT32 | _F.TYPE_SFIXED32:
                return choose([n for n in _NUMBERS if -(2**31) <= n < 2**31])
            case _F.TYPE_UINT32 | _F.TYPE_FIXED32:
                return choose([n for n in _NUMBERS if 0 <= n < 2**31])
            case _F.TYPE_UINT64 | _F.TYPE_FIXED64:
                return choose([n for n in _NUMBERS if n >= 0])
            case _:
                return choose(_NUMBERS)

    def _enum(self, enum_type: EnumDescriptor) -> int:
        return int(self._random.choice([*(value.number for value in enum_type.values), 999, -1]))


@dataclass(kw_only=True)
class Report:
    """What came of a run: outcomes by code, and every call that ended as none may, with its request."""

    outcomes: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


OFTEN = {
    "StartWorkflowExecution": 8,
    "PollWorkflowTaskQueue": 12,
    "RespondWorkflowTaskCompleted": 12,
    "PollActivityTaskQueue": 8,
    "SignalWorkflowExecution": 4,
    "UpdateWorkflowExecution": 4,
    "RespondActivityTaskCompleted": 4,
    "RespondActivityTaskFailed": 4,
    "ExecuteMultiOperation": 4,
    "ResetWorkflowExecution": 4,
    "StartActivityExecution": 4,
}
"""How many times as often as the others: what brings workflows on."""

IMPROPER = frozenset({"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that tell of a defect or a lost change: no request may bring them about."""


async def fuzz(cell: NativeCell, count: int, seed: int) -> Report:
    """Send `count` random requests to a started cell that has the namespace `NAMESPACE`, some of them at once."""
    gateway = Gateway(DevelopmentDirectory(CELL), lambda _: cell, {}, default_cell=CELL)
    maker, report = Maker(seed), Report()
    names, order = list(methods()), random.Random(seed)
    weights = [OFTEN.get(name, 1) for name in names]
    left = iter(range(count))

    async def caller() -> None:
        for _ in left:
            (name,) = order.choices(names, weights)
            await _one(gateway, methods_by_name[name], maker, report)

    methods_by_name: Mapping[str, Method] = methods()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return report


async def _one(gateway: Gateway, method: Method, maker: Maker, report: Report) -> None:
    request = maker.request(method.name)
    # As it comes over the wire.
    request = GetMessageClass(request.DESCRIPTOR).FromString(request.SerializeToString())
    loop = asyncio.get_running_loop()
    parts = CallParts(listener=ListenerKind.DEVELOPMENT, deadline_s=loop.time() + 5.0)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await gateway.call(method, request, parts)
                maker.learn(answer)
                report.outcomes["OK"] += 1
                report.answered[method.name] += 1
    except RpcError as refusal:
        report.outcomes[refusal.code.name] += 1
        if refusal.code.name in IMPROPER:
            report.broken.append(f"{method.name} {refusal.code.name}: {refusal}\n{request}")
    except Exception as error:
        report.outcomes["broken"] += 1
        report.broken.append(f"{method.name} {error!r}\n{request}")
