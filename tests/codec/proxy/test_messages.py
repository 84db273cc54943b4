"""Every message of every method through a chain and back, found by descriptors; and what must not leave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from temporalio.api.command.v1 import Command, RecordMarkerCommandAttributes
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.errordetails.v1 import QueryFailedFailure
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryResponse,
    RespondNexusTaskFailedRequest,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)
from temporalio.converter import DefaultFailureConverterWithEncodedAttributes, DefaultPayloadConverter
from temporalio.exceptions import ApplicationError

from cloud.gateway.method_table import METHOD_TABLE
from cloud.rpc import Method
from codec import (
    ChainCodec,
    CompressionCodec,
    EncryptionCodec,
    KeyRing,
    MissingKey,
    PlaintextRefused,
    is_encrypted,
)
from codec.proxy import messages
from codec.proxy.messages import Batch
from codec.proxy.payloads import PayloadChain, is_sealed
from codec.walk import Walkers
from tests.gateway.payload_paths import places as ways

WALKERS = Walkers()
METHODS = [row.method for row in METHOD_TABLE.values() if row.method]
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"secret words"')
RING = KeyRing.create("default")
CLAIM = {"encoding": b"json/protobuf", "messageType": b"temporal.api.sdk.v1.ExternalStorageReference"}
OLD_CLAIM = {"encoding": b"json/external-storage-reference"}


def chain_of(ring: KeyRing = RING, *, encrypts: bool = True) -> PayloadChain:
    return PayloadChain(ChainCodec(CompressionCodec(), EncryptionCodec(ring)), None, encrypts=encrypts)


CHAIN = chain_of()


async def encode(message: Message, chain: PayloadChain = CHAIN) -> int:
    walk = WALKERS.of(message.DESCRIPTOR)
    assert walk is not None
    return await messages.encode(walk(message), chain)


async def decode(message: Message, chain: PayloadChain = CHAIN) -> Batch:
    walk = WALKERS.of(message.DESCRIPTOR)
    assert walk is not None
    return await messages.decode(walk(message), chain)


def copied(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def samples(kind: type[Message]) -> Iterator[tuple[str, Message]]:
    def fill(leaf: Any) -> None:
        if isinstance(leaf, Payload):
            leaf.CopyFrom(PLAIN)
        else:
            leaf.message = "secret words"
            leaf.stack_trace = "secret trace"

    for leaf in (Payload, Failure, NexusFailure):
        for path, make in ways(kind, leaf.DESCRIPTOR.full_name):
            if "indexed_fields" not in path and "compute_config" not in path:
                yield path, make(fill)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
async def test_every_request_and_response_is_encoded_and_decoded(method: Method) -> None:
    for kind in (method.request_type, method.response_type):
        for path, message in samples(kind):
            original = copied(message)
            await encode(message)
            assert b"secret" not in message.SerializeToString(), path
            again = copied(message)
            await encode(again)  # it is encoded already, so nothing changes
            assert again == message, path
            await decode(message)
            assert _cleared(message) == _cleared(original), path


def _cleared(message: Any) -> Any:
    """Without the details of Nexus failures: one without a Failure in it has one once it was encoded, which says the same."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            if field.message_type is not None and field.message_type.fields_by_name["value"].message_type:
                for one in value.values():
                    _cleared(one)
            continue
        for one in value if field.is_repeated else [value]:
            if isinstance(one, NexusFailure):
                one.ClearField("details")
                one.ClearField("metadata")
            _cleared(one)
    return message


async def test_what_a_worker_has_encrypted_itself_goes_as_it_is() -> None:
    [sealed] = await EncryptionCodec(KeyRing.create("other")).encode([PLAIN])
    request = StartWorkflowExecutionRequest(input=Payloads(payloads=[sealed, PLAIN]))
    await encode(request)
    assert request.input.payloads[0] == sealed
    assert is_sealed(request.input.payloads[1])


