"""The compression codec: smaller or untouched, and no bomb goes off."""

from __future__ import annotations

import asyncio
import os
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from codec import ChainCodec, CompressionCodec, EncryptionCodec, InvalidPayload, KeyRing, is_encrypted
from codec.compression import ENCODING, THREAD_THRESHOLD_BYTES

WORDS = b"all work and no play makes jack a dull boy. "


@given(st.binary(max_size=400), st.integers(1, 50))
def test_round_trip_and_never_larger(part: bytes, times: int) -> None:
    original = Payload(metadata={"encoding": b"binary/plain"}, data=part * times)
    codec = CompressionCodec()
    [encoded] = asyncio.run(codec.encode([original]))
    assert encoded.ByteSize() <= original.ByteSize()
    assert asyncio.run(codec.decode([encoded])) == [original]


@pytest.mark.parametrize("size", [THREAD_THRESHOLD_BYTES // 2, THREAD_THRESHOLD_BYTES * 3])
async def test_text_shrinks(size: int) -> None:
    original = Payload(metadata={"encoding": b"json/plain"}, data=WORDS * (size // len(WORDS)))
    [encoded] = await CompressionCodec().encode([original])
    assert dict(encoded.metadata) == {"encoding": b"binary/zstd"}
    assert encoded.ByteSize() < size / 10
    assert await CompressionCodec().decode([encoded]) == [original]


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(Payload(), id="empty"),
        pytest.param(Payload(data=b"a" * 50), id="small"),
        pytest.param(Payload(data=os.urandom(10_000)), id="random"),
        pytest.param(Payload(metadata={"encoding": b"binary/encrypted"}, data=b"a" * 1000), id="encrypted"),
        pytest.param(Payload(metadata={"encoding": ENCODING}, data=b"a" * 1000), id="compressed"),
    ],
)
async def test_what_gains_nothing_stays(payload: Payload) -> None:
    [encoded] = await CompressionCodec().encode([payload])
    assert encoded is payload


async def test_what_could_not_be_read_back_is_not_compressed() -> None:
    payload = Payload(data=b"a" * 1001)
    [encoded] = await CompressionCodec(expansion_max_bytes=1000).encode([payload])
    assert encoded is payload


def frame(content: bytes) -> Payload:
    return Payload(metadata={"encoding": ENCODING}, data=zstandard.compress(content))


async def test_bomb_is_refused_before_it_takes_memory() -> None:
    bomb = frame(bytes(200 * 1024 * 1024))
    assert len(bomb.data) < 30_000
    tracemalloc.start()
    with pytest.raises(InvalidPayload, match="would expand to 209715200 bytes"):
        await CompressionCodec().decode([bomb])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


async def test_frame_that_lies_about_its_size_is_refused() -> None:
    honest = zstandard.compress(
        b"a" * 200
    )  # its size takes one byte, after the magic number and the descriptor
    assert honest[5] == 200
    for claimed in (1, 100, 199, 201, 255):
        lying = honest[:5] + bytes([claimed]) + honest[6:]
        with pytest.raises(InvalidPayload, match="damaged"):
            await CompressionCodec().decode([Payload(metadata={"encoding": ENCODING}, data=lying)])


async def test_frame_without_a_size_is_refused() -> None:
    data = zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 1000)
    with pytest.raises(InvalidPayload, match="does not say how large"):
        await CompressionCodec().decode([Payload(metadata={"encoding": ENCODING}, data=data)])


async def test_second_frame_is_refused() -> None:
    data = zstandard.compress(Payload(data=b"a").SerializeToString())
    for extra in (data, b"\0"):
        with pytest.raises(InvalidPayload, match="damaged"):
            await CompressionCodec().decode([Payload(metadata={"encoding": ENCODING}, data=data + extra)])


@given(st.binary(max_size=100))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidPayload):
        asyncio.run(CompressionCodec().decode([Payload(metadata={"encoding": ENCODING}, data=data)]))


async def test_every_cut_is_refused() -> None:
    whole = frame(Payload(data=WORDS * 20).SerializeToString()).data
    for length in range(len(whole)):
        with pytest.raises(InvalidPayload):
            await CompressionCodec().decode([Payload(metadata={"encoding": ENCODING}, data=whole[:length])])


async def test_other_encodings_pass() -> None:
    payload = Payload(metadata={"encoding": b"binary/zlib"}, data=b"x")
    assert await CompressionCodec().decode([payload]) == [payload]


async def test_many_at_once() -> None:
    codec = CompressionCodec()
    originals = [Payload(data=WORDS * 10_000 + str(index).encode()) for index in range(12)]
    encoded = await asyncio.gather(*(codec.encode([payload]) for payload in originals))
    decoded = await asyncio.gather(*(codec.decode(payload) for payload in encoded))
    assert [payload for [payload] in decoded] == originals


async def test_chain_compresses_first_and_encrypts_last() -> None:
    ring = KeyRing.create("a")
    chain = ChainCodec(CompressionCodec(), EncryptionCodec(ring))
    original = Payload(metadata={"encoding": b"json/plain"}, data=WORDS * 1000)
    [encoded] = await chain.encode([original])
    assert is_encrypted(encoded)
    assert encoded.ByteSize() < original.ByteSize() / 10
    [inner] = await EncryptionCodec(ring).decode([encoded])
    assert inner.metadata["encoding"] == ENCODING
    assert await chain.decode([encoded]) == [original]
