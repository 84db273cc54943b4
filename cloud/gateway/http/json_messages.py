"""Messages as JSON, with Temporal's two liberties: payloads in shorthand, and enums by their short names.

In shorthand a payload of JSON stands as that JSON: `"input": ["a", 1]` for two payloads of `json/plain`, an
object with `_protoMessageType` for one of `json/protobuf`. It is written where the encoding allows (all
payloads of a list, or none of them), and read wherever a payload may stand. The rest is protobuf's own JSON.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from google.protobuf import descriptor_pool, json_format
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, Payloads

MessageT = TypeVar("MessageT", bound=Message)
Descriptor: TypeAlias = Any
FieldDescriptor: TypeAlias = Any
"""The stubs have two classes for each, which don't know each other."""

_PAYLOAD = Payload.DESCRIPTOR.full_name
_PAYLOADS = Payloads.DESCRIPTOR.full_name
_ANY = "google.protobuf.Any"
_KIND = "_protoMessageType"
_JSON_PLAIN = base64.b64encode(b"json/plain").decode()
_JSON_PROTOBUF = base64.b64encode(b"json/protobuf").decode()
_BINARY_NULL = base64.b64encode(b"binary/null").decode()
_WORD_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SENTENCE_CHARS_MAX = 300
_VALUE_CHARS_MAX = 50
_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError, OverflowError)
"""What protobuf's JSON reader raises, beside its own errors, for values of a wrong kind."""


class NotThisMessage(Exception):
    """A JSON text is not of the message's form. The sentence is fit for the caller."""


def parse(text: bytes, kind: type[MessageT], *, shorthand: bool) -> MessageT:
    """Read a message; nothing at all is an empty one.

    Raises:
        NotThisMessage: the text is no JSON, or JSON of another form.
    """
    if not text.strip():
        return kind()
    try:
        value = _object(text, kind)
        return json_format.ParseDict(_expanded(value, kind.DESCRIPTOR, shorthand), kind())
    except NotThisMessage:
        raise
    except RecursionError as error:
        raise NotThisMessage("the request's JSON is nested too deeply") from error
    except json_format.ParseError as error:
        raise NotThisMessage(_first_line(error)) from error
    except _UNREADABLE as error:
        raise NotThisMessage(f"the request can't be read: {_first_line(error)}") from error


def render(message: Message, *, shorthand: bool, pretty: bool) -> bytes:
    """Write a message.

    Raises:
        json_format.Error, TypeError: it holds an Any of an unknown type.
    """
    try:
        value = json_format.MessageToDict(message)
        return _text(_shortened(value, message.DESCRIPTOR) if shorthand else value, pretty)
    except RecursionError:
        # A payload's own JSON is nested too deeply to be written as part of another.
        return _text(json_format.MessageToDict(message), pretty)


def _text(value: Any, pretty: bool) -> bytes:
    layout: dict[str, Any] = {"indent": 2} if pretty else {"separators": (",", ":")}
    try:
        return json.dumps(value, ensure_ascii=False, **layout).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, in a payload's own JSON
        return json.dumps(value, **layout).encode()


# Reading


def _expanded(value: Any, kind: Descriptor, shorthand: bool) -> Any:
    """JSON as protobuf reads it, from JSON as callers may write it."""
    if shorthand and kind.full_name == _PAYLOAD:
        return _long(value)
    if shorthand and kind.full_name == _PAYLOADS and isinstance(value, list):
        return {"payloads": [_long(item) for item in value]}
    if not isinstance(value, dict):
        if not kind.full_name.startswith("google.protobuf."):
            raise NotThisMessage(
                f"a {kind.name} is a JSON object, not {json.dumps(value)[:_VALUE_CHARS_MAX]}"
            )
        return value
    if kind.full_name == _ANY:
        inner = _any_type(value.get("@type"))
        return value if inner is None else {**value, **_expanded(value, inner, shorthand)}
    if kind.full_name.startswith("google.protobuf."):
        return value
    return {name: _expanded_field(item, _field(kind, name), shorthand) for name, item in value.items()}


def _expanded_field(value: Any, field: FieldDescriptor | None, shorthand: bool) -> Any:
    if field is None or value is None:
        return value  # protobuf's reader names unknown fields
    entry = _map_value(field)
    if entry is not None and isinstance(value, dict):
        return {key: _expanded_item(item, entry, shorthand) for key, item in value.items()}
    if entry is None and field.is_repeated and isinstance(value, list):
        return [_expanded_item(item, field, shorthand) for item in value]
    return _expanded_item(value, field, shorthand)


def _expanded_item(value: Any, field: FieldDescriptor, shorthand: bool) -> Any:
    if field.message_type is not None:
        return _expanded(value, field.message_type, shorthand)
    if field.enum_type is not None and isinstance(value, str):
        return _enum_name(field.enum_type, value)
    return value


