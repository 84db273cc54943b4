"""Finds every payload of a request that is not encrypted, with walkers made from descriptors.

For each message type that can hold a payload one closure is compiled; fields that cannot lead to one are
never looked at, so that most requests cost a few field look-ups and a poll costs nothing. Checked are
- Payload, wherever it stands: alone, repeated, in a map, in Payloads;
- Failure and the Nexus Failure: message and stack trace too, for user code writes them;
- google.protobuf.Any: the protocol message inside (update acceptance, rejection, response);
- the requests that workflows give to Nexus operations of the service itself: their payloads;
- error messages that SDKs send beside a failure (queries).
What is left out stands in `readable`, with reasons. Nobody keeps a list of fields by hand: a field that the
protocol gains is checked from the day its proto is upgraded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pool, json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import Failure as NexusFailure

from cloud.gateway.opaque import json_object_of, payload_problem
from cloud.gateway.readable import (
    CHECKED_STRINGS,
    FAILURE,
    MARKER_DETAILS,
    MARKER_DETAILS_BYTES_MAX,
    NEXUS_FAILURE,
    READABLE_FIELDS,
    SYSTEM_ENDPOINT,
    SYSTEM_REQUESTS,
    sentence_problem,
)

FINDINGS_PER_FIELD_MAX = 16
"""A repeated field reports no more than this: a million bad payloads shall not cost a million findings."""

KEY_CHARS_MAX = 64
"""How much of a map's key a path repeats: a key is as long as its sender likes."""

_PAYLOAD = Payload.DESCRIPTOR.full_name
_ANY = AnyMessage.DESCRIPTOR.full_name
_MARKER = "temporal.api.command.v1.RecordMarkerCommandAttributes"

_NEXUS_COMMAND = "temporal.api.command.v1.ScheduleNexusOperationCommandAttributes"


class Finding:
    """One place that is not encrypted: where, and what is wrong with it. Quotes no data."""

    __slots__ = ("_parts", "problem")

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self._parts: list[tuple[str, int | str | None]] = []

    def inside(self, field: str, key: int | str | None = None) -> Finding:
        """Name the field (and the index or map key in it) that this was found in."""
        self._parts.append((field, key))
        return self

    @property
    def path(self) -> str:
        """The whole path, as ``memo.fields["customer"]`` or ``commands[3].input.payloads[0]``."""
        return ".".join(_part(name, key) for name, key in reversed(self._parts))

    @property
    def field(self) -> str:
        """The path without indices and keys: one of a bounded set of names, fit for counters and logs."""
        return ".".join(name for name, _ in reversed(self._parts))


def _part(name: str, key: int | str | None) -> str:
    if key is None:
        return name
    if isinstance(key, str):
        return f'{name}["{key[:KEY_CHARS_MAX]}"]'
    return f"{name}[{key}]"


AnyDescriptor = Any
"""A message's descriptor, of whichever of protobuf's implementations is loaded."""

Findings = Sequence[Finding]
Walk = Callable[[Any], Findings]
"""From a message to what is wrong in it; the empty tuple where nothing is."""

_NOTHING: Findings = ()


