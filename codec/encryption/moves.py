"""Every way on which Temporal moves a payload, and what binding to a workflow means there.

A payload is bound to the owner (owner.py) that its writer was told of, and its reader checks that owner against the one
it is told of. `MOVES` lists the ways, as the Python SDK tells them; tests/codec/test_moves.py sends a payload along each
one with `bind_workflow` on, and compares. In `writer` and `reader` stand owners, with the names:

    {id}        the workflow that the payload is input or output of
    {parent}    the workflow that started it
    {activity}  an activity that no workflow started
    {operation} the Nexus service and operation, "service/operation"
    ""          nothing: the SDK does not say

What holds for every row: a payload that the service puts where this table does not bring it is a `MovedPayload`. What no
row can tell: one payload of a workflow from another of the same workflow, whichever its run (replays and swaps within
one workflow id are not found); ids that differ only in a schedule's time; and what was written unbound.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Move:
    """One way of a payload from its writer to its reader."""

    name: str
    what: str
    writer: str
    reader: str
    note: str = ""
    run: bool = True
    """Whether the tests send a payload along it; if not, `note` says why."""

    @property
    def protected(self) -> bool:
        """Whether the reader finds out a payload of another workflow that the service put in this one's place."""
        return bool(self.writer) and self.writer == self.reader


_WORKFLOW = "workflow:{id}"
_ACTIVITY = "activity:{activity}"
_NEXUS = "nexus:{operation}"


def _own(name: str, what: str, note: str = "") -> Move:
    return Move(name=name, what=what, writer=_WORKFLOW, reader=_WORKFLOW, note=note)


