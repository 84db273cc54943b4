from __future__ import annotations

import json
import time

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from temporalio.api.command.v1 import (
    Command,
    RecordMarkerCommandAttributes,
    ScheduleNexusOperationCommandAttributes,
)
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update.v1 import Acceptance, Outcome, Rejection, Request, Response
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    RespondNexusTaskFailedRequest,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)

import codec.encryption.codec
from cloud.gateway.guard import PlaintextGuard, PlaintextRefused
from cloud.gateway.method_table import METHOD_TABLE, Scope
from cloud.gateway.opaque import SAMPLES_ENCRYPTED, TACIT_ENCRYPTED, payload_problem
from cloud.gateway.payload_walk import FINDINGS_PER_FIELD_MAX, PayloadWalkers
from cloud.gateway.readable import READABLE_FIELDS
from cloud.rpc import Method
from tenancy.access import GuardMode
from tests.gateway.payload_paths import places

METHODS = [row.method for row in METHOD_TABLE.values() if row.scope is Scope.NAMESPACE and row.method]
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"secret words"')
ENCRYPTED = Payload(metadata={"encoding": TACIT_ENCRYPTED}, data=bytes(60))
NAMESPACE = "orders.acme"


@pytest.fixture(scope="module")
def guard() -> PlaintextGuard:
    return PlaintextGuard(METHODS)


def method(name: str) -> Method:
    return next(m for m in METHODS if m.name == name)


def refused(guard: PlaintextGuard, m: Method, request: object) -> PlaintextRefused | None:
    try:
        guard.check(m, request, NAMESPACE, GuardMode.ENFORCE)  # type: ignore[arg-type]
    except PlaintextRefused as refusal:
        return refusal
    return None


def unknown_payload() -> bytes:
    """A payload in a field that no proto of ours has: number 2047, as bytes on the wire."""
    content = PLAIN.SerializeToString()
    return b"\xfa\x7f" + bytes([len(content)]) + content


def test_fields_newer_than_the_protos_are_taken_out_where_it_enforces(guard: PlaintextGuard) -> None:
    m = method("StartWorkflowExecution")
    known = StartWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id="w")
    known.user_metadata.summary.CopyFrom(ENCRYPTED)
    request = StartWorkflowExecutionRequest.FromString(known.SerializeToString() + unknown_payload())
    request.user_metadata.MergeFromString(unknown_payload())
    before = request.SerializeToString()
    assert before.count(PLAIN.data) == 2
    guard.check(m, request, NAMESPACE, GuardMode.OBSERVE)
    assert request.SerializeToString() == before
    guard.check(m, request, NAMESPACE, GuardMode.ENFORCE)
    assert request == known
    assert PLAIN.data not in request.SerializeToString()


def test_unknown_fields_of_a_packed_message_are_refused(guard: PlaintextGuard) -> None:
    packed = AnyMessage()
    packed.Pack(Response(outcome=Outcome(success=Payloads(payloads=[ENCRYPTED]))))
    m = method("RespondWorkflowTaskCompleted")
    assert not refused(guard, m, RespondWorkflowTaskCompletedRequest(messages=[ProtocolMessage(body=packed)]))
    packed.value += unknown_payload()
    refusal = refused(guard, m, RespondWorkflowTaskCompletedRequest(messages=[ProtocolMessage(body=packed)]))
    assert refusal is not None
    assert "not known here" in str(refusal)


def is_readable(m: Method, path: str) -> bool:
    """Whether the way of `path` leads through a field that is readable by design."""
    descriptor = m.request_type.DESCRIPTOR
    for name in path.split("."):
        if (descriptor.full_name, name) in READABLE_FIELDS:
            return True
        held = descriptor.fields_by_name[name].message_type
        if held is not None and held.GetOptions().map_entry:
            held = held.fields_by_name["value"].message_type
        descriptor = held
    return False


@pytest.mark.parametrize("m", METHODS, ids=lambda m: m.name)
def test_every_payload_of_every_request(guard: PlaintextGuard, m: Method) -> None:
    for path, make in places(m.request_type, Payload.DESCRIPTOR.full_name):
        assert refused(guard, m, make(lambda leaf: leaf.CopyFrom(ENCRYPTED))) is None, path
        refusal = refused(guard, m, make(lambda leaf: leaf.CopyFrom(PLAIN)))
        if is_readable(m, path):
            assert refusal is None, path
        else:
            assert refusal is not None, path
            assert refusal.field == path
            assert "secret" not in refusal.message


