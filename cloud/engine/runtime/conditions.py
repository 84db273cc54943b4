"""Checked conditions of the filter language as functions, for things that no database holds."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from cloud.engine.store.visibility_conditions import (
    All,
    Between,
    Compare,
    Condition,
    Either,
    IsNull,
    Not,
    StartsWith,
    Within,
)

T = TypeVar("T")

_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compiled(condition: Condition, values: Mapping[str, Callable[[T], Any]]) -> Callable[[T], bool]:
    """Whether something meets `condition`; `values` reads its attributes by their names. Empty texts, and times that are 0, are null."""
    match condition:
        case All():
            every = [compiled(each, values) for each in condition.conditions]
            return lambda thing: all(matches(thing) for matches in every)
        case Either():
            some = [compiled(each, values) for each in condition.conditions]
            return lambda thing: any(matches(thing) for matches in some)
        case Not():
            matches = compiled(condition.condition, values)
            return lambda thing: not matches(thing)
    # Empty texts are left to `=` and `!=`; a time that is not set is neither before nor after any other.
    value_of = values[condition.attribute.field]
    match condition:
        case IsNull():
            return lambda thing: not value_of(thing)
        case StartsWith(prefix=prefix):
            return lambda thing: value_of(thing).startswith(prefix)
        case Within(values=wanted_ones):
            return lambda thing: value_of(thing) in wanted_ones
        case Between(low=low, high=high):
            return lambda thing: bool(value_of(thing)) and low <= value_of(thing) <= high
        case Compare():
            compare, wanted = _OPERATORS[condition.operator], condition.value
            return lambda thing: compare(value_of(thing), wanted)
    raise AssertionError(f"a condition that nothing here can have: {condition}")
