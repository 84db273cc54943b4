"""What a list filter says, once it is checked: a tree of conditions, free of any database's dialect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from cloud.engine.store.visibility_attributes import Attribute

Value: TypeAlias = str | int | float | bool


class FilterError(ValueError):
    """A filter that can't be answered; the message says why, in words for the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(f"invalid query: {message}")


@dataclass(frozen=True, slots=True)
class Compare:
    """`attribute` `operator` `value`; the operator is one of = != < <= > >=."""

    attribute: Attribute
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class Within:
    """`attribute` is (or, a list, has) one of `values`."""

    attribute: Attribute
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """`attribute` is from `low` to `high`, both included."""

    attribute: Attribute
    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class StartsWith:
    """`attribute` begins with `prefix`."""

    attribute: Attribute
    prefix: str


@dataclass(frozen=True, slots=True)
class HasPhrase:
    """The text `attribute` has one of `phrases`, each as :func:`words` folds it."""

    attribute: Attribute
    phrases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    """`attribute` has no value."""

    attribute: Attribute


@dataclass(frozen=True, slots=True)
class Not:
    """`condition` is false."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class All:
    """Each of `conditions` is true."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of `conditions` is true."""

    conditions: tuple[Condition, ...]


Condition: TypeAlias = Compare | Within | Between | StartsWith | HasPhrase | IsNull | Not | All | Either


def attributes_of(condition: Condition) -> Iterator[Attribute]:
    """The attributes that a condition names."""
    match condition:
        case Not():
            yield from attributes_of(condition.condition)
        case All() | Either():
            for each in condition.conditions:
                yield from attributes_of(each)
        case _:
            yield condition.attribute


@dataclass(frozen=True, slots=True)
class Order:
    """By what a list is sorted; what has no value of it comes last, either way."""

    attribute: Attribute
    descending: bool


@dataclass(frozen=True, slots=True)
class ListFilter:
    """What a list or a count is asked for."""

    condition: Condition | None
    """None: every run."""
    group_by: Attribute | None
    """Counts only."""
    size: int
    """Number of conditions."""
    order_by: Order | None = None
    """Lists only; None for the order of all lists."""
