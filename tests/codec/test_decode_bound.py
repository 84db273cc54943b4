"""The bound of all payloads of one decode together: in a codec's call, a driver's, and a whole message of the proxy."""

from __future__ import annotations

import asyncio
import resource
import tracemalloc
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore
from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryResponse,
    PollWorkflowTaskQueueResponse,
)
from temporalio.converter import StorageDriverRetrieveContext, StorageDriverStoreContext

from codec import (
    DECODE_BYTES_MAX,
    CompressionCodec,
    DecodeBoundReached,
    InvalidPayload,
    ObjectStoreDriver,
    OpenStore,
)
from codec.compression import ENCODING, ZLIB_ENCODING
from codec.decode_bound import decode_bound, one_message
from codec.parsing import FIELDS_MAX, LOOK_FROM_BYTES, has_many_fields, payload_of
from codec.proxy import messages
from codec.proxy.offload import Offload
from codec.proxy.payloads import SLICE, PayloadChain
from codec.walk import Walkers

KIB = 1024
MIB = 1024 * 1024
WALKERS = Walkers()


def compressed(size: int, encoding: bytes = ENCODING) -> Payload:
    """A payload that becomes `size` bytes."""
    empty = Payload(data=bytes(size)).ByteSize() - size
    plain = Payload(data=bytes(size - empty)).SerializeToString()
    assert len(plain) == size
    data = zstandard.compress(plain) if encoding == ENCODING else zlib.compress(plain)
    return Payload(metadata={"encoding": encoding}, data=data)


def history(payloads: Sequence[Payload]) -> GetWorkflowExecutionHistoryResponse:
    """A page of history with each payload in an event of its own."""
    page = GetWorkflowExecutionHistoryResponse()
    for payload in payloads:
        event = page.history.events.add()
        event.activity_task_completed_event_attributes.result.payloads.append(payload)
    return page


async def decoded(message: object, chain: PayloadChain) -> None:
    walk = WALKERS.of(message.DESCRIPTOR)  # type: ignore[attr-defined]
    assert walk is not None
    await messages.decode(walk(message), chain)


@pytest.mark.parametrize("encoding", [ENCODING, ZLIB_ENCODING])
async def test_the_sum_of_one_call_is_bounded_exactly(encoding: bytes) -> None:
    codec = CompressionCodec(decode_bytes_max=10 * KIB)
    payloads = [compressed(KIB, encoding) for _ in range(10)]
    assert len(await codec.decode(payloads)) == 10
    with pytest.raises(DecodeBoundReached, match="decode-bytes-max"):
        await codec.decode([*payloads, compressed(200, encoding)])
    # Each call is one decode.
    assert len(await codec.decode(payloads)) == 10


async def test_a_bound_of_one_payload_is_still_its_own_error() -> None:
    codec = CompressionCodec(expansion_max_bytes=KIB, decode_bytes_max=10 * KIB)
    for encoding in (ENCODING, ZLIB_ENCODING):
        with pytest.raises(InvalidPayload, match="expand to"):
            await codec.decode([compressed(2 * KIB, encoding)])


@pytest.mark.parametrize("encoding", [ENCODING, ZLIB_ENCODING])
async def test_many_small_bombs_take_no_memory(encoding: bytes) -> None:
    bomb = compressed(60 * MIB, encoding)
    page = history([bomb] * 12)
    assert page.ByteSize() < MIB
    tracemalloc.start()
    try:
        with pytest.raises(DecodeBoundReached):
            await decoded(
                page, PayloadChain(CompressionCodec(), None, encrypts=False, decode_bytes_max=8 * MIB)
            )
        assert tracemalloc.get_traced_memory()[1] < 20 * MIB
    finally:
        tracemalloc.stop()
    assert all(bomb.data in event.SerializeToString() for event in page.history.events)


async def test_a_message_has_one_bound_over_all_slices_and_owners() -> None:
    count = SLICE * 3
    chain = PayloadChain(CompressionCodec(), None, encrypts=False, decode_bytes_max=count * KIB)
    await decoded(history([compressed(KIB)] * count), chain)
    with pytest.raises(DecodeBoundReached):
        await decoded(history([compressed(KIB)] * (count + 1)), chain)


async def test_fetched_and_decompressed_bytes_count_together() -> None:
    driver = ObjectStoreDriver(OpenStore(MemoryStore(), "memory"), namespace="orders.acme")
    offload = Offload(driver, threshold_bytes=1, namespace="orders.acme")
    stored = [compressed(4 * KIB) for _ in range(8)]
    size = sum(payload.ByteSize() for payload in stored)
    references = await offload.store(stored)
    exact = size + 8 * 4 * KIB
    for bytes_max in (exact, exact - 1, size - 1):
        chain = PayloadChain(CompressionCodec(), offload, encrypts=False, decode_bytes_max=bytes_max)
        if bytes_max == exact:
            await decoded(history(references), chain)
            continue
        with pytest.raises(DecodeBoundReached):
            await decoded(history(references), chain)