class PayloadWalkers:
    """The walkers of all message types met so far, each compiled once."""

    def __init__(self) -> None:
        self._walks: dict[str, Walk] = {
            _PAYLOAD: _walk_payload,
            _ANY: self._walk_any,
            NEXUS_FAILURE: self._walk_nexus_failure,
        }
        self._holds: dict[str, bool] = {}

    def walk(self, descriptor: AnyDescriptor) -> Walk | None:
        """The walker for messages of this type, None where they can hold nothing that is to be encrypted."""
        if not self._can_hold(descriptor):
            return None
        return self._compiled(descriptor)

    def _can_hold(self, descriptor: AnyDescriptor) -> bool:
        known = self._holds.get(descriptor.full_name)
        if known is None:
            known = self._holds[descriptor.full_name] = _reaches(descriptor, set())
        return known

    def _compiled(self, descriptor: AnyDescriptor) -> Walk:
        name = descriptor.full_name
        if name in self._walks:
            return self._walks[name]
        steps: list[Walk] = []

        def walk(message: Any) -> Findings:
            found: list[Finding] | None = None
            for step in steps:
                more = step(message)
                if more:
                    found = [*found, *more] if found else [*more]
            return found or _NOTHING

        # Known before its steps are, for types that hold themselves (a failure's cause).
        self._walks[name] = walk
        steps.extend(self._steps(descriptor))
        if len(steps) == 1:
            self._walks[name] = steps[0]
        return self._walks[name]

    def _steps(self, descriptor: AnyDescriptor) -> list[Walk]:
        steps = [_string_step(field) for field in CHECKED_STRINGS.get(descriptor.full_name, ())]
        alternatives: dict[str, dict[str, Walk]] = {}
        for field in descriptor.fields:
            if (descriptor.full_name, field.name) in READABLE_FIELDS:
                continue
            if (descriptor.full_name, field.name) == (_MARKER, "details"):
                steps.append(_marker_details_step(self._compiled(_value_type(field))))
                continue
            if (descriptor.full_name, field.name) == (_NEXUS_COMMAND, "input"):
                steps.append(self._operation_input)
                continue
            held = _value_type(field)
            if held is None or not self._can_hold(held):
                continue
            walk = self._compiled(held)
            if field.containing_oneof is not None and len(field.containing_oneof.fields) > 1:
                alternatives.setdefault(field.containing_oneof.name, {})[field.name] = walk
            elif _is_map(field):
                steps.append(_map_step(field.name, walk))
            elif field.is_repeated:
                steps.append(_repeated_step(field.name, walk))
            else:
                steps.append(_single_step(field.name, walk))
        steps.extend(_oneof_step(name, walks) for name, walks in alternatives.items())
        return steps

    def _walk_any(self, packed: AnyMessage) -> Findings:
        if not packed.type_url and not packed.value:
            return _NOTHING
        type_name = packed.type_url.rpartition("/")[2]
        descriptor = _protocol_type(type_name)
        if descriptor is None:
            return [Finding("is of a type that is not known here, so it can't be checked").inside("type_url")]
        walk = self.walk(descriptor)
        if walk is None:
            return _NOTHING
        try:
            message = GetMessageClass(descriptor).FromString(packed.value)
        except DecodeError:
            return [Finding(f"is no {type_name}").inside("value")]
        if _has_unknown_fields(message):
            return [Finding("has fields that are not known here, so it can't be checked").inside("value")]
        return [finding.inside(f"({descriptor.name})") for finding in walk(message)]

    def _operation_input(self, command: Any) -> Findings:
        """What a Nexus operation is given. For the service's own it is a request, whose payloads are encrypted one by one."""
        if not command.HasField("input"):
            return _NOTHING
        inner = self._system_request(command) if command.endpoint == SYSTEM_ENDPOINT else None
        found = _walk_payload(command.input) if inner is None else self._compiled(inner.DESCRIPTOR)(inner)
        return [finding.inside("input") for finding in found]

    def _system_request(self, command: Any) -> Any:
        """The request, None if it is none that all is known of."""
        metadata = command.input.metadata
        kind = metadata.get("messageType", b"").decode(errors="replace")
        descriptor = _protocol_type(kind) if kind in SYSTEM_REQUESTS else None
        if metadata.get("encoding") != b"binary/protobuf" or descriptor is None:
            return None
        try:
            request: Any = GetMessageClass(descriptor).FromString(command.input.data)
        except DecodeError:
            return None
        return None if _has_unknown_fields(request) else request

    def _walk_nexus_failure(self, failure: NexusFailure) -> Findings:
        found: list[Finding] = []
        for step in (_string_step("message"), _string_step("stack_trace")):
            found.extend(step(failure))
        if failure.details:
            found.extend(finding.inside("details") for finding in self._nexus_details(failure))
        if failure.HasField("cause"):
            found.extend(finding.inside("cause") for finding in self._walk_nexus_failure(failure.cause))
        return found or _NOTHING

    def _nexus_details(self, failure: NexusFailure) -> Findings:
        """SDKs put a Failure there, as JSON of its proto, and say so in the metadata."""
        if failure.metadata.get("type") != FAILURE:
            return [Finding("is not an encoded failure")]
        try:
            inner = json_format.Parse(failure.details, Failure())
        except (json_format.ParseError, RecursionError):
            return [Finding("is not an encoded failure")]
        return self._compiled(Failure.DESCRIPTOR)(inner)


