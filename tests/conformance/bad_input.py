"""Every method with every kind of bad input: a sound request, and one thing wrong with it at a time."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from tests.conformance.requests import NAMESPACE_CHANGES, About, methods, sound

OVERSIZE = "x" * 1_001
"""One more character than an id may have."""

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
        for label, value in _wrong_values(path, field, name):
            request = sound(name, about)
            _set(request, path, field, value)
            if request != sound(name, about):
                yield f"{'.'.join(path)}: {label}", request


def _paths(
    message: Message, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldDescriptor]]:
    """All fields that are set, down to a depth, and the unset single ones beside them."""
    for field in message.DESCRIPTOR.fields:
        path = (*above, field.name)
        if field.is_repeated:
            continue
        if field.type != _FIELD.TYPE_MESSAGE:
            yield path, field
        elif message.HasField(field.name):
            yield path, field
            if len(path) < DEPTH_MAX and not _is_payload(field):
                yield from _paths(getattr(message, field.name), path)
        elif field.message_type.full_name == "google.protobuf.Duration":
            yield path, field


def _is_payload(field: FieldDescriptor) -> bool:
    return field.message_type.full_name.startswith("google.protobuf.") or field.message_type.name.startswith(
        "Payload"
    )


def _wrong_values(path: tuple[str, ...], field: FieldDescriptor, method: str) -> Iterator[tuple[str, object]]:
    name = field.name
    if field.type == _FIELD.TYPE_MESSAGE:
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
    elif field.type in {_FIELD.TYPE_INT32, _FIELD.TYPE_INT64}:
        yield "negative", -1
        yield "largest", 2**31 - 1
    elif field.type in {_FIELD.TYPE_FLOAT, _FIELD.TYPE_DOUBLE}:
        yield "negative", -1.0
        yield "not a number", float("nan")


def _set(request: Message, path: tuple[str, ...], field: FieldDescriptor, value: object) -> None:
    for name in path[:-1]:
        request = getattr(request, name)
    if value is None:
        request.ClearField(field.name)
    elif isinstance(value, Message):
        getattr(request, field.name).CopyFrom(value)
    else:
        setattr(request, field.name, value)