async def test_a_label_alone_is_no_encryption() -> None:
    labelled = Payload(metadata={"encoding": b"binary/tacit-encrypted"}, data=b"short")
    request = StartWorkflowExecutionRequest(input=Payloads(payloads=[labelled]))
    await encode(request)
    assert is_sealed(request.input.payloads[0])


@pytest.mark.parametrize(
    ("metadata", "data"),
    [
        (CLAIM, b"secret words, whatever the label says"),
        (CLAIM, b'{"driverName": "d", "claimData": {"a": "b"}, "more": "secret words"}'),
        (CLAIM, b'{"driverName": "d", "claimData": {"a": "' + b"secret " * 2_000 + b'"}}'),
        (CLAIM, b'{"claimData": {"a": "secret"}}'),
        (OLD_CLAIM, b"secret words"),
        (OLD_CLAIM, b'{"driver_name": "d", "driver_claim": {"claim_data": {}}, "more": "secret words"}'),
        (OLD_CLAIM, b'{"driver_name": "d", "driver_claim": {"claim_data": {}, "more": "secret words"}}'),
    ],
)
async def test_a_label_alone_is_no_reference(metadata: dict[str, bytes], data: bytes) -> None:
    labelled = Payload(metadata=metadata, data=data)
    request = StartWorkflowExecutionRequest(input=Payloads(payloads=[labelled]))
    await encode(request)
    assert b"secret" not in request.SerializeToString()
    assert is_encrypted(request.input.payloads[0])
    assert (await CHAIN.decode(list(request.input.payloads))) == [labelled]


@pytest.mark.parametrize(
    ("metadata", "data"),
    [
        (CLAIM, b'{"driverName": "d", "claimData": {"a": "b"}}'),
        (OLD_CLAIM, b'{"driver_name": "d", "driver_claim": {"claim_data": {"a": "b"}}}'),
    ],
)
async def test_a_workers_own_reference_goes_as_it_is(metadata: dict[str, bytes], data: bytes) -> None:
    reference = Payload(metadata=metadata, data=data)
    request = StartWorkflowExecutionRequest(input=Payloads(payloads=[reference]))
    await encode(request)
    assert list(request.input.payloads) == [reference]


async def test_a_codec_that_does_nothing_is_found_out() -> None:
    request = StartWorkflowExecutionRequest(input=Payloads(payloads=[PLAIN]))
    with pytest.raises(PlaintextRefused, match=r"input\.payloads\[0\]") as refused:
        await encode(request, PayloadChain(ChainCodec(), None, encrypts=True))
    assert "secret" not in str(refused.value)


async def test_what_can_not_be_looked_into_does_not_leave() -> None:
    request = RespondWorkflowTaskCompletedRequest(messages=[ProtocolMessage()])
    request.messages[0].body.type_url = "type.googleapis.com/acme.Secret"
    with pytest.raises(PlaintextRefused, match=r"messages\[0\]\.body"):
        await encode(request)


async def test_without_encryption_sentences_stay() -> None:
    request = RespondQueryTaskCompletedRequest(error_message="words", failure=Failure(message="words"))
    await encode(request, PayloadChain(CompressionCodec(), None, encrypts=False))
    assert request.failure.message == "words"


async def test_failures_are_written_as_the_sdk_writes_them() -> None:
    """What the SDK's own converter makes of a failure is what is made here, and the other way round."""
    error = ApplicationError("secret words", "detail", type="Kind")
    by_sdk, here = Failure(), Failure()
    converter = DefaultPayloadConverter()
    DefaultFailureConverterWithEncodedAttributes().to_failure(error, converter, by_sdk)
    here.message = "secret words"
    here.application_failure_info.type = "Kind"
    here.application_failure_info.details.CopyFrom(converter.to_payloads_wrapper(["detail"]))
    request = RespondQueryTaskCompletedRequest(failure=here)
    await encode(request)
    await messages.decode_some(WALKERS.of(request.DESCRIPTOR)(request).payloads, CHAIN)  # type: ignore[misc]
    assert json.loads(request.failure.encoded_attributes.data) == json.loads(by_sdk.encoded_attributes.data)
    request.failure.encoded_attributes.Clear()
    by_sdk.encoded_attributes.Clear()
    assert request.failure == by_sdk


