"""Finds all places of a Temporal message that hold what users wrote, with walkers made from descriptors.

For each type one closure is compiled, when it is first asked for; fields that can't lead to such a place are never
looked at. Nobody keeps a list of fields: one that the protocol gains is found from the day its proto is upgraded.
Found are
- payloads, wherever they stand: alone, repeated, in a map, in Payloads;
- failures (Failure and Nexus's own), whose message and stack trace user code writes;
- error messages that SDKs send beside a failure (queries);
- all of these in messages that others hold packed: google.protobuf.Any, raw history, the requests that Nexus
  operations of the service itself are given, the details of Nexus failures. `Places.repack` writes these back.
What stays readable stands in `readable`, with reasons.

    walk = Walkers().of(StartWorkflowExecutionRequest.DESCRIPTOR)
    places = walk(request)
    for place in places.payloads:
        place.message.CopyFrom(encrypted(place.message))
    places.repack()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf import descriptor_pool, json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from temporalio.api.common.v1 import DataBlob, Payload
from temporalio.api.enums.v1 import EncodingType
from temporalio.api.failure.v1 import Failure

from codec.descriptors import Descriptor, held_type, is_map
from codec.places import Place, Places, Where
from codec.readable import (
    FAILURE,
    HISTORY_BLOBS,
    MARKER_DETAILS,
    NEXUS_FAILURE,
    READABLE_FIELDS,
    SENTENCES,
    SYSTEM_ANSWERS,
    SYSTEM_ENDPOINT,
    SYSTEM_REQUESTS,
    is_bookkeeping,
)

_PAYLOAD = Payload.DESCRIPTOR.full_name
_ANY = AnyMessage.DESCRIPTOR.full_name
_BLOB = DataBlob.DESCRIPTOR.full_name
_MARKER = "temporal.api.command.v1.RecordMarkerCommandAttributes"
_MARKER_EVENT = "temporal.api.history.v1.MarkerRecordedEventAttributes"
_OPERATION_INPUTS = frozenset(
    {
        ("temporal.api.command.v1.ScheduleNexusOperationCommandAttributes", "input"),
        ("temporal.api.history.v1.NexusOperationScheduledEventAttributes", "input"),
    }
)
_OPERATION_RESULT = ("temporal.api.history.v1.NexusOperationCompletedEventAttributes", "result")

Walk = Callable[[Any], Places]
_Step = Callable[[Any, Places, Where], None]


class Walkers:
    """The walkers of all message types met so far, each compiled once. For one thread."""

    def __init__(self) -> None:
        self._steps: dict[str, _Step] = {
            _PAYLOAD: _payload,
            _ANY: self._any,
            _BLOB: _unknown_blob,
            NEXUS_FAILURE: self._nexus_failure,
        }
        self._walks: dict[str, Walk | None] = {}
        self._holds: dict[str, bool] = {}

    def of(self, descriptor: Descriptor) -> Walk | None:
        """The walker for messages of this type, None where they can hold nothing that users wrote."""
        name = descriptor.full_name
        if name not in self._walks:
            self._walks[name] = self._walk(descriptor)
        return self._walks[name]

    def _walk(self, descriptor: Descriptor) -> Walk | None:
        if not self._can_hold(descriptor):
            return None
        step = self._compiled(descriptor)

        def walk(message: Any) -> Places:
            found = Places()
            step(message, found, None)
            return found

        return walk

    def _can_hold(self, descriptor: Descriptor) -> bool:
        known = self._holds.get(descriptor.full_name)
        if known is None:
            known = self._holds[descriptor.full_name] = _reaches(descriptor, set())
        return known

    def _compiled(self, descriptor: Descriptor) -> _Step:
        name = descriptor.full_name
        if name in self._steps:
            return self._steps[name]
        steps: list[_Step] = []

        def walk(message: Any, found: Places, where: Where) -> None:
            for step in steps:
                step(message, found, where)

        # Known before its steps are, for types that hold themselves (a failure's cause).
        self._steps[name] = walk
        steps.extend(_joined(self._steps_of(descriptor)))
        if len(steps) == 1:
            self._steps[name] = steps[0]
        return self._steps[name]

    def _steps_of(self, descriptor: Descriptor) -> Iterator[_Step | _Single]:
        owner = descriptor.full_name
        if owner == FAILURE:
            yield _failure
        else:
            for text in SENTENCES.get(owner, ()):
                yield _sentence_step(text)
        alternatives: dict[str, dict[str, _Step]] = {}
        for field in descriptor.fields:
            held = held_type(field)
            if held is None or (owner, field.name) in READABLE_FIELDS or not self._can_hold(held):
                continue
            step = self._special(owner, field.name) or self._compiled(held)
            if owner in (_MARKER, _MARKER_EVENT) and field.name == "details":
                yield _marker_details_step(step)
            elif field.containing_oneof is not None and len(field.containing_oneof.fields) > 1:
                alternatives.setdefault(field.containing_oneof.name, {})[field.name] = step
            elif is_map(field):
                yield _map_step(field.name, step)
            elif field.is_repeated:
                yield _repeated_step(field.name, step)
            elif (owner, field.name) in _OPERATION_INPUTS:
                yield self._operation_input
            else:
                yield _Single(field.name, step)
        for name, steps in alternatives.items():
            yield _oneof_step(name, steps)

    def _special(self, owner: str, field: str) -> _Step | None:
        if (owner, field) == _OPERATION_RESULT:
            return _operation_result
        blob = HISTORY_BLOBS.get((owner, field))
        return None if blob is None else self._blob_step(blob)

    def _any(self, packed: AnyMessage, found: Places, where: Where) -> None:
        if not packed.type_url and not packed.value:
            return
        type_name = packed.type_url.rpartition("/")[2]
        descriptor = _protocol_type(type_name)
        if descriptor is None:
            found.opaque.append((Place(packed, where), "is of a type that is not known here"))
            return
        try:
            inner = GetMessageClass(descriptor).FromString(packed.value)
        except DecodeError:
            found.opaque.append((Place(packed, where), f"is no {type_name}"))
            return

        def write() -> None:
            packed.value = inner.SerializeToString()

        found.packed(write, inner)
        if self._can_hold(descriptor):
            self._compiled(descriptor)(inner, found, (where, f"({descriptor.name})", None, packed))

    def _operation_input(self, operation: Any, found: Places, where: Where) -> None:
        """What a Nexus operation is given. For the service's own it is a request, whose payloads count one by one."""
        if not operation.HasField("input"):
            return
        payload, here = operation.input, (where, "input", None, operation)
        inner = _system_request(payload) if operation.endpoint == SYSTEM_ENDPOINT else None
        if inner is None:
            found.payloads.append(Place(payload, here))
            return

        def write() -> None:
            payload.data = inner.SerializeToString()

        found.packed(write, inner)
        self._compiled(inner.DESCRIPTOR)(inner, found, here)

    def _nexus_failure(self, failure: Any, found: Places, where: Where) -> None:
        inner = None
        if failure.details and failure.metadata.get("type") == FAILURE:
            inner = _failure_of_json(failure.details)
        found.nexus_failures.append((Place(failure, where), inner))
        if inner is not None:
            details = inner

            def write() -> None:
                failure.details = _json_of_failure(details)

            found.packed(write, details)
            self._failure_parts(inner, found, (where, "details", None, failure))
        if failure.HasField("cause"):
            self._nexus_failure(failure.cause, found, (where, "cause", None, failure))

    def _failure_parts(self, failure: Failure, found: Places, where: Where) -> None:
        """All in a Failure but itself."""
        before = len(found.failures)
        self._compiled(Failure.DESCRIPTOR)(failure, found, where)
        del found.failures[before]

    def _blob_step(self, type_name: str) -> _Step:
        message_class = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(type_name))
        step = self._compiled(message_class.DESCRIPTOR)

        def walk(blob: DataBlob, found: Places, where: Where) -> None:
            if not blob.data:
                return
            if blob.encoding_type != EncodingType.ENCODING_TYPE_PROTO3:
                found.opaque.append((Place(blob, where), "is in an encoding that is not known here"))
                return
            try:
                inner = message_class.FromString(blob.data)
            except DecodeError:
                found.opaque.append((Place(blob, where), f"is no {type_name}"))
                return

            def write() -> None:
                blob.data = inner.SerializeToString()

            found.packed(write, inner)
            step(inner, found, (where, "data", None, blob))

        return walk