async def test_a_driver_fetches_nothing_of_what_is_too_much() -> None:
    store = MemoryStore()
    writing = ObjectStoreDriver(OpenStore(store, "memory"), namespace="orders.acme")
    payloads = [Payload(data=bytes([number]) * KIB) for number in range(4)]
    claims = await writing.store(StorageDriverStoreContext(), payloads)
    size = sum(payload.ByteSize() for payload in payloads)
    for bytes_max in (size, size - 1):
        reading = ObjectStoreDriver(
            OpenStore(store, "memory"), namespace="orders.acme", decode_bytes_max=bytes_max
        )
        if bytes_max == size:
            assert await reading.retrieve(StorageDriverRetrieveContext(), claims) == payloads
            # Whoever reads one after the other has the bound anew.
            assert await reading.retrieve(StorageDriverRetrieveContext(), claims) == payloads
            continue
        store.delete([str(meta["path"]) for batch in store.list() for meta in batch])
        with pytest.raises(DecodeBoundReached):
            await reading.retrieve(StorageDriverRetrieveContext(), claims)


async def test_a_large_history_passes_by_default() -> None:
    """A page with as much as an SDK takes in one message, all of it offloaded and hardly compressible."""
    bound = decode_bound(DECODE_BYTES_MAX)
    for _ in range(4):
        bound.take(31 * MIB)
        bound.take(32 * MIB)
    with pytest.raises(DecodeBoundReached):
        bound.take(5 * MIB)


async def test_messages_at_one_time_have_bounds_of_their_own() -> None:
    chain = PayloadChain(CompressionCodec(), None, encrypts=False, decode_bytes_max=SLICE * 2 * KIB)
    pages = [history([compressed(KIB)] * SLICE * 2) for _ in range(4)]
    await asyncio.gather(*(decoded(page, chain) for page in pages))
    with one_message(KIB), one_message(MIB):
        assert decode_bound(MIB).left == KIB
    assert decode_bound(MIB).left == MIB


async def test_a_task_that_is_too_large_is_an_error_of_the_task() -> None:
    """The sidecar fails such a task: it is an error of the codec as others are, and lasts until somebody acts."""
    from cloud.sidecar.refusals import lasts

    task = PollWorkflowTaskQueueResponse(task_token=b"t", history=history([compressed(KIB)] * 9).history)
    chain = PayloadChain(CompressionCodec(), None, encrypts=False, decode_bytes_max=8 * KIB)
    with pytest.raises(DecodeBoundReached) as reached:
        await decoded(task, chain)
    assert lasts(reached.value)


class TestFields:
    """Empty fields become 16 times as much memory as they have bytes."""

    @pytest.mark.parametrize("encoding", [ENCODING, ZLIB_ENCODING])
    @pytest.mark.parametrize("count", [FIELDS_MAX + 1, LOOK_FROM_BYTES, MIB])
    async def test_more_than_payloads_have_are_refused(self, count: int, encoding: bytes) -> None:
        plain = b"\x1a\x00" * count
        data = zstandard.compress(plain) if encoding == ENCODING else zlib.compress(plain)
        with pytest.raises(InvalidPayload, match="fields"):
            await CompressionCodec().decode([Payload(metadata={"encoding": encoding}, data=data)])

    def test_before_memory_is_taken(self) -> None:
        before = _resident_bytes()
        with pytest.raises(InvalidPayload, match="fields"):
            payload_of(b"\x1a\x00" * (16 * MIB))
        assert _resident_bytes() - before < 128 * MIB

    @pytest.mark.parametrize(
        "field", [b"\x7b\x7c", b"\x7a\x00", b"\x78\x01", b"\x79" + bytes(8), b"\x7d" + bytes(4)]
    )
    def test_of_whatever_kind(self, field: bytes) -> None:
        with pytest.raises(InvalidPayload, match="fields"):
            payload_of(field * LOOK_FROM_BYTES)

    @given(st.binary(max_size=200), st.integers(0, 2))
    def test_what_is_no_payload_is_an_error_as_before(self, content: bytes, times: int) -> None:
        plain = content + bytes(LOOK_FROM_BYTES * times)
        try:
            expected = Payload.FromString(plain)
        except DecodeError:
            with pytest.raises((DecodeError, InvalidPayload)):
                payload_of(plain)
            return
        try:
            assert payload_of(memoryview(plain)) == expected
        except InvalidPayload:
            assert times
            assert b"\x7b" in plain or has_many_fields(expected) or len(UnknownFieldSet(expected))

    async def test_what_has_as_many_is_read_again(self) -> None:
        for count in (FIELDS_MAX - 1, FIELDS_MAX, FIELDS_MAX + 1):
            payload = Payload(
                metadata={f"name-{number}": b"value" * 20 for number in range(count)}, data=bytes(MIB)
            )
            [encoded] = await CompressionCodec().encode([payload])
            assert (encoded is payload) == (count > FIELDS_MAX)
            assert await CompressionCodec().decode([encoded]) == [payload]


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
