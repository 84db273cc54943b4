"""Compressed payloads that are bombs, or lie: by a sender that has the key, or where nothing is encrypted."""

from __future__ import annotations

import zlib

import zstandard
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryResponse

from codec import ChainCodec, CompressionCodec, EncryptionCodec
from codec.compression import ENCODING, ZLIB_ENCODING
from codec.proxy import messages
from codec.proxy.payloads import PayloadChain
from codec.walk import Walkers
from tests.tampering import errs, kind, refused, run
from tests.tampering.payloads import RING

BOUND_BYTES = 100_000
ENCRYPTION = EncryptionCodec(RING)
COMPRESSION = CompressionCodec(expansion_max_bytes=BOUND_BYTES, decode_bytes_max=BOUND_BYTES * 4)
READER = ChainCodec(COMPRESSION, ENCRYPTION)

SIZES = st.one_of(st.integers(BOUND_BYTES + 1, BOUND_BYTES * 2), st.sampled_from([2**21, 2**24]))
_found = Walkers().of(GetWorkflowExecutionHistoryResponse.DESCRIPTOR)
assert _found is not None
_WALK = _found
_KEPT: dict[tuple[bytes, int], bytes] = {}


def _refused(data: st.DataObject, encoding: bytes, content: bytes) -> None:
    payload = Payload(metadata={"encoding": encoding}, data=content)
    if data.draw(st.booleans(), label="encrypted"):
        refused(READER, run(ENCRYPTION.encode([payload])))
    else:
        refused(COMPRESSION, [payload])


def _compressed(encoding: bytes, plain: bytes) -> bytes:
    return zstandard.compress(plain) if encoding == ENCODING else zlib.compress(plain)


def _bomb(encoding: bytes, size: int) -> bytes:
    known = _KEPT.get((encoding, size))
    if known is None:
        known = _compressed(encoding, bytes(size))
        if size >= 2**21:
            _KEPT[encoding, size] = known
    return known


@kind("decompression bombs", weight=6)
def bombs(data: st.DataObject) -> None:
    """Too large when decompressed."""
    encoding = data.draw(st.sampled_from([ENCODING, ZLIB_ENCODING]))
    _refused(data, encoding, _bomb(encoding, data.draw(SIZES)))


@kind("many small bombs in one message", weight=6)
def many_bombs(data: st.DataObject) -> None:
    """Each within the bound of one payload, and too large together; over several calls of one message too."""
    sizes = data.draw(st.lists(st.integers(BOUND_BYTES // 4, BOUND_BYTES // 2), min_size=17, max_size=40))
    encodings = [data.draw(st.sampled_from([ENCODING, ZLIB_ENCODING])) for _ in sizes]
    payloads = [
        Payload(
            metadata={"encoding": encoding},
            # A valid payload, so that nothing but its size is wrong.
            data=_compressed(encoding, Payload(data=bytes(size)).SerializeToString()),
        )
        for encoding, size in zip(encodings, sizes, strict=True)
    ]
    codec = COMPRESSION
    chain = PayloadChain(codec, None, encrypts=False, decode_bytes_max=BOUND_BYTES * 4)
    if data.draw(st.booleans(), label="encrypted"):
        payloads = run(ENCRYPTION.encode(payloads))
        chain = PayloadChain(READER, None, encrypts=True, decode_bytes_max=BOUND_BYTES * 4)
        codec = READER
    if data.draw(st.booleans(), label="by the proxy"):
        fields = GetWorkflowExecutionHistoryResponse()
        for payload in payloads:
            marker = fields.history.events.add().marker_recorded_event_attributes
            marker.details["d"].payloads.append(payload)
        errs(lambda: run(messages.decode(_WALK(fields), chain)))
    else:
        refused(codec, payloads)


@kind("zstd frames that lie", weight=6)
def lying_frames(data: st.DataObject) -> None:
    """Headers of every form over whatever: sizes, windows and dictionaries that are not so."""
    content_size = data.draw(st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)))
    single = data.draw(st.booleans())
    size_code = data.draw(st.integers(0, 3))
    size_bytes = (1 if single else 0, 2, 4, 8)[size_code]
    dict_code = data.draw(st.integers(0, 3))
    descriptor = size_code << 6 | single << 5 | data.draw(st.integers(0, 1)) << 2 | dict_code
    header = bytes([descriptor])
    if not single:
        header += bytes([data.draw(st.integers(0, 255))])
    header += data.draw(st.binary(min_size=(0, 1, 2, 4)[dict_code], max_size=(0, 1, 2, 4)[dict_code]))
    header += (content_size % 256**size_bytes).to_bytes(size_bytes, "little")
    # Blocks of no valid payload, so that a frame that is in order is an error as well.
    body = data.draw(
        st.one_of(st.binary(max_size=100), st.just((5 << 3 | 1).to_bytes(3, "little") + b"\xff" * 5))
    )
    _refused(data, ENCODING, zstandard.FRAME_HEADER + header + body)


@kind("several frames, and frames to be skipped", weight=4)
def several_frames(data: st.DataObject) -> None:
    """One frame is a payload; more are not."""
    good = zstandard.compress(
        Payload(data=data.draw(st.binary(max_size=200)) * 3 or b"x").SerializeToString()
    )
    # No part of a frame: with what follows it could be a whole one, of another content, and nothing here authenticates.
    parts = st.sampled_from([good, b"\x50\x2a\x4d\x18\x02\0\0\0ab", zstandard.compress(b""), b"\0"])
    _refused(data, ENCODING, b"".join(data.draw(st.lists(parts, min_size=2, max_size=50))))


@kind("zlib streams that are cut or lengthened", weight=3)
def zlib_streams(data: st.DataObject) -> None:
    """The Go SDK's format."""
    good = zlib.compress(Payload(data=data.draw(st.binary(max_size=200)) * 3 or b"x").SerializeToString())
    cut = good[: data.draw(st.integers(0, len(good) - 1))]
    longer = good + data.draw(st.binary(min_size=1, max_size=50))
    _refused(data, ZLIB_ENCODING, data.draw(st.sampled_from([cut, longer])))
