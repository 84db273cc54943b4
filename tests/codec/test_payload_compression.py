"""The compression codec: smaller or untouched, and no bomb goes off."""

from __future__ import annotations

import asyncio
import os
import time
import tracemalloc
import zlib
from collections.abc import Awaitable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from codec import ChainCodec, CompressionCodec, EncryptionCodec, InvalidPayload, KeyRing, is_encrypted
from codec.compression import COMPRESS_TURN_BYTES, ENCODING, ZLIB_ENCODING, ZLIB_TURN_BYTES
from codec.turns import BLOCKED_MAX_SECONDS

SLACK = 2
"""Tests may run on a core of half the speed, beside others."""
WORDS = b"all work and no play makes jack a dull boy. "


@given(st.binary(max_size=400), st.integers(1, 50))
def test_round_trip_and_never_larger(part: bytes, times: int) -> None:
    original = Payload(metadata={"encoding": b"binary/plain"}, data=part * times)
    codec = CompressionCodec()
    [encoded] = asyncio.run(codec.encode([original]))
    assert encoded.ByteSize() <= original.ByteSize()
    assert asyncio.run(codec.decode([encoded])) == [original]


@pytest.mark.parametrize("size", [COMPRESS_TURN_BYTES // 2, COMPRESS_TURN_BYTES * 3])
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
    payload = Payload(metadata={"encoding": b"binary/snappy"}, data=b"x")
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


SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


class TestHostileFrames:
    """Frames that zstandard itself might take."""

    GOOD = zstandard.compress(Payload(data=WORDS * 20).SerializeToString())

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(SKIPPABLE, id="to be skipped"),
            pytest.param(SKIPPABLE + GOOD, id="to be skipped, and a frame"),
            pytest.param(GOOD + SKIPPABLE, id="a frame, and one to be skipped"),
            pytest.param(SKIPPABLE * 10_000, id="many to be skipped"),
            pytest.param(GOOD * 10_000, id="many"),
            pytest.param(zstandard.compress(b"") * 10_000, id="many of nothing"),
            pytest.param(b"\x28\xb5\x2f\xfd\xc0\xff" + b"\xff" * 8, id="a window and size of all ones"),
        ],
    )
    async def test_are_refused(self, data: bytes) -> None:
        with pytest.raises(InvalidPayload):
            await CompressionCodec().decode([Payload(metadata={"encoding": ENCODING}, data=data)])

    async def test_dictionary(self) -> None:
        content = Payload(data=WORDS * 20).SerializeToString()
        dictionary = zstandard.train_dictionary(2048, [os.urandom(40) * 3 + WORDS for _ in range(200)])
        data = zstandard.ZstdCompressor(dict_data=dictionary).compress(content)
        assert zstandard.get_frame_parameters(data).dict_id
        with pytest.raises(InvalidPayload, match="dictionary"):
            await CompressionCodec().decode([Payload(metadata={"encoding": ENCODING}, data=data)])

    @pytest.mark.parametrize("window_log", [27, 31])
    async def test_window(self, window_log: int) -> None:
        """A window descriptor with little content: whoever streams such a frame takes the whole window's memory."""
        header = b"\x28\xb5\x2f\xfd" + bytes((0x80, (window_log - 10) << 3)) + (200).to_bytes(4, "little")
        block = (200 << 3 | 1).to_bytes(3, "little") + b"a" * 200
        with pytest.raises(InvalidPayload, match=f"window of {1 << window_log} bytes"):
            await CompressionCodec().decode([Payload(metadata={"encoding": ENCODING}, data=header + block)])

    async def test_windows_of_others_are_read(self) -> None:
        """What a writer at the highest level makes."""
        content = Payload(data=os.urandom(1000) * 9000)
        parameters = zstandard.ZstdCompressionParameters.from_level(22, window_log=24, write_content_size=1)
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
        data = compressor.compress(content.SerializeToString())
        assert await CompressionCodec().decode([Payload(metadata={"encoding": ENCODING}, data=data)]) == [
            content
        ]


