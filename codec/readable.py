"""What stays readable in a Temporal message though it stands in a payload, each with its reason; and where messages hide.

Strings are no payloads: ids, names of types and queues, identities, reasons of operators, Nexus headers and types of
errors stay readable, because the service works with them. The one exception are sentences that user code wrote
(`SENTENCES`), which go into a payload of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from temporalio.api.common.v1 import Payload

READABLE_FIELDS: Mapping[tuple[str, str], str] = {
    (
        "temporal.api.common.v1.SearchAttributes",
        "indexed_fields",
    ): "the service indexes and compares search attributes; SDKs never pass them through a codec",
    (
        "temporal.api.compute.v1.ComputeProvider",
        "details",
    ): "tells the service how to start workers, so the service must read it",
    (
        "temporal.api.compute.v1.ComputeScaler",
        "details",
    ): "tells the service when to start workers, so the service must read it",
}
"""(message, field) -> why its payloads stay readable."""

FAILURE = "temporal.api.failure.v1.Failure"
NEXUS_FAILURE = "temporal.api.nexus.v1.Failure"

SENTENCES: Mapping[str, tuple[str, ...]] = {
    FAILURE: ("message", "stack_trace"),
    NEXUS_FAILURE: ("message", "stack_trace"),
    "temporal.api.query.v1.WorkflowQueryResult": ("error_message",),
    "temporal.api.workflowservice.v1.RespondQueryTaskCompletedRequest": ("error_message",),
}
"""String fields that hold what user code wrote."""

HISTORY_BLOBS: Mapping[tuple[str, str], str] = {
    (
        "temporal.api.workflowservice.v1.GetWorkflowExecutionHistoryResponse",
        "raw_history",
    ): "temporal.api.history.v1.History",
}
"""(message, field) of DataBlobs -> the message that each holds, serialized."""

SYSTEM_ENDPOINT = "__temporal_system"
"""The Nexus endpoint of the service's own operations."""

SYSTEM_REQUESTS = frozenset({"temporal.api.workflowservice.v1.SignalWithStartWorkflowExecutionRequest"})
"""What those are given: a request in a payload. SDKs encrypt the payloads inside, for the service reads the request."""

SYSTEM_ANSWERS = frozenset({b"temporal.api.workflowservice.v1.SignalWithStartWorkflowExecutionResponse"})
"""What those answer, in a payload: ids only, written by the service."""

MARKER_BYTES_MAX = 8 * 1024

MARKER_DETAILS: Mapping[tuple[str, str], frozenset[str]] = {
    # The SDKs' core keeps its own bookkeeping there as plain JSON, and reads it on replay before any codec is asked.
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
"""(marker name, key of its details) -> the JSON fields that the core writes there, and that stay readable."""


def is_bookkeeping(payload: Payload, fields: frozenset[str]) -> bool:
    """Whether a payload of a marker is a JSON object with no other fields than `fields`."""
    data = payload.data
    if payload.metadata.get("encoding") != b"json/plain" or len(data) > MARKER_BYTES_MAX:
        return False
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and bool(value) and value.keys() <= fields