@pytest.mark.parametrize("m", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("leaf", [Failure, NexusFailure], ids=lambda t: t.DESCRIPTOR.full_name)
def test_every_failure_of_every_request(
    guard: PlaintextGuard, m: Method, leaf: type[Failure] | type[NexusFailure]
) -> None:
    for path, make in places(m.request_type, leaf.DESCRIPTOR.full_name):
        assert refused(guard, m, make(lambda f: setattr(f, "message", "Encoded failure"))) is None, path
        assert (
            refused(guard, m, make(lambda f: setattr(f, "message", "activity StartToClose timeout"))) is None
        )
        for field in ("message", "stack_trace"):
            refusal = refused(guard, m, make(lambda f, field=field: setattr(f, field, "secret words")))
            assert refusal is not None, path
            assert refusal.field == f"{path}.{field}"
            assert "encode_common_attributes" in refusal.message
            assert "secret" not in refusal.message


def test_the_walk_meets_the_payloads_that_we_know() -> None:
    found = {
        (m.name, path) for m in METHODS for path, _ in places(m.request_type, Payload.DESCRIPTOR.full_name)
    }
    assert ("StartWorkflowExecution", "input.payloads") in found
    assert ("StartWorkflowExecution", "user_metadata.summary") in found
    assert ("ExecuteMultiOperation", "operations.update_workflow.request.input.args.payloads") in found
    assert ("CreateSchedule", "schedule.action.start_workflow.memo.fields") in found
    assert ("RespondActivityTaskFailed", "failure.cause.application_failure_info.details.payloads") in found
    assert len(found) > 200


def test_requests_that_can_hold_nothing_have_no_walker() -> None:
    walkers = PayloadWalkers()
    assert walkers.walk(PollWorkflowTaskQueueRequest.DESCRIPTOR) is None
    assert walkers.walk(StartWorkflowExecutionRequest.DESCRIPTOR) is not None


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (
            Response(outcome=Outcome(success=Payloads(payloads=[PLAIN]))),
            "(Response).outcome.success.payloads",
        ),
        (Response(outcome=Outcome(failure=Failure(message="secret"))), "(Response).outcome.failure.message"),
        (Rejection(failure=Failure(message="secret")), "(Rejection).failure.message"),
        (
            Acceptance(accepted_request=Request(input={"args": Payloads(payloads=[PLAIN])})),
            "(Acceptance).accepted_request.input.args.payloads",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_protocol_messages_are_looked_into(guard: PlaintextGuard, body: Response, where: str) -> None:
    packed = AnyMessage()
    packed.Pack(body)
    refusal = refused(
        guard,
        method("RespondWorkflowTaskCompleted"),
        RespondWorkflowTaskCompletedRequest(messages=[ProtocolMessage(body=packed)]),
    )
    assert refusal is not None
    assert refusal.field == f"messages.body.{where}"


def test_an_accepted_update_passes(guard: PlaintextGuard) -> None:
    packed = AnyMessage()
    packed.Pack(Response(outcome=Outcome(success=Payloads(payloads=[ENCRYPTED]))))
    request = RespondWorkflowTaskCompletedRequest(messages=[ProtocolMessage(body=packed)])
    assert refused(guard, method("RespondWorkflowTaskCompleted"), request) is None


@pytest.mark.parametrize(
    "packed",
    [
        AnyMessage(type_url="type.googleapis.com/not.known", value=b"x"),
        AnyMessage(type_url="type.googleapis.com/google.protobuf.StringValue", value=b"\n\x06secret"),
        AnyMessage(type_url="type.googleapis.com/temporal.api.update.v1.Response", value=b"\xff\xff\xff"),
        AnyMessage(type_url="", value=b"secret"),
    ],
    ids=["unknown", "not-protocol", "garbage", "untyped"],
)
def test_what_can_not_be_looked_into_is_refused(guard: PlaintextGuard, packed: AnyMessage) -> None:
    request = RespondWorkflowTaskCompletedRequest(messages=[ProtocolMessage(body=packed)])
    assert refused(guard, method("RespondWorkflowTaskCompleted"), request) is not None


def marker(name: str, details: dict[str, Payload]) -> RespondWorkflowTaskCompletedRequest:
    attributes = RecordMarkerCommandAttributes(marker_name=name)
    for key, payload in details.items():
        attributes.details[key].payloads.append(payload)
    return RespondWorkflowTaskCompletedRequest(
        commands=[Command(record_marker_command_attributes=attributes)]
    )


def json_payload(value: object) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value).encode())


