from __future__ import annotations

import pytest
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from temporalio.api.command.v1 import (
    Command,
    RecordMarkerCommandAttributes,
    ScheduleNexusOperationCommandAttributes,
)
from temporalio.api.common.v1 import DataBlob, Header, Memo, Payload, Payloads
from temporalio.api.enums.v1 import EncodingType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import (
    History,
    HistoryEvent,
    NexusOperationCompletedEventAttributes,
    NexusOperationScheduledEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update.v1 import Acceptance, Outcome, Request, Response
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondNexusTaskFailedRequest,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
)

from cloud.engine.core import nexus_commands
from cloud.gateway import opaque
from cloud.gateway import readable as guarded
from cloud.gateway.method_table import METHOD_TABLE
from cloud.gateway.payload_walk import PayloadWalkers
from cloud.rpc import Method
from codec import readable
from codec.descriptors import held_type, is_map
from codec.encryption import codec as encryption
from codec.places import Places
from codec.proxy import sentences
from codec.walk import Walkers
from tests.gateway.payload_paths import places as ways

METHODS = [row.method for row in METHOD_TABLE.values() if row.method]
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"secret"')


def walked(message: Message) -> Places:
    walk = Walkers().of(message.DESCRIPTOR)
    assert walk is not None
    return walk(message)


def paths(message: Message) -> list[str]:
    return [place.path for place in walked(message).payloads]


def change_all(message: Message) -> None:
    found = walked(message)
    for place in found.payloads:
        place.message.CopyFrom(Payload(data=b"changed"))
    found.repack()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_it_finds_what_the_guard_checks(method: Method) -> None:
    """The same fields of all requests of all methods: what one finds, the other finds."""
    request_type = method.request_type
    guard, here = PayloadWalkers().walk(request_type.DESCRIPTOR), Walkers().of(request_type.DESCRIPTOR)
    assert (guard is None) == (here is None)
    if guard is None or here is None:
        return
    for leaf in (Payload, Failure, NexusFailure):
        for path, make in ways(request_type, leaf.DESCRIPTOR.full_name):

            def fill(message: Message) -> None:
                if isinstance(message, Payload):
                    message.CopyFrom(PLAIN)
                else:
                    message.message = "secret"  # type: ignore[attr-defined]

            request = make(fill)
            checked = {finding.field.removesuffix(".message") for finding in guard(request)}
            found = here(request)
            assert {
                place.field
                for place in (*found.payloads, *found.failures, *(one for one, _ in found.nexus_failures))
                if place.field == path
            } == checked, path


def test_the_tables_of_both_sides_say_the_same() -> None:
    assert readable.READABLE_FIELDS.keys() == guarded.READABLE_FIELDS.keys()
    assert readable.MARKER_DETAILS == guarded.MARKER_DETAILS
    assert readable.MARKER_BYTES_MAX == guarded.MARKER_DETAILS_BYTES_MAX
    assert readable.SENTENCES == guarded.CHECKED_STRINGS
    assert readable.SYSTEM_ENDPOINT == guarded.SYSTEM_ENDPOINT == nexus_commands.SYSTEM_ENDPOINT
    assert readable.SYSTEM_REQUESTS == guarded.SYSTEM_REQUESTS
    assert readable.FAILURE == guarded.FAILURE == Failure.DESCRIPTOR.full_name
    assert readable.NEXUS_FAILURE == guarded.NEXUS_FAILURE == NexusFailure.DESCRIPTOR.full_name
    assert sentences.ENCODED == guarded.ENCODED_FAILURE
    assert encryption.CIPHERTEXT_BYTES_MIN == opaque.CIPHERTEXT_BYTES_MIN
    assert {encryption.ENCODING, encryption.SAMPLES_ENCODING} == opaque.CIPHERTEXT_ENCODINGS


def test_what_a_field_leads_to() -> None:
    fields = Memo.DESCRIPTOR.fields_by_name["fields"]
    assert is_map(fields)
    assert held_type(fields).full_name == Payload.DESCRIPTOR.full_name
    metadata = Payload.DESCRIPTOR.fields_by_name["metadata"]
    assert is_map(metadata)
    assert held_type(metadata) is None
    payloads = Payloads.DESCRIPTOR.fields_by_name["payloads"]
    assert not is_map(payloads)
    assert held_type(payloads).full_name == Payload.DESCRIPTOR.full_name
    assert held_type(Payload.DESCRIPTOR.fields_by_name["data"]) is None


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_every_payload_of_every_response(method: Method) -> None:
    response_type = method.response_type
    walk = Walkers().of(response_type.DESCRIPTOR)
    for path, make in ways(response_type, Payload.DESCRIPTOR.full_name):
        found = (
            [place.field for place in walk(make(lambda leaf: leaf.CopyFrom(PLAIN))).payloads] if walk else []
        )
        is_readable = "indexed_fields" in path or "compute_config" in path
        assert found == ([] if is_readable else [path]), path


