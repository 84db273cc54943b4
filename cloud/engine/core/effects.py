"""The closed list of what the core can ask for. Nothing else leaves it but events and its state.

The runtime carries effects out after it has queued the transition's rows. Calls of Nexus handlers
(:class:`StartNexusOperation`, :class:`CancelNexusOperation`), callbacks (:class:`DeliverCallback`) and effects that reach another run
(:class:`StartChild`, :class:`SignalExternal`, :class:`CancelExternal`, :class:`PropagateClose`) can be asked for again after
a crash, from the state alone (``machine.outstanding``), so each must be safe to carry out twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes


@dataclass(frozen=True, slots=True)
class DispatchWorkflowTask:
    """Offer the scheduled workflow task to workers of `queue`; `dispatch` is its attempt's latest offer."""

    queue: str
    scheduled_event_id: int
    dispatch: int
    sticky: bool


@dataclass(frozen=True, slots=True)
class DispatchActivity:
    """Offer this attempt of an activity to workers of `queue`."""

    queue: str
    scheduled_event_id: int
    stamp: int


@dataclass(frozen=True, slots=True)
class StartChild:
    """Start the child whose intent is event `initiated_event_id`, then tell this run."""

    initiated_event_id: int


@dataclass(frozen=True, slots=True)
class SignalExternal:
    """Signal the workflow that event `initiated_event_id` names, then tell this run."""

    initiated_event_id: int


@dataclass(frozen=True, slots=True)
class CancelExternal:
    """Request the cancellation of the workflow that event `initiated_event_id` names, then tell this run."""

    initiated_event_id: int


@dataclass(frozen=True, slots=True)
class StartNexusOperation:
    """Ask the handler to start the operation of event `scheduled_event_id`, then tell this run what it answered."""

    scheduled_event_id: int


@dataclass(frozen=True, slots=True)
class CancelNexusOperation:
    """Ask the handler to cancel the started operation of event `scheduled_event_id`, then tell this run."""

    scheduled_event_id: int


@dataclass(frozen=True, slots=True)
class DeliverCallback:
    """Tell the closed run's callback `index` what became of it, then tell this run."""

    index: int


@dataclass(frozen=True, slots=True)
class StartNextRun:
    """Start the run that follows this one (continue-as-new, retry, cron), in the same transaction."""

    run_id: str
    attributes: WorkflowExecutionStartedEventAttributes
    user_metadata: bytes


@dataclass(frozen=True, slots=True)
class PropagateClose:
    """The run closed for good: tell its parent, and treat its children by their parent-close policies."""


@dataclass(frozen=True, slots=True)
class UpdateVisibility:
    """What lists show of this run changed."""


@dataclass(frozen=True, slots=True)
class Meter:
    """Count `count` units of usage of a `kind`; neutral facts, no prices."""

    kind: str
    count: int


Effect = (
    DispatchWorkflowTask
    | DispatchActivity
    | StartChild
    | SignalExternal
    | CancelExternal
    | StartNexusOperation
    | CancelNexusOperation
    | DeliverCallback
    | StartNextRun
    | PropagateClose
    | UpdateVisibility
    | Meter
)