MOVES: tuple[Move, ...] = (
    _own("start-input", "input of a start"),
    _own("signal-input", "input of a signal"),
    _own("signal-with-start-input", "workflow input of a signal-with-start"),
    _own("signal-with-start-signal", "signal input of a signal-with-start"),
    _own(
        "workflow-signal-with-start-input",
        "input of a workflow that another one starts by a signal-with-start",
    ),
    _own("workflow-signal-with-start-signal", "signal of a workflow's signal-with-start"),
    _own("update-with-start-input", "workflow input of an update-with-start"),
    _own("update-with-start-update", "update input of an update-with-start"),
    _own("query-input", "arguments of a query"),
    _own("query-result", "result of a query"),
    _own("update-input", "arguments of an update"),
    _own("update-result", "result of an update"),
    _own("update-failure", "failure of an update, message included"),
    _own("workflow-result", "result, back to the client"),
    _own("workflow-failure", "failure with its causes, back to the client"),
    _own("memo", "memo of a start, read by the workflow, by describe and by list"),
    _own("memo-upserted", "memo that the workflow changes"),
    _own("summary", "summary and details of a start, read by describe"),
    _own("child-input", "input of a child, written by its parent"),
    _own("child-result", "result of a child, read by its parent"),
    _own("child-failure", "failure of a child, read by its parent"),
    _own("child-memo", "memo of a child, written by its parent"),
    _own("child-signal", "signal to a child"),
    _own("external-signal", "signal from one workflow to another"),
    _own("continued-input", "input of the next run, written by the one before (continue-as-new)"),
    _own("continued-memo", "memo of the next run, written by the one before"),
    _own("cron-result", "last result, read by the next run of a cron workflow"),
    _own("retry-input", "input of a retried run"),
    _own("retry-failure", "failure of the run before, read by the retried one"),
    _own("reset-input", "input, read again after a reset"),
    _own("reset-activity-result", "result of an activity, read again after a reset"),
    _own(
        "schedule-input",
        "input of a workflow that a schedule starts",
        "written under the configured id, read under that id and the time: the time does not count",
    ),
    _own("schedule-memo", "memo of a workflow that a schedule starts", "as schedule-input"),
    _own("schedule-summary", "summary of a workflow that a schedule starts", "as schedule-input"),
    _own(
        "schedule-result", "last result, read by the schedule's next workflow", "ids differ in the time only"
    ),
    _own("activity-input", "input of an activity"),
    _own("activity-result", "result of an activity"),
    _own("activity-failure", "failure of an activity"),
    _own("activity-heartbeat", "heartbeat details, read by the next attempt"),
    _own("activity-timeout-heartbeat", "last heartbeat details, read by the workflow in a timeout"),
    _own("local-activity-input", "input of a local activity"),
    _own("local-activity-result", "result of a local activity, kept in a marker"),
    Move(
        name="child-summary",
        what="summary and details of a child, read by describe",
        writer="workflow:{parent}",
        reader=_WORKFLOW,
        note="sdk tells the reader who the parent is, as the service says: not protected, for people's eyes only",
    ),
    Move(
        name="header",
        what="headers of a start, which interceptors set, where the client encodes headers",
        writer="",
        reader=_WORKFLOW,
        note="the SDK's client says nothing of headers",
    ),
    Move(
        name="async-result",
        what="result, failure and heartbeats of an activity that is completed from outside",
        writer="",
        reader=_WORKFLOW,
        note="bound if whoever completes it says whose it is: AsyncActivityHandle.with_context",
    ),
    Move(
        name="async-result-with-context",
        what="the same, with AsyncActivityHandle.with_context",
        writer=_WORKFLOW,
        reader=_WORKFLOW,
    ),
    Move(
        name="activity-summary",
        what="summaries of activities, timers and Nexus operations",
        writer=_WORKFLOW,
        reader="",
        note="read by people in the UI and CLI, through a codec server",
        run=False,
    ),
    Move(
        name="terminate-details",
        what="details of a termination",
        writer=_WORKFLOW,
        reader="",
        note="read by people in the UI and CLI, through a codec server",
        run=False,
    ),
    Move(
        name="typed-by-hand",
        what="what the CLI and the UI send, batch signals and resets with signals included, through a codec server",
        writer="",
        reader=_WORKFLOW,
        note="a codec server is not told of workflows",
    ),
    Move(
        name="shown",
        what="anything that the CLI and the UI show, through a codec server",
        writer=_WORKFLOW,
        reader="",
        note="a codec server is not told of workflows: it decrypts, and cannot see what was moved",
    ),
    Move(
        name="schedule-own-memo",
        what="memo of a schedule itself",
        writer="",
        reader="",
        note="the SDK says nothing of schedules; it reaches no workflow",
    ),
    Move(
        name="standalone-input",
        what="input of an activity without a workflow",
        writer=_ACTIVITY,
        reader=_ACTIVITY,
    ),
    Move(name="standalone-result", what="its result, back to the client", writer=_ACTIVITY, reader=_ACTIVITY),
    Move(
        name="standalone-failure", what="its failure, back to the client", writer=_ACTIVITY, reader=_ACTIVITY
    ),
    Move(
        name="nexus-input",
        what="input of a Nexus operation, read by its handler",
        writer=_NEXUS,
        reader=_NEXUS,
        note="bound to service and operation; two calls of one operation are one",
    ),
    Move(name="nexus-sync-result", what="result that a handler gives at once", writer=_NEXUS, reader=_NEXUS),
    Move(name="nexus-failure", what="failure that a handler gives at once", writer=_NEXUS, reader=_NEXUS),
    Move(
        name="client-nexus-input",
        what="input of a Nexus operation that a client starts",
        writer=_NEXUS,
        reader=_NEXUS,
    ),
    Move(
        name="client-nexus-result",
        what="result of a Nexus operation, back to the client",
        writer=_NEXUS,
        reader=_NEXUS,
    ),
    Move(
        name="nexus-async-result",
        what="result of the workflow behind an operation, read by the caller",
        writer=_WORKFLOW,
        reader=_NEXUS,
        note="the caller is not told which workflow: any workflow's payload passes there",
    ),
    Move(
        name="search-attributes",
        what="search attributes",
        writer="",
        reader="",
        note="never encrypted: the service searches them",
        run=False,
    ),
    Move(
        name="markers",
        what="markers that SDKs write for themselves (versions, patches, times of local activities)",
        writer="",
        reader="",
        note="made below the codec, hold no data of users, and no codec reads them",
        run=False,
    ),
    Move(
        name="side-effects",
        what="side effects of the Go and Java SDKs, in markers",
        writer="",
        reader=_WORKFLOW,
        note="the Python SDK has none; the sidecar encrypts markers as the workflow's",
        run=False,
    ),
)