def test_the_responses_that_we_know() -> None:
    known = {path for m in METHODS for path, _ in ways(m.response_type, Payload.DESCRIPTOR.full_name)}
    assert "history.events.workflow_execution_started_event_attributes.input.payloads" in known
    assert "queries.query_args.payloads" in known
    assert "request.start_operation.payload" in known


def test_messages_that_can_hold_nothing_have_no_walker() -> None:
    assert Walkers().of(PollWorkflowTaskQueueRequest.DESCRIPTOR) is None


def test_a_path_tells_index_and_key() -> None:
    request = StartWorkflowExecutionRequest(
        input=Payloads(payloads=[PLAIN, PLAIN]),
        memo=Memo(fields={"customer": PLAIN}),
        header=Header(fields={"k" * 100: PLAIN}),
    )
    assert sorted(paths(request)) == sorted(
        [
            "input.payloads[0]",
            "input.payloads[1]",
            'memo.fields["customer"]',
            f'header.fields["{"k" * 64}"]',
        ]
    )
    found = walked(request)
    assert {place.field for place in found.payloads} == {"input.payloads", "memo.fields", "header.fields"}
    assert "secret" not in repr(found.payloads)


def test_what_it_finds_can_be_changed_in_place() -> None:
    request = StartWorkflowExecutionRequest(
        input=Payloads(payloads=[PLAIN]), memo=Memo(fields={"customer": PLAIN})
    )
    request.search_attributes.indexed_fields["Color"].CopyFrom(PLAIN)
    change_all(request)
    assert request.input.payloads[0].data == b"changed"
    assert request.memo.fields["customer"].data == b"changed"
    assert request.search_attributes.indexed_fields["Color"] == PLAIN


def test_failures_with_their_causes() -> None:
    failure = Failure(
        message="outer",
        application_failure_info=ApplicationFailureInfo(details=Payloads(payloads=[PLAIN])),
        cause=Failure(message="inner", encoded_attributes=PLAIN),
    )
    request = RespondQueryTaskCompletedRequest(error_message="outer", failure=failure)
    found = walked(request)
    assert [place.path for place in found.failures] == ["failure", "failure.cause"]
    assert [place.path for place in found.sentences] == ["error_message"]
    assert {place.path for place in found.payloads} == {
        "failure.application_failure_info.details.payloads[0]",
        "failure.cause.encoded_attributes",
    }
    assert not walked(RespondQueryTaskCompletedRequest()).sentences


def test_protocol_messages_are_unpacked_and_packed_again() -> None:
    packed = AnyMessage()
    packed.Pack(Response(outcome=Outcome(success=Payloads(payloads=[PLAIN]))))
    accepted = AnyMessage()
    accepted.Pack(Acceptance(accepted_request=Request(input={"args": Payloads(payloads=[PLAIN])})))
    request = RespondWorkflowTaskCompletedRequest(
        messages=[ProtocolMessage(body=packed), ProtocolMessage(body=accepted), ProtocolMessage()]
    )
    assert paths(request) == [
        "messages[0].body.(Response).outcome.success.payloads[0]",
        "messages[1].body.(Acceptance).accepted_request.input.args.payloads[0]",
    ]
    change_all(request)
    response = Response()
    assert request.messages[0].body.Unpack(response)
    assert response.outcome.success.payloads[0].data == b"changed"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (AnyMessage(type_url="type.googleapis.com/acme.Secret", value=b"secret"), "not known"),
        (AnyMessage(type_url="type.googleapis.com/temporal.api.update.v1.Response", value=b"\xff"), "is no"),
    ],
)
def test_what_can_not_be_unpacked_is_told(body: AnyMessage, problem: str) -> None:
    found = walked(RespondWorkflowTaskCompletedRequest(messages=[ProtocolMessage(body=body)]))
    [(place, reason)] = found.opaque
    assert place.path == "messages[0].body"
    assert problem in reason
    assert "secret" not in reason


def test_raw_histories_are_decoded_and_encoded_again() -> None:
    history = History(
        events=[
            HistoryEvent(
                event_id=1,
                workflow_execution_started_event_attributes=WorkflowExecutionStartedEventAttributes(
                    input=Payloads(payloads=[PLAIN])
                ),
            )
        ]
    )
    blob = DataBlob(encoding_type=EncodingType.ENCODING_TYPE_PROTO3, data=history.SerializeToString())
    response = GetWorkflowExecutionHistoryResponse(raw_history=[blob])
    assert paths(response) == [
        "raw_history[0].data.events[0].workflow_execution_started_event_attributes.input.payloads[0]"
    ]
    change_all(response)
    [event] = History.FromString(response.raw_history[0].data).events
    assert event.workflow_execution_started_event_attributes.input.payloads[0].data == b"changed"


def test_a_raw_history_in_another_encoding_is_told() -> None:
    blob = DataBlob(encoding_type=EncodingType.ENCODING_TYPE_JSON, data=b"{}")
    [(place, _)] = walked(GetWorkflowExecutionHistoryResponse(raw_history=[blob])).opaque
    assert place.path == "raw_history[0]"