def _protocol_type(name: str) -> Descriptor | None:
    if not name.startswith("temporal.api."):
        return None
    try:
        return descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        return None


def _system_request(payload: Payload) -> Any:
    """The request in `payload`, None if it is none that all is known of."""
    kind = payload.metadata.get("messageType", b"").decode(errors="replace")
    descriptor = _protocol_type(kind) if kind in SYSTEM_REQUESTS else None
    if payload.metadata.get("encoding") != b"binary/protobuf" or descriptor is None:
        return None
    try:
        request: Any = GetMessageClass(descriptor).FromString(payload.data)
    except DecodeError:
        return None
    size = request.ByteSize()
    request.DiscardUnknownFields()
    return request if request.ByteSize() == size else None


def _failure_of_json(details: bytes) -> Failure | None:
    try:
        return json_format.Parse(details, Failure())
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        return None


def _json_of_failure(failure: Failure) -> bytes:
    return json_format.MessageToJson(failure, indent=None).encode()


def _reaches(descriptor: Descriptor, seen: set[str]) -> bool:
    name = descriptor.full_name
    if name in (_PAYLOAD, _ANY, _BLOB) or name in SENTENCES:
        return True
    if name in seen:
        return False
    seen.add(name)
    return any(
        (held := held_type(field)) is not None
        and (name, field.name) not in READABLE_FIELDS
        and _reaches(held, seen)
        for field in descriptor.fields
    )


