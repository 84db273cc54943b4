"""Random requests of every method: one readable payload among ciphertext is always found, ciphertext alone never refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.update.v1 import Acceptance, Rejection, Request, Response

from cloud.gateway.guard import PlaintextGuard
from cloud.gateway.opaque import SAMPLES_ENCRYPTED, TACIT_ENCRYPTED
from cloud.gateway.payload_walk import PayloadWalkers
from cloud.gateway.readable import CHECKED_STRINGS, READABLE_FIELDS
from tests.gateway.test_guard import METHODS, refused

DEPTH_MAX = 7
SECRET = "a secret of somebody's"
_PACKED = (Acceptance, Rejection, Request, Response)
Spot = Callable[[], None]
"""Makes one place of the request readable."""


@pytest.fixture(scope="module")
def guard() -> PlaintextGuard:
    return PlaintextGuard(METHODS)


class Maker:
    """Fills a message at random with ciphertext, and remembers each place where plaintext could stand."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.spots: list[Spot] = []
        self._repack: list[Callable[[], None]] = []

    def fill(self, message: Any, depth: int = 0) -> None:
        descriptor = message.DESCRIPTOR
        if descriptor.full_name == Payload.DESCRIPTOR.full_name:
            message.CopyFrom(self._opaque())
            self.spots.append(lambda: message.CopyFrom(self._readable()))
            return
        if descriptor.full_name == AnyMessage.DESCRIPTOR.full_name:
            self._pack(message, depth)
            return
        chosen = {one.name: self._random.choice(one.fields).name for one in descriptor.oneofs}
        for field in descriptor.fields:
            oneof = field.containing_oneof
            if oneof is not None and chosen[oneof.name] != field.name:
                continue
            if field.name in CHECKED_STRINGS.get(descriptor.full_name, ()):
                self._string(message, field.name)
            elif field.message_type is None or _is_left_out(descriptor, field):
                continue
            elif depth < DEPTH_MAX and self._random.random() < 0.75:
                self._message(message, field, depth)

    def spoil(self) -> bool:
        """Make one place readable; False if there is none."""
        if not self.spots:
            return False
        self._random.choice(self.spots)()
        for repack in reversed(self._repack):
            repack()
        return True

    def _message(self, message: Any, field: Any, depth: int) -> None:
        value = getattr(message, field.name)
        if field.message_type.GetOptions().map_entry:
            held = field.message_type.fields_by_name["value"]
            if held.message_type is not None and field.message_type.fields_by_name["key"].type == 9:
                for number in range(self._random.randint(0, 2)):
                    self.fill(value[f"key {number}"], depth + 1)
        elif field.is_repeated:
            for _ in range(self._random.randint(0, 2)):
                self.fill(value.add(), depth + 1)
        else:
            value.SetInParent()
            self.fill(value, depth + 1)

    def _string(self, message: Any, name: str) -> None:
        setattr(message, name, self._random.choice(("", "Encoded failure", "Timed out")))
        self.spots.append(lambda: setattr(message, name, SECRET))

    def _pack(self, message: AnyMessage, depth: int) -> None:
        inner: Message = self._random.choice(_PACKED)()
        self.fill(inner, depth + 1)
        message.Pack(inner)
        self._repack.append(lambda: message.Pack(inner))

    def _opaque(self) -> Payload:
        kind = self._random.randrange(5)
        data = self._random.randbytes(self._random.randint(28, 90))
        key = {"encryption-key-id": b"k1"}
        if kind == 0:
            return Payload(
                metadata={"encoding": SAMPLES_ENCRYPTED, **key, "encryption-dek": b"d" * 40}, data=data
            )
        if kind == 1:
            return Payload(metadata={"encoding": b"binary/null"})
        if kind == 2:
            kind_of = b"temporal.api.sdk.v1.ExternalStorageReference"
            claim = b'{"driverName": "d", "claimData": {"key": "k"}}'
            return Payload(metadata={"encoding": b"json/protobuf", "messageType": kind_of}, data=claim)
        return Payload(metadata={"encoding": TACIT_ENCRYPTED, **key}, data=data)

    def _readable(self) -> Payload:
        encoding = self._random.choice(
            (
                b"json/plain",
                b"binary/plain",
                b"json/protobuf",
                b"binary/zstd",
                b"binary/null",
                b"",
                b"binary/encrypte",
            )
        )
        return Payload(metadata={"encoding": encoding} if encoding else {}, data=SECRET.encode())


def _is_left_out(descriptor: Any, field: Any) -> bool:
    """What is readable by design, and the kind of a Nexus failure's details, which has tests of its own."""
    if (descriptor.full_name, field.name) in READABLE_FIELDS:
        return True
    return bool(descriptor.full_name == NexusFailure.DESCRIPTOR.full_name and field.name == "metadata")


def requests(seed: int) -> Iterator[tuple[Any, Any, Maker]]:
    for method in METHODS:
        maker = Maker(seed)
        request = method.request_type()
        maker.fill(request)
        yield method, request, maker


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_ciphertext_passes_and_plaintext_among_it_is_found(guard: PlaintextGuard, seed: int) -> None:
    for method, request, maker in requests(seed):
        assert refused(guard, method, request) is None, method.name
        copy = request.SerializeToString()
        if maker.spoil():
            refusal = refused(guard, method, request)
            assert refusal is not None, method.name
            assert SECRET not in refusal.message
            # As it comes by a wire, too.
            assert refused(guard, method, method.request_type.FromString(request.SerializeToString()))
            assert refused(guard, method, method.request_type.FromString(copy)) is None


def test_the_maker_reaches_what_the_protocol_has() -> None:
    reached = {method.name for seed in range(60) for method, _, maker in requests(seed) if maker.spots}
    walkers = PayloadWalkers()
    assert reached == {m.name for m in METHODS if walkers.walk(m.request_type.DESCRIPTOR) is not None}
    assert {"StartActivityExecution", "StartNexusOperationExecution", "StartBatchOperation"} <= reached