def system_input() -> Payload:
    request = SignalWithStartWorkflowExecutionRequest(
        workflow_id="w", input=Payloads(payloads=[PLAIN]), signal_input=Payloads(payloads=[PLAIN])
    )
    name = request.DESCRIPTOR.full_name.encode()
    return Payload(
        metadata={"encoding": b"binary/protobuf", "messageType": name}, data=request.SerializeToString()
    )


def test_requests_to_the_service_itself_keep_their_shape() -> None:
    attributes = ScheduleNexusOperationCommandAttributes(endpoint="__temporal_system", input=system_input())
    request = RespondWorkflowTaskCompletedRequest(
        commands=[Command(schedule_nexus_operation_command_attributes=attributes)]
    )
    way = "commands[0].schedule_nexus_operation_command_attributes.input"
    assert set(paths(request)) == {f"{way}.input.payloads[0]", f"{way}.signal_input.payloads[0]"}
    change_all(request)
    changed = request.commands[0].schedule_nexus_operation_command_attributes.input
    assert changed.metadata == attributes.input.metadata
    inner = SignalWithStartWorkflowExecutionRequest.FromString(changed.data)
    assert inner.workflow_id == "w"
    assert inner.signal_input.payloads[0].data == b"changed"


@pytest.mark.parametrize(
    "attributes",
    [
        ScheduleNexusOperationCommandAttributes(endpoint="other", input=system_input()),
        ScheduleNexusOperationCommandAttributes(endpoint="__temporal_system", input=PLAIN),
        ScheduleNexusOperationCommandAttributes(
            endpoint="__temporal_system",
            input=Payload(metadata=system_input().metadata, data=system_input().data + b"\xd2\x3e\x03abc"),
        ),
    ],
    ids=["another endpoint", "another message", "unknown fields"],
)
def test_any_other_input_of_an_operation_is_a_payload(
    attributes: ScheduleNexusOperationCommandAttributes,
) -> None:
    request = RespondWorkflowTaskCompletedRequest(
        commands=[Command(schedule_nexus_operation_command_attributes=attributes)]
    )
    assert paths(request) == ["commands[0].schedule_nexus_operation_command_attributes.input"]


def test_what_the_service_answers_itself_is_not_taken_for_a_users_payload() -> None:
    answer = SignalWithStartWorkflowExecutionResponse(run_id="r")
    metadata = {"encoding": b"binary/protobuf", "messageType": answer.DESCRIPTOR.full_name.encode()}
    scheduled = NexusOperationScheduledEventAttributes(endpoint="__temporal_system", input=system_input())
    completed = NexusOperationCompletedEventAttributes(
        result=Payload(metadata=metadata, data=answer.SerializeToString())
    )
    events = [
        HistoryEvent(nexus_operation_scheduled_event_attributes=scheduled),
        HistoryEvent(nexus_operation_completed_event_attributes=completed),
        HistoryEvent(
            nexus_operation_completed_event_attributes=NexusOperationCompletedEventAttributes(result=PLAIN)
        ),
    ]
    found = paths(PollWorkflowTaskQueueResponse(history=History(events=events)))
    assert len(found) == 3
    assert found[-1].startswith("history.events[2]")


def test_the_failure_in_a_nexus_failure() -> None:
    inner = Failure(application_failure_info=ApplicationFailureInfo(details=Payloads(payloads=[PLAIN])))
    failure = NexusFailure(
        message="secret",
        metadata={"type": Failure.DESCRIPTOR.full_name},
        details=json_format.MessageToJson(inner).encode(),
    )
    request = RespondNexusTaskFailedRequest()
    request.error.failure.CopyFrom(failure)
    found = walked(request)
    assert not found.failures
    [(place, details)] = found.nexus_failures
    assert place.path == "error.failure"
    assert details == inner
    assert [one.path for one in found.payloads] == [
        "error.failure.details.application_failure_info.details.payloads[0]"
    ]
    change_all(request)
    changed = json_format.Parse(request.error.failure.details, Failure())
    assert changed.application_failure_info.details.payloads[0].data == b"changed"


def test_a_nexus_failure_with_details_of_another_kind() -> None:
    request = RespondNexusTaskFailedRequest()
    request.error.failure.CopyFrom(NexusFailure(message="m", details=b'{"secret": 1}'))
    [(_, details)] = walked(request).nexus_failures
    assert details is None


def test_the_bookkeeping_of_the_core_is_left_alone() -> None:
    def marker(data: bytes) -> RespondWorkflowTaskCompletedRequest:
        attributes = RecordMarkerCommandAttributes(marker_name="core_patch")
        attributes.details["patch-data"].payloads.add(metadata={"encoding": b"json/plain"}, data=data)
        attributes.details["other"].payloads.add(metadata={"encoding": b"json/plain"}, data=data)
        return RespondWorkflowTaskCompletedRequest(
            commands=[Command(record_marker_command_attributes=attributes)]
        )

    way = "commands[0].record_marker_command_attributes.details"
    assert paths(marker(b'{"id": "p", "deprecated": false}')) == [f'{way}["other"].payloads[0]']
    assert len(paths(marker(b'{"id": "p", "secret": 1}'))) == 2
