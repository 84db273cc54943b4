"""Fields of a request from the text of a path or a query, as grpc-gateway reads them.

Names are the protos' or JSON's (`page_size`, `pageSize`), dotted into singular messages; lists take a value
each time, maps are written `field[key]=value`. What names no field is ignored, as in a URL with a mark of
somebody else's.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from google.protobuf import wrappers_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from cloud.rpc import InvalidArgument

Field: TypeAlias = Any
"""A FieldDescriptor: the stubs have two classes, which don't know each other."""

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_MAP_KEY = re.compile(r"(.*)\[(.*)\]")
_DURATION = re.compile(r"([+-]?)((?:[0-9]{1,18}(?:\.[0-9]{0,18})?(?:ns|us|µs|ms|s|m|h))+)")
_DURATION_PART = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")
_UNIT_S = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_DURATION_S_MAX = 315_576_000_000  # 10,000 years, google.protobuf.Duration's own bound
_VALUE_SHOWN_MAX = 100


def set_variable(message: Message, path: Sequence[str], text: str) -> None:
    """Put a path's variable into its field. The protos' own options name it, so the field exists.

    Raises:
        InvalidArgument: the text is no value of the field.
    """
    for name in path[:-1]:
        message = getattr(message, name)
    field = message.DESCRIPTOR.fields_by_name[path[-1]]
    _set(message, field, text)


def set_query(message: Message, query: Sequence[tuple[str, str]], bound: Sequence[Sequence[str]]) -> None:
    """Put query parameters into their fields, but for the fields that the path has filled (`bound`).

    Raises:
        InvalidArgument: a value does not fit its field.
    """
    values: dict[str, list[str]] = {}
    for key, value in query:
        values.setdefault(key, []).append(value)
    seen: set[tuple[str, ...]] = set()
    for key, given in values.items():
        found = _resolve(message, key)
        if found is None:
            continue
        path, map_key = found
        if any(path[: len(taken)] == list(taken) for taken in bound):
            continue
        once = (*path, "" if map_key is None else f"[{map_key}]")
        if once in seen:
            raise InvalidArgument(f'duplicate field "{".".join(path)}"')
        seen.add(once)
        _set_values(message, path, map_key, given)


def _resolve(message: Message, key: str) -> tuple[list[str], str | None] | None:
    """A parameter's field path by proto names, and its map key; None where it names no field."""
    map_key = None
    match = _MAP_KEY.fullmatch(key)
    if match is not None:
        key, map_key = match[1], match[2]
    descriptor: Any = message.DESCRIPTOR
    path: list[str] = []
    for name in key.split("."):
        if descriptor is None:
            return None
        field = descriptor.fields_by_name.get(name) or descriptor.fields_by_camelcase_name.get(name)
        if field is None:
            return None
        path.append(field.name)
        descriptor = None if field.is_repeated else field.message_type
    return path, map_key


def _set_values(message: Message, path: list[str], map_key: str | None, given: list[str]) -> None:
    for name in path[:-1]:
        message = getattr(message, name)
    field = message.DESCRIPTOR.fields_by_name[path[-1]]
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if map_key is None or len(given) > 1:
            raise InvalidArgument(f'parsing field "{field.name}": a map is given as {field.name}[key]=value')
        _put(message, field, map_key, given[0])
    elif map_key is not None:
        raise InvalidArgument(f'field "{field.name}" is not a map')
    elif field.is_repeated:
        for text in given:
            _append(message, field, text)
    elif len(given) > 1:
        shown = ", ".join(given)[:_VALUE_SHOWN_MAX]
        raise InvalidArgument(f'too many values for field "{field.name}": {shown}')
    else:
        _set(message, field, given[0])


