"""What schedules hold that no history may show any more.

A schedule hands the result of its last run to the next one, and keeps it for that after the run's history is gone; the API
does not show it. So for each schedule the outcome of its latest action is asked for:

- The latest run is there and has completed: its result is in its history, and is what the schedule holds (another run that
  completed later would be there too).
- An earlier collection has seen it so, and it is gone since: what its history pointed to then was remembered.
- Else a run whose history is gone may have left its result: everything that may have been written since the first of
  those started is kept. The report names the schedule.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime


@dataclasses.dataclass(frozen=True, kw_only=True)
class Action:
    """A run that a schedule started: the first of its chain of runs."""

    run_id: str
    started: datetime


@dataclasses.dataclass(kw_only=True)
class Chain:
    """What a walk saw of a run and of those that continued it."""

    seen: bool = False
    completed: bool = False
    hashes: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """What one schedule holds: the hashes that its last result may point to, or from when on all must be kept."""

    hashes: frozenset[str] = frozenset()
    since: datetime | None = None
    remember: tuple[str, tuple[str, ...]] | None = None


def held_by(
    actions: Iterable[Action],
    chains: dict[str, Chain],
    remembered: tuple[str, tuple[str, ...]] | None,
) -> Held:
    """What a schedule with these recent `actions` holds, given what the walk saw and an earlier one has `remembered`."""
    ordered = sorted(actions, key=lambda action: action.started)
    if not ordered:
        return Held()
    latest = ordered[-1]
    chain = chains.get(latest.run_id, Chain())
    if chain.completed:
        return Held(remember=(latest.run_id, tuple(sorted(chain.hashes))))
    if remembered is not None and remembered[0] == latest.run_id and not chain.seen:
        return Held(hashes=frozenset(remembered[1]), remember=remembered)
    gone = [action.started for action in ordered if not chains.get(action.run_id, Chain()).seen]
    return Held(since=min(gone, default=None))