def test_bookkeeping_of_markers_is_readable_and_results_are_not(guard: PlaintextGuard) -> None:
    m = method("RespondWorkflowTaskCompleted")
    data = json_payload({"seq": 1, "attempt": 1, "activity_id": "1", "activity_type": "count"})
    assert refused(guard, m, marker("core_local_activity", {"data": data, "result": ENCRYPTED})) is None
    assert refused(guard, m, marker("core_patch", {"patch-data": json_payload({"id": "p"})})) is None
    for request in (
        marker("core_local_activity", {"data": data, "result": PLAIN}),
        marker("core_local_activity", {"data": json_payload({"seq": 1, "customer": "secret"})}),
        marker("core_patch", {"patch-data": json_payload("secret")}),
        marker("core_patch", {"data": data}),
        marker("mine", {"data": data}),
    ):
        refusal = refused(guard, m, request)
        assert refusal is not None
        assert refusal.field.startswith("commands.record_marker_command_attributes.details.")


def test_nexus_failures_may_hold_an_encoded_failure_only(guard: PlaintextGuard) -> None:
    m = method("RespondNexusTaskFailed")

    def request(failure: Failure, kind: str = "temporal.api.failure.v1.Failure") -> object:
        from google.protobuf.json_format import MessageToJson

        request = RespondNexusTaskFailedRequest()
        request.error.failure.metadata["type"] = kind
        request.error.failure.details = MessageToJson(failure).encode()
        return request

    assert refused(guard, m, request(Failure(encoded_attributes=ENCRYPTED))) is None
    assert refused(guard, m, request(Failure(encoded_attributes=PLAIN))) is not None
    assert refused(guard, m, request(Failure(message="secret"))) is not None
    assert refused(guard, m, request(Failure(), kind="other")) is not None


def test_query_errors_are_looked_at(guard: PlaintextGuard) -> None:
    m = method("RespondQueryTaskCompleted")
    request = RespondQueryTaskCompletedRequest(error_message="Encoded failure")
    assert refused(guard, m, request) is None
    request.error_message = "secret"
    refusal = refused(guard, m, request)
    assert refusal is not None
    assert refusal.field == "error_message"


REFERENCE = json.dumps({"driverName": "aws.s3driver", "claimData": {"bucket": "b", "key": "k"}}).encode()
REFERENCE_TYPE = b"temporal.api.sdk.v1.ExternalStorageReference"


@pytest.mark.parametrize(
    ("payload", "accepted"),
    [
        (ENCRYPTED, True),
        (Payload(metadata={"encoding": SAMPLES_ENCRYPTED}, data=bytes(28)), True),
        (Payload(metadata={"encoding": SAMPLES_ENCRYPTED}, data=bytes(27)), False),
        (Payload(metadata={"encoding": SAMPLES_ENCRYPTED}), False),
        (Payload(metadata={"encoding": b"binary/null"}), True),
        (Payload(metadata={"encoding": b"binary/null"}, data=b"secret"), False),
        (Payload(), True),
        (Payload(data=b"secret"), False),
        (Payload(metadata={"encoding": b"binary/plain"}), False),
        (Payload(metadata={"encoding": b"binary/zlib"}, data=bytes(60)), False),
        (
            Payload(metadata={"encoding": b"json/protobuf", "messageType": REFERENCE_TYPE}, data=REFERENCE),
            True,
        ),
        (Payload(metadata={"encoding": b"json/protobuf", "messageType": b"my.Type"}, data=REFERENCE), False),
        (Payload(metadata={"encoding": b"json/protobuf", "messageType": REFERENCE_TYPE}, data=b'"x"'), False),
        (
            Payload(metadata={"encoding": b"json/protobuf", "messageType": REFERENCE_TYPE}, data=b"[" * 8000),
            False,
        ),
        (
            Payload(
                metadata={"encoding": b"json/protobuf", "messageType": REFERENCE_TYPE},
                data=b'{"driverName": "d", "extra": "secret"}',
            ),
            False,
        ),
        (
            Payload(
                metadata={"encoding": b"json/external-storage-reference"},
                data=b'{"driver_name": "d", "driver_claim": {"claim_data": {}}}',
            ),
            True,
        ),
        (Payload(metadata={"encoding": b"json/external-storage-reference"}, data=b"secret"), False),
    ],
    ids=range(17),
)
def test_what_counts_as_encrypted(payload: Payload, accepted: bool) -> None:
    problem = payload_problem(payload)
    assert (problem is None) is accepted
    assert "secret" not in (problem or "")


