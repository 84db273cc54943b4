"""Usage as billing sees it: counts by hour, namespace, kind and workflow type, read through a port.

Whoever has a ledger implements :class:`UsageSource`; nothing here knows its tables.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol, TypeVar

from billing.actions import actions_of

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageCount:
    """`count` units of `kind` within the hour that begins at `hour` (UTC), by workflows of `workflow_type`.

    `workflow_type` is empty where usage belongs to no workflow. Raises ValueError, with all faults, when
    built wrong.
    """

    namespace: str
    hour: datetime
    kind: str
    workflow_type: str
    count: int

    def __post_init__(self) -> None:
        faults = []
        if not self.namespace:
            faults.append("namespace is empty")
        if not self.kind:
            faults.append("kind is empty")
        if not is_whole_hour(self.hour):
            faults.append(f"hour {self.hour.isoformat()} is not the beginning of an hour in UTC")
        if self.count < 0:
            faults.append(f"count {self.count} is negative")
        if faults:
            raise ValueError(f"usage count: {'; '.join(faults)}")


class UsageSource(Protocol):
    """Where usage is read from."""

    async def read(
        self, *, namespaces: Sequence[str] | None, start: datetime, end: datetime
    ) -> Sequence[UsageCount]:
        """All usage of whole hours in [`start`, `end`), in any order, a key at most once; None: of all
        namespaces.

        An empty `namespaces` reads nothing.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Units of usage and the actions that they are."""

    count: int
    actions: int


def is_whole_hour(moment: datetime) -> bool:
    """Whether `moment` carries UTC and is the beginning of an hour."""
    offset = moment.utcoffset()
    return offset is not None and not offset and not (moment.minute or moment.second or moment.microsecond)


def by_kind(usage: Iterable[UsageCount]) -> dict[str, Tally]:
    """Usage by kind of action, sorted by name."""
    return _tally(usage, lambda row: row.kind)


def by_namespace(usage: Iterable[UsageCount]) -> dict[str, Tally]:
    """Usage by namespace, sorted by name."""
    return _tally(usage, lambda row: row.namespace)


def by_workflow_type(usage: Iterable[UsageCount]) -> dict[str, Tally]:
    """Usage by workflow type, sorted by name; the empty name stands for usage outside of workflows."""
    return _tally(usage, lambda row: row.workflow_type)


def by_day(usage: Iterable[UsageCount]) -> dict[date, Tally]:
    """Usage by day in UTC, sorted; days without usage are left out."""
    return _tally(usage, lambda row: row.hour.astimezone(UTC).date())


def counts_by_kind(usage: Iterable[UsageCount]) -> dict[str, int]:
    """Units by kind, sorted by name; kinds need not be known to the action table."""
    counts: dict[str, int] = {}
    for row in usage:
        counts[row.kind] = counts.get(row.kind, 0) + row.count
    return dict(sorted(counts.items()))


def _tally(usage: Iterable[UsageCount], key: Callable[[UsageCount], _Key]) -> dict[_Key, Tally]:
    """Sum up by `key`. Raises UnknownKind where a kind has no action rule."""
    sums: dict[_Key, tuple[int, int]] = {}
    for row in usage:
        count, actions = sums.get(key(row), (0, 0))
        sums[key(row)] = (count + row.count, actions + actions_of(row.kind, row.count))
    ordered = sorted(sums.items(), key=lambda item: item[0])  # type: ignore[arg-type,return-value]
    return {name: Tally(count=count, actions=actions) for name, (count, actions) in ordered}
