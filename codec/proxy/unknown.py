"""Fields of a message that this Tacit's protocol does not know: they may hold anything, so nothing can be encrypted in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from codec.descriptors import held_type, is_map

_LENGTH_DELIMITED = 2
_GROUP = 3


def without_unknown(message_type: type[Message], data: bytes) -> tuple[Any, str | None]:
    """The message in `data`, and the first field there that is not known here and may hold a text; None without any.

    Numbers are let through, and stay in the message: no payload fits in one.

    Raises:
        DecodeError: it is no such message.
    """
    message: Any = message_type.FromString(data)
    size_bytes = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() == size_bytes:
        return message, None
    message = message_type.FromString(data)
    return message, first_unknown(message)


def first_unknown(message: Any) -> str | None:
    """The first field of a message, or of a message in it, that is not known here and may hold a text; None without any."""
    return next(_unknown(message, ()), None)


def _unknown(message: Any, above: tuple[str, ...]) -> Iterator[str]:
    fields: Any = UnknownFieldSet(message)
    for field in fields:
        if field.wire_type in (_LENGTH_DELIMITED, _GROUP):
            yield ".".join((*above, f"field {field.field_number} of {message.DESCRIPTOR.full_name}"))
    for known, value in message.ListFields():
        if held_type(known) is None:
            continue
        if is_map(known):
            for one in value.values():
                yield from _unknown(one, (*above, known.name))
        elif known.is_repeated:
            for one in value:
                yield from _unknown(one, (*above, known.name))
        else:
            yield from _unknown(value, (*above, known.name))