async def test_an_old_sdks_query_failure_has_a_sentence_alone() -> None:
    request = RespondQueryTaskCompletedRequest(error_message="secret words")
    await encode(request)
    assert request.error_message == "Encoded failure"
    assert request.failure.message == "Encoded failure"
    await decode(request)
    assert request.error_message == "secret words"


async def test_a_query_that_failed_tells_why_in_its_status() -> None:
    answer = RespondQueryTaskCompletedRequest(
        error_message="secret words", failure=Failure(message="secret words")
    )
    await encode(answer)
    status = Status(code=3, message=answer.error_message)
    status.details.add().Pack(QueryFailedFailure(failure=answer.failure))
    details, sentence = await messages.decode_status(
        status.SerializeToString(), answer.error_message, CHAIN, WALKERS
    )
    assert sentence == "secret words"
    told = QueryFailedFailure()
    Status.FromString(details).details[0].Unpack(told)
    assert told.failure.message == "secret words"
    assert await messages.decode_status(b"\xff", "as it is", CHAIN, WALKERS) == (b"\xff", "as it is")


async def test_a_foreign_nexus_failure_becomes_one_of_temporals() -> None:
    request = RespondNexusTaskFailedRequest()
    request.error.failure.CopyFrom(
        NexusFailure(message="secret words", metadata={"kind": "secret kind"}, details=b'{"secret": 1}')
    )
    await encode(request)
    assert b"secret" not in request.SerializeToString()
    await decode(request)
    assert request.error.failure.message == "secret words"
    inner = json_format.Parse(request.error.failure.details, Failure())
    assert inner.application_failure_info.type == "NexusFailure"
    [kept] = inner.application_failure_info.details.payloads
    assert json.loads(kept.data) == {
        "message": "",
        "metadata": {"kind": "secret kind"},
        "details": {"secret": 1},
    }


async def test_a_batch_tells_its_keys_and_its_size() -> None:
    request = StartWorkflowExecutionRequest(input=Payloads(payloads=[PLAIN] * 200))
    assert await encode(request) == 200
    assert await decode(request) == Batch(payloads=200, key_ids=frozenset({RING.active.id}))
    assert request.input.payloads[199] == PLAIN


async def test_what_can_not_be_decoded_leaves_the_message_as_it_was() -> None:
    request = StartWorkflowExecutionRequest(input=Payloads(payloads=[PLAIN, PLAIN]))
    await encode(request)
    request.input.payloads[1].metadata["encryption-key-id"] = b"gone"
    before = copied(request)
    with pytest.raises(MissingKey):
        await decode(request)
    assert request == before


async def test_markers_keep_the_cores_bookkeeping() -> None:
    attributes = RecordMarkerCommandAttributes(marker_name="core_patch")
    attributes.details["patch-data"].payloads.add(
        metadata={"encoding": b"json/plain"}, data=b'{"id": "p", "deprecated": false}'
    )
    request = RespondWorkflowTaskCompletedRequest(
        commands=[Command(record_marker_command_attributes=attributes)]
    )
    before = copied(request)
    await encode(request)
    assert request == before


async def test_raw_histories_are_decoded() -> None:
    response = GetWorkflowExecutionHistoryResponse()
    event = response.history.events.add()
    event.workflow_execution_started_event_attributes.input.payloads.add().CopyFrom(PLAIN)
    failed = response.history.events.add().workflow_execution_failed_event_attributes.failure
    failed.CopyFrom(
        Failure(message="secret words", application_failure_info=ApplicationFailureInfo(type="T"))
    )
    plain = copied(response.history)
    await encode(response)
    raw = GetWorkflowExecutionHistoryResponse()
    raw.raw_history.add(encoding_type="ENCODING_TYPE_PROTO3", data=response.history.SerializeToString())
    await decode(raw)
    assert type(plain).FromString(raw.raw_history[0].data) == plain