def _has_unknown_fields(message: Message) -> bool:
    """Whether a message that was packed in another has fields newer than our protos; takes them out of `message`."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    return message.ByteSize() != size


def _protocol_type(name: str) -> AnyDescriptor | None:
    if not name.startswith("temporal.api."):
        return None
    try:
        return descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        return None


def _reaches(descriptor: AnyDescriptor, seen: set[str]) -> bool:
    name = descriptor.full_name
    if name in (_PAYLOAD, _ANY) or name in CHECKED_STRINGS:
        return True
    if name in seen:
        return False
    seen.add(name)
    return any(
        (held := _value_type(field)) is not None
        and (name, field.name) not in READABLE_FIELDS
        and _reaches(held, seen)
        for field in descriptor.fields
    )


def _is_map(field: FieldDescriptor) -> bool:
    entry: Any = field.message_type
    return entry is not None and bool(entry.GetOptions().map_entry)


def _value_type(field: FieldDescriptor) -> Any:
    """The message type that a field leads to, through a map's entries; None for plain values."""
    held: Any = field.message_type
    return held.fields_by_name["value"].message_type if _is_map(field) else held


def _walk_payload(payload: Payload) -> Findings:
    problem = payload_problem(payload)
    return _NOTHING if problem is None else [Finding(problem)]


def _single_step(name: str, walk: Walk) -> Walk:
    def step(message: Any) -> Findings:
        if not message.HasField(name):
            return _NOTHING
        found = walk(getattr(message, name))
        return [finding.inside(name) for finding in found] if found else _NOTHING

    return step


def _oneof_step(oneof: str, walks: Mapping[str, Walk]) -> Walk:
    def step(message: Any) -> Findings:
        name = message.WhichOneof(oneof)
        walk = walks.get(name)
        if walk is None:
            return _NOTHING
        found = walk(getattr(message, name))
        return [finding.inside(name) for finding in found] if found else _NOTHING

    return step


def _repeated_step(name: str, walk: Walk) -> Walk:
    def step(message: Any) -> Findings:
        items = getattr(message, name)
        # Nearly always there is nothing, or nothing bad: paths are put together in a second look only.
        if not items or not any(map(walk, items)):
            return _NOTHING
        return _found_in(name, enumerate(items), walk)

    return step


def _map_step(name: str, walk: Walk) -> Walk:
    def step(message: Any) -> Findings:
        items = getattr(message, name)
        if not items or not any(map(walk, items.values())):
            return _NOTHING
        return _found_in(name, items.items(), walk)

    return step


def _found_in(name: str, items: Iterable[tuple[int | str, Any]], walk: Walk) -> Findings:
    found: list[Finding] = []
    for key, item in items:
        found.extend(finding.inside(name, key) for finding in walk(item))
        if len(found) >= FINDINGS_PER_FIELD_MAX:
            break
    return found


def _string_step(name: str) -> Walk:
    def step(message: Any) -> Findings:
        text = getattr(message, name)
        if not text:
            return _NOTHING
        problem = sentence_problem(text)
        return _NOTHING if problem is None else [Finding(problem).inside(name)]

    return step


def _marker_details_step(walk_payloads: Walk) -> Walk:
    """Markers of the SDKs' core keep their bookkeeping readable; all else in a marker is as anywhere."""

    def step(marker: Any) -> Findings:
        found: list[Finding] = []
        for key, payloads in marker.details.items():
            fields = MARKER_DETAILS.get((marker.marker_name, key))
            if fields is not None and all(_is_bookkeeping(payload, fields) for payload in payloads.payloads):
                continue
            found.extend(finding.inside("details", key) for finding in walk_payloads(payloads))
            if len(found) >= FINDINGS_PER_FIELD_MAX:
                break
        return found or _NOTHING

    return step


def _is_bookkeeping(payload: Payload, fields: frozenset[str]) -> bool:
    return (
        payload.metadata.get("encoding") == b"json/plain"
        and json_object_of(payload.data, fields, bytes_max=MARKER_DETAILS_BYTES_MAX) is not None
    )
