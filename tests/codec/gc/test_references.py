"""What messages point to: found wherever it stands, and an error where it is not understood."""

from __future__ import annotations

import hashlib
import json

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Memo, Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.nexus.v1 import UnsuccessfulOperationError
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryResponse,
)
from temporalio.converter import JSONProtoPayloadConverter

from codec import DestroyedKey, EncryptionCodec, KeyRing, MissingKey
from codec.storage.driver import DRIVER_NAME
from codec.storage.gc_references import References, UnknownReference, hashes_in
from codec.storage.references import Reference
from codec.storage.sdk_references import MARKER

SHA256 = hashlib.sha256(b"content").hexdigest()
CLAIM = Reference("orders.acme", None, SHA256, 7).claim()


def reference(*, driver: str = DRIVER_NAME, claim: dict[str, str] | None = None) -> Payload:
    message = ExternalStorageReference(driver_name=driver, claim_data=CLAIM if claim is None else claim)
    payload = JSONProtoPayloadConverter().to_payload(message)
    assert payload is not None
    return payload


def event(payload: Payload) -> HistoryEvent:
    event = HistoryEvent()
    event.activity_task_completed_event_attributes.result.payloads.append(payload)
    return event


def history(payload: Payload) -> GetWorkflowExecutionHistoryResponse:
    return GetWorkflowExecutionHistoryResponse(history=History(events=[event(payload)]))


def described(payload: Payload) -> DescribeWorkflowExecutionResponse:
    response = DescribeWorkflowExecutionResponse()
    pending = response.pending_activities.add()
    pending.heartbeat_details.payloads.append(payload)
    pending.last_failure.cause.application_failure_info.details.payloads.append(payload)
    return response


async def found(message: object, **more: object) -> set[str]:
    references = References(**more)  # type: ignore[arg-type]
    await references.add(message, of="Workflow 'w'")
    return references.met


async def test_wherever_it_stands() -> None:
    packed = Payloads(payloads=[reference()]).SerializeToString()
    nexus = NexusFailure(message="m", metadata={"type": "temporal.api.failure.v1.Failure"})
    inner = Failure(message="m", encoded_attributes=reference())
    nexus.details = json_format.MessageToJson(inner).encode()
    for message in (
        history(reference()),
        described(reference()),
        Memo(fields={"a": reference()}),
        # As the service's own scheduler keeps results: protos in a payload, or a claim as protos have it.
        history(Payload(metadata={"encoding": b"binary/protobuf"}, data=packed)),
        history(
            Payload(data=ExternalStorageReference(driver_name="x", claim_data=CLAIM).SerializeToString())
        ),
        UnsuccessfulOperationError(operation_state="failed", failure=nexus),
    ):
        assert SHA256 in await found(message), message


async def test_old_form_of_references() -> None:
    document = {"driver_name": DRIVER_NAME, "driver_claim": {"claim_data": CLAIM}}
    old = Payload(
        metadata={"encoding": b"json/external-storage-reference"}, data=json.dumps(document).encode()
    )
    assert await found(history(old)) == {SHA256}


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_hashes_are_found_between_anything_but_hex(before: bytes, after: bytes) -> None:
    whole = before.rstrip(b"0123456789abcdef") + SHA256.encode() + after.lstrip(b"0123456789abcdef")
    assert SHA256 in hashes_in(whole)


@pytest.mark.parametrize("claim", [{}, {"version": "9", "sha256": SHA256}, {"bucket": "b", "key": "k"}])
async def test_what_is_not_understood_stops_it(claim: dict[str, str]) -> None:
    unknown = reference(driver="aws.s3driver", claim=claim)
    with pytest.raises(
        UnknownReference, match=r"^Workflow 'w' has a reference of the storage driver 'aws\.s3driver'"
    ):
        await found(history(unknown))
    await found(history(unknown), other_drivers=["aws.s3driver"])


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"driverName": 3}', b'{"claimData": {"a": 1}}', b"[" * 5000]
)
async def test_malformed_reference_stops_it(data: bytes) -> None:
    malformed = reference()
    malformed.data = data
    with pytest.raises(UnknownReference, match="malformed"):
        await found(history(malformed))


class TestWithKeys:
    ring = KeyRing.create("orders.acme", key_id="k1")
    codec = EncryptionCodec(ring)
    uri = f"tacit-file:v1:orders.acme:{'0' * 32}"

    async def opened(self, payload: Payload) -> Payload:
        [plain] = await self.codec.decode([payload])
        return plain

    async def test_files_are_found_in_what_is_encrypted(self) -> None:
        [sealed] = await self.codec.encode([Payload(data=json.dumps({"film": {"uri": self.uri}}).encode())])
        assert await found(history(sealed)) == set()
        assert await found(history(sealed), opened=self.opened) == {self.uri}

    async def test_encrypted_references_need_keys(self) -> None:
        [sealed] = await self.codec.encode([reference()])
        sealed.metadata[MARKER] = b"true"
        sealed.external_payloads.add(size_bytes=7)
        with pytest.raises(UnknownReference, match="is encrypted; run with --files"):
            await found(history(sealed))
        assert SHA256 in await found(history(sealed), opened=self.opened)

    async def test_missing_key_stops_it_and_a_destroyed_one_does_not(self) -> None:
        async def missing(_: Payload) -> Payload:
            raise MissingKey("k2", ring="ring.json")

        async def destroyed(_: Payload) -> Payload:
            raise DestroyedKey("k2", ring="ring.json", when="2026-11-26")

        with pytest.raises(UnknownReference, match=r"'k2', which is not in ring\.json"):
            await found(history(Payload(data=b"x")), opened=missing)
        references = References(opened=destroyed)
        await references.add(history(Payload(data=b"x")), of="w")
        assert references.unreadable == 1
