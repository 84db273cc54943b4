"""The one action table: what each kind of usage costs in actions, and who says so.

The engine counts neutral kinds of usage and knows no prices; this table turns them into actions, the unit
that plans price. The kinds' names are those of Temporal Cloud's ``action_type`` metric label where that has
one, so that a bill can be laid beside one of theirs.

The names may only be added to: rows that are already in a ledger carry them for ever.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

START_WORKFLOW = "start_workflow"
START_WORKFLOW_CRON = "start_workflow_cron"
START_WORKFLOW_RETRY = "start_workflow_retry"
UPDATE_WORKFLOW_OPTIONS_VIA_START = "update_workflow_options_via_start"
CONTINUE_AS_NEW_WORKFLOW = "continue_as_new_workflow"
START_CHILD_WORKFLOW = "start_child_workflow"
RESET_WORKFLOW = "reset_workflow"
UPDATE_WORKFLOW_OPTIONS = "update_workflow_options"
PAUSE_WORKFLOW = "pause_workflow"
UNPAUSE_WORKFLOW = "unpause_workflow"
RECORD_WORKFLOW_HEARTBEAT = "record_workflow_heartbeat"

SCHEDULE_ACTIVITY = "schedule_activity"
RETRY_ACTIVITY = "retry_activity"
RECORD_ACTIVITY_HEARTBEAT = "record_activity_heartbeat"
RECORD_ACTIVITY_MARKERS = "record_activity_markers"
RETRY_ACTIVITY_LOCAL = "retry_activity_local"

START_TIMER = "start_timer"
UPSERT_WORKFLOW_SEARCH_ATTRIBUTES = "upsert_workflow_search_attributes"
MODIFY_WORKFLOW_PROPERTIES = "modify_workflow_properties"

SIGNAL_WORKFLOW = "signal_workflow"
SIGNAL_WORKFLOW_WITH_START = "signal_workflow_with_start"
SIGNAL_EXTERNAL_WORKFLOW = "signal_external_workflow"
QUERY_WORKFLOW = "query_workflow"
ACCEPT_WORKFLOW_UPDATE = "accept_workflow_update"
REJECT_WORKFLOW_UPDATE = "reject_workflow_update"

CREATE_SCHEDULE = "create_schedule"
UPDATE_SCHEDULE = "update_schedule"
PATCH_SCHEDULE = "patch_schedule"
DELETE_SCHEDULE = "delete_schedule"
SCHEDULE_WORKFLOW = "schedule_workflow"

SCHEDULE_NEXUS_OPERATION = "schedule_nexus_operation"
REQUEST_NEXUS_OPERATION_CANCELLATION = "request_nexus_operation_cancellation"

START_STANDALONE_ACTIVITY = "start_standalone_activity"
RETRY_STANDALONE_ACTIVITY = "retry_standalone_activity"
RECORD_STANDALONE_ACTIVITY_HEARTBEAT = "record_standalone_activity_heartbeat"
PAUSE_STANDALONE_ACTIVITY = "pause_standalone_activity"
RESET_STANDALONE_ACTIVITY = "reset_standalone_activity"
UPDATE_STANDALONE_ACTIVITY_OPTIONS = "update_standalone_activity_options"

START_STANDALONE_NEXUS_OPERATION = "start_standalone_nexus_operation"
REQUEST_STANDALONE_NEXUS_OPERATION_CANCELLATION = "request_standalone_nexus_operation_cancellation"


class Basis(enum.Enum):
    """Who says what a kind costs."""

    DOCUMENTED = "documented"
    """Temporal Cloud's page on actions (https://docs.temporal.io/cloud/actions)."""
    ESTIMATE = "estimate"
    """The page is silent; the estimate of Temporal's web console says so."""
    OURS = "ours"
    """Both are silent, or differ: our decision, in the tenant's favour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRule:
    """One row of the table: each unit of `kind` is `actions` actions, because of `reason`."""

    kind: str
    actions: int
    basis: Basis
    reason: str


class UnknownKind(ValueError):
    """Usage of a kind that the table does not price.

    It is never taken as free: the bill would silently be wrong.
    """

    def __init__(self, *kinds: str) -> None:
        super().__init__(
            f"no action rule for usage of kind {', '.join(sorted(repr(kind) for kind in kinds))}: "
            "the service that counted it is newer than this billing package; upgrade it, "
            "or add the kind to billing/actions.py"
        )
        self.kinds = tuple(sorted(kinds))


_D, _E, _O = Basis.DOCUMENTED, Basis.ESTIMATE, Basis.OURS

_RULES = (
    (START_WORKFLOW, 1, _D, "a workflow that did start; refused and deduplicated starts are not usage"),
    (START_WORKFLOW_CRON, 1, _E, "the console counts 1 for a run whose attempt is 1, as a cron run's is"),
    (START_WORKFLOW_RETRY, 0, _E, "the console counts 0 for a run whose attempt is above 1"),
    (
        UPDATE_WORKFLOW_OPTIONS_VIA_START,
        1,
        _D,
        "a start that attached something to the run that was open already",
    ),
    (CONTINUE_AS_NEW_WORKFLOW, 1, _D, "the run that follows; it has no start_workflow beside it"),
    (START_CHILD_WORKFLOW, 1, _D, "the parent's intent; the child's own start is a start_workflow, 2 in all"),
    (RESET_WORKFLOW, 1, _D, "the reset; the events it copies are not counted again"),
    (UPDATE_WORKFLOW_OPTIONS, 1, _D, "one call that changes a run's options, whatever it changes"),
    (PAUSE_WORKFLOW, 0, _O, "in no list of what counts, though self-hosted servers' metric has it"),
    (UNPAUSE_WORKFLOW, 0, _O, "in no list of what counts, though self-hosted servers' metric has it"),
    (RECORD_WORKFLOW_HEARTBEAT, 1, _D, "a workflow task prolonged for a long local activity"),
    (SCHEDULE_ACTIVITY, 1, _D, "the activity with its first attempt"),
    (RETRY_ACTIVITY, 1, _D, "each further attempt, when a worker takes it"),
    (
        RECORD_ACTIVITY_HEARTBEAT,
        1,
        _D,
        "each heartbeat that reaches the service, by token or by id; SDKs throttle them",
    ),
    (
        RECORD_ACTIVITY_MARKERS,
        1,
        _D,
        "one for each workflow task that records a marker other than a code version's",
    ),
    (
        RETRY_ACTIVITY_LOCAL,
        1,
        _D,
        "each attempt of a local activity after its first, at most 100 a workflow task",
    ),
    (START_TIMER, 1, _D, "each timer, those that SDK helpers start included; cancelling is free"),
    (
        UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
        1,
        _D,
        "one a command, however many keys; TemporalChangeVersion alone is no usage",
    ),
    (
        MODIFY_WORKFLOW_PROPERTIES,
        0,
        _O,
        "memo upserts stand neither on the page nor in the console's estimate",
    ),
    (SIGNAL_WORKFLOW, 1, _D, "a signal from a client"),
    (SIGNAL_WORKFLOW_WITH_START, 1, _D, "one in all, whether or not it started a workflow"),
    (SIGNAL_EXTERNAL_WORKFLOW, 1, _D, "a signal from a workflow, paid by the sender"),
    (QUERY_WORKFLOW, 1, _D, "each query but those for __temporal_workflow_metadata"),
    (ACCEPT_WORKFLOW_UPDATE, 1, _D, "the acceptance; completion and a repeated update id are free"),
    (REJECT_WORKFLOW_UPDATE, 1, _D, "the rejection, which no history shows"),
    (CREATE_SCHEDULE, 1, _D, "each call"),
    (UPDATE_SCHEDULE, 1, _D, "each call"),
    (PATCH_SCHEDULE, 1, _D, "each trigger, pause, unpause or backfill request"),
    (DELETE_SCHEDULE, 1, _D, "each call"),
    (
        SCHEDULE_WORKFLOW,
        2,
        _D,
        "the schedule's work for a run; the run is a start_workflow beside it, 3 in all",
    ),
    (SCHEDULE_NEXUS_OPERATION, 1, _D, "paid by the caller; handling and retrying are free"),
    (REQUEST_NEXUS_OPERATION_CANCELLATION, 1, _D, "paid by the caller"),
    (START_STANDALONE_ACTIVITY, 1, _D, "an activity that did start; a deduplicated start is not usage"),
    (RETRY_STANDALONE_ACTIVITY, 1, _D, "each further attempt, when a worker takes it"),
    (
        RECORD_STANDALONE_ACTIVITY_HEARTBEAT,
        1,
        _D,
        "each heartbeat that reaches the service, by token or by id",
    ),
    (PAUSE_STANDALONE_ACTIVITY, 1, _D, "each call; unpausing is free"),
    (RESET_STANDALONE_ACTIVITY, 1, _D, "each call"),
    (UPDATE_STANDALONE_ACTIVITY_OPTIONS, 1, _D, "each call"),
    (
        START_STANDALONE_NEXUS_OPERATION,
        1,
        _O,
        "as an operation of a workflow; handling and retrying are free, a deduplicated start is not usage",
    ),
    (REQUEST_STANDALONE_NEXUS_OPERATION_CANCELLATION, 1, _O, "as that of a workflow's operation"),
)

ACTION_TABLE: Mapping[str, ActionRule] = MappingProxyType(
    {
        kind: ActionRule(kind=kind, actions=actions, basis=basis, reason=reason)
        for kind, actions, basis, reason in _RULES
    }
)
"""Every kind of usage by its name."""


def actions_of(kind: str, count: int) -> int:
    """The actions that `count` units of `kind` are.

    Raises:
        UnknownKind: the table has no such kind.
        ValueError: `count` is negative.
    """
    rule = ACTION_TABLE.get(kind)
    if rule is None:
        raise UnknownKind(kind)
    if count < 0:
        raise ValueError(f"usage of {kind} is {count}: a ledger only ever adds")
    return rule.actions * count


def actions_by_kind(counts: Mapping[str, int]) -> dict[str, int]:
    """The actions of each kind in `counts`, sorted by kind.

    Raises:
        UnknownKind: names every kind that the table lacks, not only the first.
        ValueError: a count is negative.
    """
    unknown = [kind for kind in counts if kind not in ACTION_TABLE]
    if unknown:
        raise UnknownKind(*unknown)
    return {kind: actions_of(kind, counts[kind]) for kind in sorted(counts)}
