"""Every method with every kind of bad input: a sound request, and one thing wrong with it at a time.

A missing field, another namespace, an id of nothing, an oversize text or payload, an enum value that is none, a number that can't be,
a token that is garbage or expired. Closed workflows are `outcomes`' part: it sends the sound request about one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, Payloads

from tests.conformance.requests import NAMESPACE_CHANGES, About, methods, sound

OVERSIZE = "x" * 1_001
"""One more character than an id may have."""

PAYLOAD_OVERSIZE = 2 * 1024 * 1024 + 1
"""One more byte than a payload may have."""

DEPTH_MAX = 3

WAITING = frozenset(
    {
        "PollWorkflowTaskQueue",
        "PollActivityTaskQueue",
        "PollNexusTaskQueue",
        "PollWorkflowExecutionTimeSkipping",
    }
)
"""Sound requests to these wait for a worker's task: only the wrong ones are sent."""

LEFT_OUT = frozenset({"DeleteNamespace", "GetSearchAttributes", "AddOrUpdateRemoteCluster"})
"""Sent as they are only: what goes wrong with them is about the cluster's own set-up."""

STARTING = frozenset(
    {
        "StartWorkflowExecution",
        "SignalWithStartWorkflowExecution",
        "StartActivityExecution",
        "ExecuteMultiOperation",
        "CreateSchedule",
    }
)
"""Any new id is a good one to these."""

_FIELD = FieldDescriptor
_Path = tuple[str | int, ...]
"""Names of fields, and places in lists."""


def bad_requests(name: str, about: About) -> Iterator[tuple[str, Message]]:
    """Requests to the method `name` by what is wrong with them. What is a long list to one call is a line each here."""
    request_type = methods()[name].request_type
    yield "empty", request_type()
    if name not in WAITING:
        yield "sound", sound(name, about)
    if name in LEFT_OUT:
        return
    paths = list(_paths(sound(name, about)))
    for path, field in paths:
        for label, value in _wrong_values(field, name, about):
            request = sound(name, about)
            _set(request, path, field, value)
            if request != sound(name, about):
                yield f"{'.'.join(str(part) for part in path)}: {label}", request


def _paths(message: Message, above: _Path = ()) -> Iterator[tuple[_Path, FieldDescriptor]]:
    """All fields that are set, down to a depth, and the unset ones beside them that a wrong value needs no more for."""
    for field in message.DESCRIPTOR.fields:
        path = (*above, field.name)
        deeper = sum(isinstance(part, str) for part in path) < DEPTH_MAX
        if field.is_repeated:
            if getattr(message, field.name):
                yield path, field
                is_map = field.type == _FIELD.TYPE_MESSAGE and field.message_type.GetOptions().map_entry
                if field.type == _FIELD.TYPE_MESSAGE and not is_map and deeper:
                    for number, part in enumerate(getattr(message, field.name)):
                        yield from _paths(part, (*path, number))
        elif field.type != _FIELD.TYPE_MESSAGE:
            yield path, field
        elif message.HasField(field.name):
            yield path, field
            if deeper and not _is_payload(field):
                yield from _paths(getattr(message, field.name), path)
        elif field.message_type.full_name in {"google.protobuf.Duration", Payloads.DESCRIPTOR.full_name}:
            yield path, field


def _is_payload(field: FieldDescriptor) -> bool:
    return field.message_type.full_name.startswith("google.protobuf.") or field.message_type.name.startswith(
        "Payload"
    )


def _wrong_values(field: FieldDescriptor, method: str, about: About) -> Iterator[tuple[str, object]]:
    name = field.name
    if field.is_repeated:
        yield "missing", None
    elif field.type == _FIELD.TYPE_MESSAGE:
        if field.message_type.full_name == Payloads.DESCRIPTOR.full_name:
            yield "oversize", Payloads(payloads=[Payload(data=b"x" * PAYLOAD_OVERSIZE)])
        if field.message_type.full_name == "google.protobuf.Duration":
            yield "negative", Duration(seconds=-1)
            yield "of both signs", Duration(seconds=1, nanos=-1)
            yield "beyond all", Duration(seconds=400_000_000_000)
        else:
            yield "missing", None
    elif field.type == _FIELD.TYPE_ENUM:
        yield "unknown value", 999
    elif field.type == _FIELD.TYPE_STRING:
        yield "missing", ""
        yield "oversize", OVERSIZE
        if name == "namespace" and method not in NAMESPACE_CHANGES:
            yield "unknown", "nowhere"
        if name.endswith("run_id"):
            yield "no UUID", "not-a-run-id"
            yield "unknown", str(uuid.UUID(int=7))
        if name in {"workflow_id", "schedule_id", "activity_id"} and method not in STARTING:
            yield "unknown", "unknown"
        if name == "query":
            yield "no query", "this is no query ="
            yield "unknown attribute", "Nothing = 'x'"
        if name == "cron_schedule":
            yield "no schedule", "every other day"
    elif field.type == _FIELD.TYPE_BYTES:
        yield "missing", b""
        yield "garbage", b"\x00garbage\xff"
        if name == "task_token":
            yield from about.other_tokens.items()
    elif field.type in {_FIELD.TYPE_INT32, _FIELD.TYPE_INT64}:
        yield "negative", -1
        yield "largest", 2**31 - 1
    elif field.type in {_FIELD.TYPE_FLOAT, _FIELD.TYPE_DOUBLE}:
        yield "negative", -1.0
        yield "not a number", float("nan")


def _set(request: Message, path: _Path, field: FieldDescriptor, value: object) -> None:
    part: Any = request
    for name in path[:-1]:
        part = part[name] if isinstance(name, int) else getattr(part, name)
    request = part
    if value is None:
        request.ClearField(field.name)
    elif isinstance(value, Message):
        getattr(request, field.name).CopyFrom(value)
    else:
        setattr(request, field.name, value)
