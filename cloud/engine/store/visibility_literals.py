"""The values that a filter writes down, checked against the attributes that they are compared with."""

from __future__ import annotations

import json
from typing import Final

from sqlglot import exp
from temporalio.api.enums.v1 import IndexedValueType

from cloud.engine.store.visibility_attributes import (
    ACTIVITY_STATUS,
    BOOL,
    DATETIME,
    DOUBLE,
    INT,
    KEYWORD,
    KEYWORD_LIST,
    OPERATION_STATUS,
    TEXT,
    Attribute,
)
from cloud.engine.store.visibility_conditions import FilterError, Value
from cloud.engine.store.visibility_values import (
    ACTIVITY_STATUS_NUMBERS,
    INT64_MAX,
    INT64_MIN,
    OPERATION_STATUS_NUMBERS,
    STATUS_NAMES,
    duration_ns,
    status_number,
    time_ns,
)

_NO_STATUS: Final = -1
_SHOWN_MAX: Final = 100
"""Characters of a value that an error repeats."""


def literal(node: exp.Expr) -> Value:
    """The value that `node` writes down."""
    sign = 1
    if isinstance(node, exp.Neg):
        node, sign = node.this, -1
    if isinstance(node, exp.Literal):
        if not node.is_string:
            return _number(node.name, sign)
        if sign == 1:
            return node.name
    if isinstance(node, exp.Boolean) and sign == 1:
        return bool(node.this)
    if isinstance(node, exp.Column):
        raise FilterError(
            "operation is not supported: column name on the right side of comparison expression "
            f"(did you forget to quote {shown(node.name)}?)"
        )
    if isinstance(node, exp.Func):
        raise FilterError("operation is not supported: nested func")
    raise FilterError(f"invalid expression: unexpected value type {kind(node)}")


def _number(text: str, sign: int) -> int | float:
    """A number as the server reads it: an int if it fits 64 bits, else a float."""
    if text.isdecimal() and len(text) <= 20:
        whole = sign * int(text)
        if INT64_MIN <= whole <= INT64_MAX:
            return whole
    try:
        number = sign * float(text)
    except ValueError:
        number = float("inf")
    if number in {float("inf"), float("-inf")}:
        raise FilterError(f"invalid expression: unable to parse value {shown(text)}")
    return number


def typed(attribute: Attribute, value: Value) -> Value:
    """`value` as the attribute stores it: statuses as numbers, times and durations in ns."""
    if attribute.field == "ExecutionStatus" and not isinstance(value, bool):
        return _status(value)
    if attribute.field == "ExecutionDuration" and not isinstance(value, bool):
        return _duration(value)
    if attribute.type == DATETIME and not isinstance(value, float | bool):
        return _time(value)
    expected: tuple[type, ...] = _EXPECTED[attribute.type]
    if isinstance(value, bool) != (expected == (bool,)) or not isinstance(value, expected):
        raise FilterError(
            f"invalid expression: invalid value type for search attribute {attribute.alias} of type "
            f"{attribute.type_name}: {shown(value)} (type: {_TYPES_SHOWN[type(value)]})"
        )
    if attribute.field == ACTIVITY_STATUS:  # a text like any other: one that names no status is nobody's
        return ACTIVITY_STATUS_NUMBERS.get(str(value), _NO_STATUS)
    if attribute.field == OPERATION_STATUS:
        return OPERATION_STATUS_NUMBERS.get(str(value), _NO_STATUS)
    return value


_EXPECTED: Final[dict[IndexedValueType.ValueType, tuple[type, ...]]] = {
    KEYWORD: (str,),
    KEYWORD_LIST: (str,),
    TEXT: (str,),
    INT: (int, float),
    DOUBLE: (int, float),
    BOOL: (bool,),
    DATETIME: (),
}
_TYPES_SHOWN: Final[dict[type, str]] = {str: "string", int: "int64", float: "float64", bool: "bool"}


def _status(value: Value) -> int:
    if isinstance(value, float):
        raise FilterError(
            "invalid expression: unexpected value type float64 for search attribute ExecutionStatus"
        )
    number = status_number(value) if isinstance(value, str) else int(value)
    if number not in STATUS_NAMES:
        given = f"'{cut(value)}'" if isinstance(value, str) else value
        names = ", ".join(STATUS_NAMES.values())
        raise FilterError(f"invalid expression: invalid ExecutionStatus value {given} (one of {names})")
    return number


def _duration(value: Value) -> int:
    if isinstance(value, float):
        raise FilterError(
            "invalid expression: unexpected value type float64 for search attribute ExecutionDuration"
        )
    number = duration_ns(value) if isinstance(value, str) else int(value)
    if number is None:
        raise FilterError(
            "invalid expression: invalid duration value for search attribute ExecutionDuration: "
            f"{cut(str(value))} (write '1h30m', 'HH:MM:SS' or nanoseconds)"
        )
    return number


def _time(value: Value) -> int:
    if not isinstance(value, str):
        return int(value)
    number = time_ns(value)
    if number is None:
        raise FilterError(
            f"invalid expression: unable to parse datetime '{cut(value)}' (write '2006-01-02T15:04:05Z' or "
            "nanoseconds since 1970)"
        )
    return number


def kind(node: exp.Expr) -> str:
    """What a caller would call `node`."""
    if isinstance(node, exp.Literal):
        return "a string" if node.is_string else "a number"
    for type_, name in ((exp.Null, "NULL"), (exp.Boolean, "a boolean"), (exp.Tuple, "a list")):
        if isinstance(node, type_):
            return name
    return node.key


def cut(text: str) -> str:
    """`text`, or as much of it as an error repeats."""
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


def shown(value: Value) -> str:
    """`value` as an error repeats it, in double quotes if it is a text."""
    return json.dumps(cut(value) if isinstance(value, str) else value, ensure_ascii=False)
