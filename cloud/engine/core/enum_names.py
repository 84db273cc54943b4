"""Names of enum values in the form that sentences and links have them in. Values come from clients: any number may be one."""

from __future__ import annotations

from typing import Any


def camel(enum: Any, number: int, prefix: str) -> str:
    """`StartTimer` for COMMAND_TYPE_START_TIMER of the protobuf `enum`, without its `prefix`; the number, if it is no value."""
    try:
        name: str = enum.Name(number)
    except ValueError:
        return str(int(number))
    return "".join(word.capitalize() for word in name.removeprefix(prefix).split("_"))
