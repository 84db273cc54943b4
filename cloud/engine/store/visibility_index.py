"""The index of search attributes: which of a filter's conditions it serves, and how.

It narrows, it does not decide: each row that it finds is held against the whole filter again. So a key may stand for more values
than one (long texts are cut, numbers are rounded to doubles, what a run has lost may still be there), as long as the order of keys
is that of the values.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from cloud.engine.store.search_attribute_values import IndexedValue, Words
from cloud.engine.store.visibility_attributes import COLUMNS, TEXT, Attribute
from cloud.engine.store.visibility_conditions import (
    All,
    Between,
    Compare,
    Condition,
    StartsWith,
    Value,
    Within,
)
from cloud.engine.store.visibility_values import INT64_MAX

NOT_INDEXED: Final = frozenset(
    {
        "BuildIds",
        "BinaryChecksums",
        "TemporalNamespaceDivision",
        "TemporalSchedulePaused",
        "TemporalUsedWorkerDeploymentVersions",
        "TemporalWorkerDeployment",
        "TemporalWorkerDeploymentVersion",
        "TemporalWorkflowVersioningBehavior",
    }
)
"""What the service itself sets on nearly every run of a kind: an index of it would cost each of them, and find nothing quickly."""

KEY_CHARACTERS_MAX: Final = 200
"""Of a text in a key: Postgres takes some 2,700 bytes in an entry of an index."""

RANGE_RUNS_MAX: Final = 5_000
"""A range that finds more runs is walked in the list's order instead: a page is full soon, and so many are not sorted."""

_TEXT: Final = "t"
_NUMBER: Final = "n"
_AFTER_ALL: Final = chr(0x10FFFF)

ValueRow: TypeAlias = tuple[str, str, str, int, int, str]
"""A row of ``visibility_values``."""


def key_of(value: Value) -> str:
    """The key of one value. Of two values of a kind the lesser has the lesser key, or the same."""
    if isinstance(value, str):
        return _TEXT + value[:KEY_CHARACTERS_MAX]
    (bits,) = struct.unpack(">Q", struct.pack(">d", float(value) or 0.0))  # minus zero is zero
    ordered = bits ^ (0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else 1 << 63)
    return f"{_NUMBER}{ordered:016x}"


def value_rows(
    namespace_id: str,
    run_id: str,
    start_time: int,
    close_time: int | None,
    attributes: Mapping[str, IndexedValue],
) -> Iterator[ValueRow]:
    """The rows of a run."""
    closed = INT64_MAX if close_time is None else close_time
    for name, value in attributes.items():
        if name in NOT_INDEXED or isinstance(value, Words):
            continue
        for key in {key_of(each) for each in value} if isinstance(value, list) else (key_of(value),):
            yield namespace_id, name, key, closed, start_time, run_id


@dataclass(frozen=True, slots=True)
class Keys:
    """Runs that may fulfil a filter have one of these keys of `attribute`: one of `equal`, or from `low` to `high`."""

    attribute: str
    equal: tuple[str, ...] = ()
    low: str = ""
    high: str = ""

    @property
    def single(self) -> bool:
        """Whether it is one key: then they are read in the list's order."""
        return len(self.equal) == 1


def keys_for(condition: Condition | None) -> Keys | None:
    """The keys that narrow a filter most, None if no condition that each run must fulfil is served."""
    found = [keys for each in _conjuncts(condition) if (keys := _keys(each)) is not None]
    return min(found, key=lambda keys: (not keys.single, not keys.equal), default=None)


def _conjuncts(condition: Condition | None) -> Iterator[Condition]:
    """What each run must fulfil."""
    if isinstance(condition, All):
        for each in condition.conditions:
            yield from _conjuncts(each)
    elif condition is not None:
        yield condition


def _keys(condition: Condition) -> Keys | None:
    if not isinstance(condition, Compare | Within | Between | StartsWith) or not _serves(condition.attribute):
        return None
    name = condition.attribute.field
    match condition:
        case Compare(_, "=", value):
            return Keys(name, (key_of(value),))
        case Within(_, values):
            return Keys(name, tuple(dict.fromkeys(key_of(value) for value in values)))
        case Between(_, low, high):
            return Keys(name, low=key_of(low), high=_upto(high))
        case StartsWith(_, prefix):
            return Keys(name, low=key_of(prefix), high=key_of(prefix) + _AFTER_ALL)
        case Compare(_, ">" | ">=", value):
            return Keys(name, low=key_of(value), high=key_of(value)[0] + _AFTER_ALL)
        case Compare(_, "<" | "<=", value):
            return Keys(name, low=key_of(value)[0], high=_upto(value))
    return None


def _upto(value: Value) -> str:
    """The greatest key of what is not greater than `value`: of a text that was cut, also those that go on otherwise."""
    key = key_of(value)
    return key + _AFTER_ALL if len(key) > KEY_CHARACTERS_MAX else key


def _serves(attribute: Attribute) -> bool:
    return attribute.field not in COLUMNS and attribute.field not in NOT_INDEXED and attribute.type != TEXT