def _set(message: Message, field: Field, text: str) -> None:
    oneof = field.containing_oneof
    if (
        oneof is not None
        and len(oneof.fields) > 1
        and message.WhichOneof(oneof.name) not in (None, field.name)
    ):
        raise InvalidArgument(f'field already set for oneof "{oneof.name}"')
    value = _parse(field, text)
    if field.message_type is not None:
        getattr(message, field.name).CopyFrom(value)
    else:
        _assign(field, text, lambda: setattr(message, field.name, value))


def _append(message: Message, field: Field, text: str) -> None:
    value = _parse(field, text)
    _assign(field, text, lambda: getattr(message, field.name).append(value))


def _put(message: Message, field: Field, key: str, text: str) -> None:
    key_field, value_field = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    if value_field.message_type is not None:
        raise _refusal(field, text, "maps of messages can't be given in a query")
    parsed_key, value = _parse(key_field, key), _parse(value_field, text)
    _assign(field, text, lambda: getattr(message, field.name).__setitem__(parsed_key, value))


def _assign(field: Field, text: str, assign: Any) -> None:
    try:
        assign()
    except (ValueError, TypeError) as error:  # out of the type's range, or not encodable
        raise _refusal(field, text, "is out of range") from error


def _parse(field: Field, text: str) -> Any:
    if field.message_type is not None:
        return _parse_message(field, text)
    if field.enum_type is not None:
        named = field.enum_type.values_by_name.get(text)
        if named is None and _WHOLE.fullmatch(text):
            named = field.enum_type.values_by_number.get(int(text))
        if named is None:
            raise _refusal(field, text, "is not a valid value")
        return named.number
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return _boolean(field, text)
        case FieldDescriptor.CPPTYPE_STRING:
            return _bytes(field, text) if field.type == FieldDescriptor.TYPE_BYTES else text
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return _number(field, text)
        case _:
            return _whole(field, text)


def _parse_message(field: Field, text: str) -> Message:
    name = field.message_type.full_name
    match name:
        case "google.protobuf.Timestamp":
            stamp = Timestamp()
            try:
                datetime.fromisoformat(text[:19])  # json_format's own reading lets odd forms through
                stamp.FromJsonString(text)
            except ValueError as error:
                raise _refusal(field, text, "is no time such as 2026-01-02T03:04:05Z") from error
            return stamp
        case "google.protobuf.Duration":
            return _duration(field, text)
        case "google.protobuf.FieldMask":
            return FieldMask(paths=text.split(",") if text else [])
    wrapper = getattr(wrappers_pb2, name.removeprefix("google.protobuf."), None)
    if name.startswith("google.protobuf.") and wrapper is not None:
        wrapped: Message = wrapper()
        _set(wrapped, wrapped.DESCRIPTOR.fields_by_name["value"], text)
        return wrapped
    raise InvalidArgument(f'parsing field "{field.name}": unsupported message type: "{name}"')


def _duration(field: Field, text: str) -> Duration:
    """As Go writes durations: 90s, 1h30m, 1.5s."""
    match = _DURATION.fullmatch(text)
    if match is None and text not in ("0", "+0", "-0"):
        raise _refusal(field, text, "is no duration such as 90s or 1h30m")
    seconds = Decimal(0)
    if match is not None:
        for number, unit in _DURATION_PART.findall(match[2]):
            seconds += Decimal(number) * _UNIT_S[unit]
        if match[1] == "-":
            seconds = -seconds
    if abs(seconds) > _DURATION_S_MAX:
        raise _refusal(field, text, "is out of range")
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1_000_000_000))
    return duration


def _boolean(field: Field, text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise _refusal(field, text, "is neither true nor false")


def _whole(field: Field, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise _refusal(field, text, "is no whole number")
    return int(text)


def _number(field: Field, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise _refusal(field, text, "is no number") from error


def _bytes(field: Field, text: str) -> bytes:
    padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
    try:
        return base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refusal(field, text, "is no base64") from error


def _refusal(field: Field, text: str, why: str) -> InvalidArgument:
    return InvalidArgument(f'parsing field "{field.name}": "{text[:_VALUE_SHOWN_MAX]}" {why}')
