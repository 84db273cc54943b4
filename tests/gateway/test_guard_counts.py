"""What the guard says of each kind of field, and what it counts."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.api.common.v1 import Payloads
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from cloud.gateway.guard import PlaintextGuard, PlaintextRefused
from cloud.gateway.guard_counts import FIELDS_MAX, OTHERS, Finding, GuardCounts, Outcome
from tenancy.access import GuardMode
from tests.gateway.test_guard import METHODS, NAMESPACE, PLAIN, method, refused


@pytest.fixture(scope="module")
def guard() -> PlaintextGuard:
    return PlaintextGuard(METHODS)


@pytest.mark.parametrize(
    ("name", "request_", "fix"),
    [
        ("SignalWorkflowExecution", {"header": {"fields": {"trace": PLAIN}}}, "HeaderCodecBehavior.CODEC"),
        ("RespondActivityTaskFailed", {"failure": {"message": "secret"}}, "encode_common_attributes"),
        (
            "RespondActivityTaskFailed",
            {"failure": {"cause": {"stack_trace": "secret"}}},
            "encode_common_attributes",
        ),
        ("RespondQueryTaskCompleted", {"error_message": "secret"}, "encode_common_attributes"),
        ("RespondNexusTaskFailed", {"failure": {"message": "secret"}}, "encode_common_attributes"),
        ("StartWorkflowExecution", {"user_metadata": {"summary": PLAIN}}, "payload codec"),
        ("CreateSchedule", {"memo": {"fields": {"note": PLAIN}}}, "payload codec"),
        ("RecordActivityTaskHeartbeat", {"details": {"payloads": [PLAIN]}}, "payload codec"),
        ("StartActivityExecution", {"input": {"payloads": [PLAIN]}}, "payload codec"),
    ],
)
def test_the_way_out_fits_the_field(
    guard: PlaintextGuard, name: str, request_: dict[str, Any], fix: str
) -> None:
    refusal = refused(guard, method(name), method(name).request_type(**request_))
    assert refusal is not None
    assert fix in refusal.message
    assert "tacit namespace guard orders" in refusal.message
    assert "secret" not in refusal.message


def test_calls_are_counted_by_field_and_off_does_not_look() -> None:
    guard = PlaintextGuard(METHODS)
    m = method("StartWorkflowExecution")
    request = StartWorkflowExecutionRequest(input=Payloads(payloads=[PLAIN, PLAIN]))
    request.header.fields["trace"].CopyFrom(PLAIN)
    guard.check(m, request, NAMESPACE, GuardMode.OFF)
    assert guard.counts.since_taken() == {}
    with capture_logs() as log:
        for _ in range(2):
            guard.check(m, request, NAMESPACE, GuardMode.OBSERVE)
        with pytest.raises(PlaintextRefused):
            guard.check(m, request, NAMESPACE, GuardMode.ENFORCE)
    assert len(log) == 2
    fields = ("StartWorkflowExecution: input.payloads", "StartWorkflowExecution: header.fields")
    counted = {Finding(NAMESPACE, field, Outcome.OBSERVED): 2 for field in fields} | {
        Finding(NAMESPACE, field, Outcome.REFUSED): 1 for field in fields
    }
    assert guard.counts.take() == counted
    assert guard.counts.take() == {}
    guard.counts.put_back(counted)
    guard.check(m, request, NAMESPACE, GuardMode.OBSERVE)
    assert guard.counts.take()[Finding(NAMESPACE, fields[0], Outcome.OBSERVED)] == 3


def test_what_is_counted_is_bounded() -> None:
    counts = GuardCounts()
    for number in range(FIELDS_MAX + 50):
        counts.add(NAMESPACE, [f"M: field{number}"], Outcome.OBSERVED)
    assert len(counts.since_taken()) == FIELDS_MAX + 1
    assert counts.since_taken()[Finding(NAMESPACE, OTHERS, Outcome.OBSERVED)] == 50
    counts.take()
    deep = "RespondActivityTaskFailed: failure" + ".cause" * 90 + ".message"
    counts.add(NAMESPACE, [deep, deep.replace(".cause", "", 5)], Outcome.REFUSED)
    [(finding, count)] = counts.take().items()
    assert (finding.field, count) == ("RespondActivityTaskFailed: failure.cause.message", 1)
    for number in range(10_100):
        counts.add(f"n{number}", ["M: f"], Outcome.OBSERVED)
    assert len(counts.take()) == 10_000
