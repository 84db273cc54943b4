"""What may stand in the clear though a walk over all payloads comes across it, each with its reason.

Beside payloads a request has strings: ids, type and queue names, identities, reasons of operators, build ids,
Nexus headers, error types. The protocol needs these readable, none of them passes through a codec, and the
guard does not look at them. It looks at the strings of failures, because user code writes those.
"""

from __future__ import annotations

from collections.abc import Mapping

READABLE_FIELDS: Mapping[tuple[str, str], str] = {
    (
        "temporal.api.common.v1.SearchAttributes",
        "indexed_fields",
    ): "search attributes are indexed and compared by the service; SDKs never pass them through a codec",
    (
        "temporal.api.compute.v1.ComputeProvider",
        "details",
    ): "tells the service how to start workers, so the service must read it",
    (
        "temporal.api.compute.v1.ComputeScaler",
        "details",
    ): "tells the service when to start workers, so the service must read it",
}
"""(message, field) -> why its payloads may be readable."""

FAILURE = "temporal.api.failure.v1.Failure"
NEXUS_FAILURE = "temporal.api.nexus.v1.Failure"

CHECKED_STRINGS: Mapping[str, tuple[str, ...]] = {
    FAILURE: ("message", "stack_trace"),
    NEXUS_FAILURE: ("message", "stack_trace"),
    "temporal.api.query.v1.WorkflowQueryResult": ("error_message",),
    "temporal.api.workflowservice.v1.RespondQueryTaskCompletedRequest": ("error_message",),
}
"""String fields that hold what user code wrote."""

SYSTEM_ENDPOINT = "__temporal_system"
"""The Nexus endpoint of the service's own operations."""

SYSTEM_REQUESTS = frozenset({"temporal.api.workflowservice.v1.SignalWithStartWorkflowExecutionRequest"})
"""What those are given, as a message in a payload: SDKs encrypt its payloads, not the message, for the service has to read it."""

ENCODED_FAILURE = "Encoded failure"
"""What all SDKs write as message once the real one went into `encoded_attributes`."""

READABLE_SENTENCES = frozenset(
    {
        "",
        ENCODED_FAILURE,
        # Written by the service itself into timeouts and terminations; a workflow that passes such a failure
        # on sends it back as the cause of its own.
        "activity StartToClose timeout",
        "activity ScheduleToStart timeout",
        "activity ScheduleToClose timeout",
        "activity Heartbeat timeout",
        "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying",
        "activity error",
        "activity timeout",
        "workflow execution timed out",
        "Workflow execution timed out",
        "operation timed out",
        "nexus operation completed unsuccessfully",
        # Written by the SDKs' shared core around failures of others, without user data.
        "Activity task failed",
        "Activity task timed out",
        "Activity cancelled",
        "Activity timed out",
        "Local Activity cancelled",
        "Local Activity timed out",
        "Child Workflow execution failed",
        "Child Workflow execution timed out",
        "Child Workflow execution terminated",
        "Child Workflow execution cancelled",
        "Timed out",
        "Terminated",
        "Unable to cancel external workflow because unknown",
        "Unable to cancel external workflow because not found",
        "Unable to signal external workflow because unknown",
        "Unable to signal external workflow because it was not found",
        "Unable to signal external workflow because The per-workflow signal limit was exceeded",
        "Signal was cancelled before being sent",
        "Nexus operation failed but failure field was not populated",
        "Nexus operation was cancelled but failure field was not populated",
        "Nexus operation timed out but failure field was not populated",
        "GRPC Message too large",
        "Workflow task completion exceeds the namespace size limit",
        "[TMPRL1103] Attempted to upload payloads with size that exceeded the error limit.",
        "[TMPRL1103] Attempted to upload memo with size that exceeded the error limit.",
        # Written by a worker that goes away before the code ran, or ended.
        "Worker shutting down",
        "Worker is shutting down and this activity did not complete in time",
    }
)
"""Messages of failures that no user wrote. They are compared whole, so that none can carry anything else."""

READABLE_PREFIXES = (
    # Which event met which command: ids, types and event numbers. It is how a broken deploy is found, and the
    # report is the core's own, so it cannot be encoded by any converter.
    "[TMPRL1100] Nondeterminism error: ",
    # What the service itself answered when the worker asked for a page of history.
    "Fetching history failed: ",
)
"""Beginnings of messages of which the rest varies, and holds ids, names and the service's own words only."""

MARKER_DETAILS_BYTES_MAX = 8 * 1024

MARKER_DETAILS: Mapping[tuple[str, str], frozenset[str]] = {
    # The core writes its own bookkeeping beside the result, as plain JSON, and reads it back on replay before
    # any codec of the language side is asked. Results and arguments of local activities are separate and
    # encrypted.
    ("core_local_activity", "data"): frozenset(
        {
            "seq",
            "attempt",
            "activity_id",
            "activity_type",
            "complete_time",
            "backoff",
            "original_schedule_time",
            "activation_index",
        }
    ),
    ("core_patch", "patch-data"): frozenset({"id", "deprecated"}),
}
"""(marker name, key of its details) -> the JSON fields that the core writes there."""


def sentence_problem(message: str) -> str | None:
    """Why the message of a failure does not count as encoded; None if it does."""
    if message in READABLE_SENTENCES or message.startswith(READABLE_PREFIXES):
        return None
    return "is readable text"
