"""What a message's fields lead to, told by its descriptor: for all that walk over messages without a list of fields."""

from __future__ import annotations

from typing import Any

Descriptor = Any
"""A message's descriptor, of whichever of protobuf's implementations is loaded."""

Field = Any
"""A field's descriptor, likewise."""


def is_map(field: Field) -> bool:
    """Whether a field is a map: a list of entries, by its descriptor."""
    entry = field.message_type
    return entry is not None and bool(entry.GetOptions().map_entry)


def held_type(field: Field) -> Descriptor | None:
    """The type of messages that a field leads to: its own, its items' or its map's values'; None for plain values."""
    held = field.message_type
    return held.fields_by_name["value"].message_type if is_map(field) else held
