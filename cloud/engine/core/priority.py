"""Priority and fairness of tasks: which of those that wait a worker gets next.

A task's priority is its own (of the activity, the child), field by field, and where that says nothing its workflow's.
"""

from __future__ import annotations

from typing import NamedTuple

from temporalio.api.common.v1 import Priority

from cloud.engine.core.errors import Invalid

LEVELS = 5
"""Priorities are 1 to 5, 1 comes first."""

DEFAULT_LEVEL = 3

FAIRNESS_KEY_BYTES_MAX = 64

WEIGHT_MIN = 0.001


class Rank(NamedTuple):
    """What of a priority decides the order: its level, whose turn it counts for, and how many turns that one has."""

    level: int = DEFAULT_LEVEL
    fairness_key: str = ""
    weight: float = 1.0


USUAL = Rank()
"""Of tasks that say nothing."""


def merged(base: Priority, own: Priority) -> Priority:
    """`own`, with what it leaves out from `base`."""
    return Priority(
        priority_key=own.priority_key or base.priority_key,
        fairness_key=own.fairness_key or base.fairness_key,
        fairness_weight=own.fairness_weight or base.fairness_weight,
    )


def check(priority: Priority) -> None:
    """Refuse a priority that no task can have.

    Raises:
        Invalid: it is one.
    """
    if priority.priority_key < 0:
        raise Invalid("priority key can't be negative")
    if len(priority.fairness_key.encode()) > FAIRNESS_KEY_BYTES_MAX:
        raise Invalid("fairness key length exceeds limit")
    if "\x00" in priority.fairness_key:
        raise Invalid("fairness key contains a NUL character, which can't be stored.")
    if not priority.fairness_weight >= 0:  # NaN is no weight either
        raise Invalid("must be greater than zero")


def rank(priority: Priority) -> Rank:
    """What a priority means, whatever a worker put into it: nothing that can't be kept gets past here."""
    if not priority.ByteSize():
        return USUAL
    key = priority.fairness_key.replace("\x00", "")
    if len(key.encode()) > FAIRNESS_KEY_BYTES_MAX:
        key = key.encode()[:FAIRNESS_KEY_BYTES_MAX].decode(errors="ignore")
    level = priority.priority_key if priority.priority_key > 0 else DEFAULT_LEVEL
    return Rank(min(level, LEVELS), key, usable_weight(priority.fairness_weight))


def usable_weight(weight: float) -> float:
    """A weight as it counts: 1 where there is none, never next to nothing or endless (NaN is none)."""
    if not weight > 0:
        return 1.0
    return min(max(weight, WEIGHT_MIN), 1_000.0)