def _payload(payload: Payload, found: Places, where: Where) -> None:
    found.payloads.append(Place(payload, where))


def _failure(failure: Failure, found: Places, where: Where) -> None:
    found.failures.append(Place(failure, where))


def _operation_result(payload: Payload, found: Places, where: Where) -> None:
    if (
        payload.metadata.get("encoding") == b"binary/protobuf"
        and payload.metadata.get("messageType") in SYSTEM_ANSWERS
    ):
        return
    found.payloads.append(Place(payload, where))


def _unknown_blob(blob: DataBlob, found: Places, where: Where) -> None:
    if blob.data:
        found.opaque.append((Place(blob, where), "holds a message of a kind that is not known here"))


def _sentence_step(name: str) -> _Step:
    def step(message: Any, found: Places, where: Where) -> None:
        if getattr(message, name):
            found.sentences.append(Place(message, where, name))

    return step


class _Single(NamedTuple):
    """A field that is there or not, and the walk into it."""

    name: str
    walk: _Step


def _joined(steps: Iterable[_Step | _Single]) -> Iterator[_Step]:
    """The steps, with those of fields that stand beside each other made one: a call for each costs more than the look."""
    beside: list[_Single] = []
    for step in steps:
        if isinstance(step, _Single):
            beside.append(step)
            continue
        if beside:
            yield _single_step(*beside)
            beside = []
        yield step
    if beside:
        yield _single_step(*beside)


def _single_step(*fields: _Single) -> _Step:
    def step(message: Any, found: Places, where: Where) -> None:
        has = message.HasField
        for name, walk in fields:
            if has(name):
                walk(getattr(message, name), found, (where, name, None, message))

    return step


def _oneof_step(oneof: str, walks: Mapping[str, _Step]) -> _Step:
    def step(message: Any, found: Places, where: Where) -> None:
        name = message.WhichOneof(oneof)
        walk = walks.get(name)
        if walk is not None:
            walk(getattr(message, name), found, (where, name, None, message))

    return step


def _repeated_step(name: str, walk: _Step) -> _Step:
    def step(message: Any, found: Places, where: Where) -> None:
        for index, item in enumerate(getattr(message, name)):
            walk(item, found, (where, name, index, message))

    return step


def _map_step(name: str, walk: _Step) -> _Step:
    def step(message: Any, found: Places, where: Where) -> None:
        items = getattr(message, name)
        for key in items:
            walk(items[key], found, (where, name, key, message))

    return step


def _marker_details_step(walk: _Step) -> _Step:
    """Bookkeeping of the SDKs' core stays readable; all else in a marker is as anywhere."""

    def step(marker: Any, found: Places, where: Where) -> None:
        details = marker.details
        for key in details:
            fields = MARKER_DETAILS.get((marker.marker_name, key))
            payloads = details[key]
            if fields is not None and all(is_bookkeeping(one, fields) for one in payloads.payloads):
                continue
            walk(payloads, found, (where, "details", key, marker))

    return step
