"""What was seen of one chaos run, as plain values: the driver's side of it and the server's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from billing import Recount
from tests.chaos.workflows import Order


@dataclass(frozen=True, kw_only=True)
class AcknowledgedStart:
    """A start that the server acknowledged, and the signals it acknowledged after it, in the driver's order."""

    workflow_id: str
    run_id: str
    order: Order
    signals: Sequence[str] = ()
    result: object = None
    """What a client that waited for the result was told; None: not told."""


@dataclass(frozen=True, kw_only=True)
class SeenSignal:
    """A signal event of a history."""

    request_id: str
    word: str


@dataclass(frozen=True, kw_only=True)
class SeenRun:
    """One run as its history tells it. Times are nanoseconds since the epoch; `ended_at` 0: still open."""

    workflow_id: str
    run_id: str
    started_at: int
    ended_at: int
    closing_event: str
    result: object
    event_ids: Sequence[int]
    closing_events: int
    signals: Sequence[SeenSignal] = ()
    is_child: bool = False


@dataclass(frozen=True, kw_only=True)
class Observations:
    """All of one run. `ledger` and `recounts` are by run id; a server without a ledger has None."""

    starts: Sequence[AcknowledgedStart]
    runs: Sequence[SeenRun]
    admitted_twice: Sequence[str] = field(default_factory=list)
    """Workflow ids of which a second start was acknowledged while the first run was surely open."""
    errors: Sequence[str] = field(default_factory=list)
    """Answers that no crash explains, and what did not end in time."""
    ledger: Mapping[str, Mapping[str, int]] | None = None
    recounts: Mapping[str, Recount] = field(default_factory=dict)