def _enum_name(kind: Any, name: str) -> str:
    """`Running` is short for `WORKFLOW_EXECUTION_STATUS_RUNNING`."""
    if name in kind.values_by_name:
        return name
    whole = _WORD_BORDER.sub("_", f"{kind.name}_{name}").upper()
    return whole if whole in kind.values_by_name else name


def _long(value: Any) -> Any:
    """A payload's own JSON form, from that or from shorthand."""
    if value is None:
        return {"metadata": {"encoding": _BINARY_NULL}}
    if isinstance(value, dict):
        if _is_long(value):
            return value
        kind = value.get(_KIND)
        if isinstance(kind, str):
            rest = {key: item for key, item in value.items() if key != _KIND}
            metadata = {"encoding": _JSON_PROTOBUF, "messageType": _base64(kind.encode())}
            return {"metadata": metadata, "data": _json_base64(rest)}
        if kind is not None:
            raise NotThisMessage(
                f"{_KIND} of a payload is the name of a message type, not a {type(kind).__name__}"
            )
    return {"metadata": {"encoding": _JSON_PLAIN}, "data": _json_base64(value)}


def _is_long(value: dict[str, Any]) -> bool:
    metadata, data = value.get("metadata"), value.get("data")
    if not isinstance(metadata, dict) or "encoding" not in metadata:
        return False
    if set(value) == {"metadata"}:
        return bool(metadata["encoding"] == _BINARY_NULL)
    return set(value) == {"metadata", "data"} and all(map(_is_base64, (data, *metadata.values())))


def _is_base64(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        padded = value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4)
        base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise NotThisMessage(f'duplicate field "{twice[:_SENTENCE_CHARS_MAX]}"')
    return made


def _object(text: bytes, kind: type[Message]) -> dict[str, Any]:
    value = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    if isinstance(value, dict):
        return value
    raise NotThisMessage(f"the request is a JSON object, with the fields of {kind.DESCRIPTOR.name}")


def _no_constant(name: str) -> Any:
    raise NotThisMessage(f"{name} is no JSON")


# Writing


def _shortened(value: Any, kind: Descriptor) -> Any:
    if kind.full_name == _PAYLOAD:
        return _short(value)[1]
    if kind.full_name == _PAYLOADS:
        short = [_short(item) for item in value.get("payloads", ())]
        items = [item for _, item in short]
        return items if all(done for done, _ in short) else {"payloads": items}
    if not isinstance(value, dict):
        return value
    if kind.full_name == _ANY:
        inner = _any_type(value.get("@type"))
        return value if inner is None else _shortened(value, inner)
    if kind.full_name.startswith("google.protobuf."):
        return value
    return {name: _shortened_field(item, _field(kind, name)) for name, item in value.items()}


def _shortened_field(value: Any, field: FieldDescriptor | None) -> Any:
    if field is None:  # the type of an Any
        return value
    entry = _map_value(field)
    if entry is not None:
        kind = entry.message_type
        return value if kind is None else {key: _shortened(item, kind) for key, item in value.items()}
    if field.message_type is None:
        return value
    if field.is_repeated:
        return [_shortened(item, field.message_type) for item in value]
    return _shortened(value, field.message_type)


def _short(value: dict[str, Any]) -> tuple[bool, Any]:
    """A payload in shorthand, and whether it has one: null has, and keeps its long form all the same."""
    metadata = value.get("metadata", {})
    encoding = metadata.get("encoding")
    if encoding == _BINARY_NULL:
        return True, value
    plain = encoding == _JSON_PLAIN and len(metadata) == 1
    kind = metadata.get("messageType") if encoding == _JSON_PROTOBUF and len(metadata) == 2 else None
    if not plain and kind is None:
        return False, value
    try:
        data = base64.b64decode(value.get("data", ""))
        held = json.loads(data, parse_constant=_no_constant, parse_float=_finite)
        if plain:
            return True, held
        if isinstance(held, dict):
            return True, {**held, _KIND: base64.b64decode(str(kind)).decode()}
    except (ValueError, RecursionError, NotThisMessage):
        pass  # not the JSON that it says it is: shown as it is
    return False, value


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} has no JSON form")
    return number


# Both


def _field(kind: Descriptor, name: str) -> FieldDescriptor | None:
    fields: Mapping[str, FieldDescriptor] = kind.fields_by_camelcase_name
    return fields.get(name) or kind.fields_by_name.get(name)


def _map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """The value's field of a map, None for what is no map."""
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return None
    return entry.fields_by_name["value"]


def _any_type(url: Any) -> Descriptor | None:
    """The type of a packed message; None for those that have a JSON form of their own, and unknown ones."""
    name = url.rpartition("/")[2] if isinstance(url, str) else ""
    if name.startswith("google.protobuf."):
        return None
    try:
        return descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        return None


def _json_base64(value: Any) -> str:
    return _base64(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _first_line(error: Exception) -> str:
    lines: Iterable[str] = str(error).splitlines()
    return next(iter(lines), type(error).__name__)[:_SENTENCE_CHARS_MAX]
