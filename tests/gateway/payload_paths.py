"""Every place of a request type where a payload or a failure can stand, with a message that has only it.

This walk is not the guard's: it goes over descriptors in its own plain way, so that both can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import Message

DEPTH_MAX = 12

Fill = Callable[[Any], None]
"""Puts something into the leaf message."""


def places(request_type: type[Message], leaf: str) -> Iterator[tuple[str, Callable[[Fill], Message]]]:
    """(path, maker) for each way from `request_type` to a message of type `leaf`."""
    for steps in _ways(request_type.DESCRIPTOR, leaf, ()):
        path = ".".join(field.name for field in steps)

        def make(fill: Fill, steps: Any = steps) -> Message:
            message = request_type()
            inner: Any = message
            for field in steps:
                inner = _enter(inner, field)
            fill(inner)
            return message

        yield path, make


def _ways(descriptor: Any, leaf: str, above: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if descriptor.full_name == leaf and above:
        yield above
        return
    if len(above) >= DEPTH_MAX:
        return
    for field in descriptor.fields:
        held = _held(field)
        if held is None:
            continue
        # A type within itself (a failure's cause) is entered once more, then left.
        if sum(_held(step).full_name == held.full_name for step in above) >= 2:
            continue
        yield from _ways(held, leaf, (*above, field))


def _held(field: Any) -> Any:
    held = field.message_type
    if held is not None and held.GetOptions().map_entry:
        return held.fields_by_name["value"].message_type
    return held


def _enter(message: Any, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type.GetOptions().map_entry:
        return value["key"]
    if field.is_repeated:
        return value.add()
    value.SetInParent()
    return value