def test_the_wire_constant_is_the_codecs() -> None:
    assert codec.encryption.codec.ENCODING == TACIT_ENCRYPTED
    assert codec.encryption.codec.SAMPLES_ENCODING == SAMPLES_ENCRYPTED


def test_enforce_names_the_field_and_the_way_out(guard: PlaintextGuard) -> None:
    request = StartWorkflowExecutionRequest()
    request.memo.fields["customer"].CopyFrom(PLAIN)
    with pytest.raises(PlaintextRefused) as caught:
        guard.check(method("StartWorkflowExecution"), request, NAMESPACE, GuardMode.ENFORCE)
    assert caught.value.message == (
        'StartWorkflowExecution: memo.fields["customer"] is not encrypted (encoding "json/plain"), and '
        "namespace orders.acme takes encrypted payloads only. Connect with sdk.connect() or the plugin "
        "sdk.TacitPlugin (Python), or through `tacit codec proxy` (any language); else give the client a payload codec "
        "that encrypts. An admin sees what else is readable with `tacit namespace guard orders`, and can let it pass "
        "with `tacit namespace update orders --guard observe`."
    )


def test_a_flood_of_bad_payloads_costs_few_findings() -> None:
    walk = PayloadWalkers().walk(StartWorkflowExecutionRequest.DESCRIPTOR)
    assert walk is not None
    request = StartWorkflowExecutionRequest(input=Payloads(payloads=[PLAIN] * 10_000))
    assert len(walk(request)) == FINDINGS_PER_FIELD_MAX


def test_a_request_without_payloads_costs_microseconds(guard: PlaintextGuard) -> None:
    m = method("StartWorkflowExecution")
    request = StartWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id="w")
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for _ in range(1_000):
            guard.check(m, request, NAMESPACE, GuardMode.ENFORCE)
        best = min(best, time.process_time() - begun)
    assert best / 1_000 < 50e-6


def operation(endpoint: str, given: Payload) -> RespondWorkflowTaskCompletedRequest:
    attributes = ScheduleNexusOperationCommandAttributes(endpoint=endpoint, input=given)
    return RespondWorkflowTaskCompletedRequest(
        commands=[Command(schedule_nexus_operation_command_attributes=attributes)]
    )


def system_request(payload: Payload, more: bytes = b"") -> Payload:
    request = SignalWithStartWorkflowExecutionRequest(
        workflow_id="other", signal_input=Payloads(payloads=[payload])
    )
    name = request.DESCRIPTOR.full_name.encode()
    return Payload(
        metadata={"encoding": b"binary/protobuf", "messageType": name},
        data=request.SerializeToString() + more,
    )


def test_requests_to_operations_of_the_service_are_looked_into(guard: PlaintextGuard) -> None:
    """The service has to read them, so SDKs encrypt what is in them."""
    m = method("RespondWorkflowTaskCompleted")
    assert refused(guard, m, operation("__temporal_system", system_request(ENCRYPTED))) is None
    refusal = refused(guard, m, operation("__temporal_system", system_request(PLAIN)))
    assert refusal is not None
    assert "input.signal_input.payloads" in str(refusal)
    # What is not known of a request can't be looked into, and no other endpoint needs to read any.
    unknown_field = b"\xfa\x7d\x06secret"
    assert refused(guard, m, operation("__temporal_system", system_request(ENCRYPTED, unknown_field)))
    assert refused(guard, m, operation("__temporal_system", PLAIN))
    assert refused(guard, m, operation("endpoint", system_request(ENCRYPTED)))
    assert refused(guard, m, operation("endpoint", ENCRYPTED)) is None
