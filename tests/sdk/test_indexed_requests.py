"""Requests that workflows give to the service's own Nexus endpoint: their search attributes are blinded, each kind's."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

from codec import FixedKeys, KeyRing
from codec.blind_index import BlindIndex, IndexedMessages
from codec.readable import SYSTEM_REQUESTS
from sdk.indexed import _IndexedInstance

INDEX = BlindIndex(FixedKeys(KeyRing.create("orders.acme", key_id="k1")), ["CustomerId"])


class Instance:
    """A workflow that gives one operation of the service `input`."""

    def __init__(self, given: Payload) -> None:
        self.given = given

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        completion = WorkflowActivationCompletion()
        completion.successful.commands.add().schedule_nexus_operation.input.CopyFrom(self.given)
        return completion


def sent(given: Payload) -> Payload:
    instance: Any = Instance(given)
    completion = _IndexedInstance(instance, IndexedMessages(INDEX)).activate(WorkflowActivation())
    payload: Payload = completion.successful.commands[0].schedule_nexus_operation.input
    return payload


@pytest.mark.parametrize("name", sorted(SYSTEM_REQUESTS))
def test_what_is_packed_in_them_is_blinded(name: str) -> None:
    request_type = GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
    request: Any = request_type()
    request.search_attributes.indexed_fields["CustomerId"].CopyFrom(
        Payload(metadata={"encoding": b"json/plain", "type": b"Keyword"}, data=b'"customer-1"')
    )
    given = Payload(
        metadata={"encoding": b"binary/protobuf", "messageType": name.encode()},
        data=request.SerializeToString(),
    )
    payload = sent(given)
    assert b"customer-1" not in payload.data
    blinded: Any = request_type.FromString(payload.data)
    IndexedMessages(INDEX).reveal(blinded)
    assert blinded == request


def test_anything_else_stays() -> None:
    other = Payload(metadata={"encoding": b"binary/protobuf", "messageType": b"acme.Order"}, data=b"\xff")
    assert sent(other) == other
    assert sent(Payload(data=b"x")) == Payload(data=b"x")