class TestZlib:
    """What the Go SDK's NewZlibCodec writes."""

    ORIGINAL = Payload(metadata={"encoding": b"json/plain"}, data=WORDS * 30)

    def written(self, content: bytes) -> Payload:
        return Payload(metadata={"encoding": ZLIB_ENCODING}, data=zlib.compress(content))

    @pytest.mark.parametrize("times", [1, 1000, ZLIB_TURN_BYTES // len(WORDS) * 4])
    async def test_is_read(self, times: int) -> None:
        original = Payload(data=WORDS * times)
        sealed = self.written(original.SerializeToString())
        assert await CompressionCodec().decode([sealed] * 3) == [original] * 3

    async def test_is_left_alone_on_encode(self) -> None:
        sealed = self.written(self.ORIGINAL.SerializeToString())
        assert await CompressionCodec().encode([sealed]) == [sealed]

    async def test_bomb(self) -> None:
        bomb = self.written(bytes(200 * 1024 * 1024))
        tracemalloc.start()
        with pytest.raises(InvalidPayload, match="expand to more than 1000000 bytes"):
            await CompressionCodec(expansion_max_bytes=1_000_000).decode([bomb])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10_000_000

    @pytest.mark.parametrize(
        "expansion_max_bytes", [1000, ZLIB_TURN_BYTES - 1, ZLIB_TURN_BYTES, ZLIB_TURN_BYTES + 1]
    )
    async def test_the_bound_is_exact(self, expansion_max_bytes: int) -> None:
        codec = CompressionCodec(expansion_max_bytes=expansion_max_bytes)
        head = Payload(data=bytes(900)).SerializeToString()
        for size in (expansion_max_bytes, expansion_max_bytes + 1, expansion_max_bytes * 20):
            # An unknown field of many zeros fills it up to the size.
            filler = size - len(head) - 6
            sealed = self.written(
                head + b"\x9a\x06" + (filler | 0x80808000).to_bytes(4, "little") + bytes(filler)
            )
            fault = ""
            try:
                await codec.decode([sealed])
            except InvalidPayload as error:
                fault = str(error)
            assert ("expand to more" in fault) == (size > expansion_max_bytes)

    async def test_damaged(self) -> None:
        whole = self.written(self.ORIGINAL.SerializeToString()).data
        damaged = [whole[:length] for length in range(len(whole))]
        damaged += [whole + b"\0", whole + whole, zlib.compress(b"\xff" * 10), b"\0" * 1000]
        for data in damaged:
            with pytest.raises(InvalidPayload):
                await CompressionCodec().decode([Payload(metadata={"encoding": ZLIB_ENCODING}, data=data)])


class TestEventLoop:
    """Nothing else waits for a codec."""

    # What zstd compresses slowest of what people write: digits.
    SLOW = " ".join(str(number * 2654435761 % 2**32) for number in range(1_000_000)).encode()

    async def longest_gap(self, *calls: Awaitable[object]) -> float:
        """The longest time in which nothing but `calls` had a turn, in seconds of this process's work."""
        gaps = []

        async def tick() -> None:
            while True:
                before = time.thread_time()
                await asyncio.sleep(0)
                gaps.append(time.thread_time() - before)

        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0.01)
        gaps.clear()
        for call in calls:
            await call
        ticking.cancel()
        return max(gaps)

    @pytest.mark.parametrize(
        "sizes",
        [
            pytest.param([8 * 1024 * 1024], id="one large"),
            pytest.param([COMPRESS_TURN_BYTES - 100] * 40, id="many just below the bound"),
            pytest.param([4000] * 2000, id="many small"),
        ],
    )
    @pytest.mark.parametrize("kind", [CompressionCodec, EncryptionCodec])
    async def test_is_held_up_no_longer_than_it_may(self, sizes: list[int], kind: type[PayloadCodec]) -> None:
        codec = CompressionCodec() if kind is CompressionCodec else EncryptionCodec(KeyRing.create("a"))
        payloads = [Payload(data=self.SLOW[:size]) for size in sizes]
        encoded = await codec.encode(payloads)
        bound = BLOCKED_MAX_SECONDS * SLACK
        for _ in range(3):
            gap = await self.longest_gap(codec.encode(payloads), codec.decode(encoded))
            if gap < bound:
                return
            # A machine that is busy with other things is asked again.
        assert gap < bound
