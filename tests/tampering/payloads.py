"""Encrypted payloads, tampered with by whoever keeps them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    NexusSerializationContext,
    PayloadCodec,
    SerializationContext,
    WorkflowSerializationContext,
)

from codec import ChainCodec, CompressionCodec, EncryptionCodec, EnvelopeKeys, KeyRing, WriteFormat
from codec.encryption.owner import owner_of
from codec.encryption.samples_format import ENCODING as SAMPLES_ENCODING
from codec.encryption.tacit_format import ENCODING, KEY_ID_FIELD, OWNER_FIELD, WRAPPED_KEY_FIELD
from tests.codec.key_services import MemoryKeyService
from tests.tampering import kind, refused, run

BINDING = "orders.acme"
# k1 is disabled, k2 destroyed, k3 decrypts only, k4 is active.
RING = (
    KeyRing.create(BINDING, key_id="k1")
    .rotated(key_id="k2")
    .rotated(key_id="k3")
    .rotated(key_id="k4")
    .disabled("k1")
    .disabled("k2")
    .destroyed("k2")
)
OTHER_RING = KeyRing.create("billing.acme", key_id="b1")
SAME_KEYS_OTHER_BINDING = KeyRing(binding="billing.acme", keys=RING.keys)
SAME_ID_OTHER_KEY = KeyRing.create(BINDING, key_id="k4")
ENVELOPE = EnvelopeKeys(MemoryKeyService(), binding=BINDING)

IDS = st.one_of(
    st.sampled_from(["order-7", "order-8", "order-7-", "7", "Order-7"]), st.text(min_size=1, max_size=30)
)
PAYLOADS = st.builds(
    lambda metadata, data, times: Payload(metadata=metadata, data=data * times),
    st.dictionaries(st.sampled_from(["encoding", "messageType", "x"]), st.binary(max_size=20), max_size=3),
    st.binary(max_size=60),
    st.sampled_from([1, 1, 1, 10, 3000]),
)


def in_workflow(workflow_id: str) -> WorkflowSerializationContext:
    """A workflow of the namespace."""
    return WorkflowSerializationContext(namespace=BINDING, workflow_id=workflow_id)


HOME = in_workflow("order-7")

OPTIONS = st.fixed_dictionaries({"bind_workflow": st.booleans(), "padding": st.booleans()})


def _codec(ring: KeyRing | EnvelopeKeys = RING, *, compressed: bool = False, **options: bool) -> ChainCodec:
    encryption = EncryptionCodec(ring, refuse_plaintext=True, **options)  # type: ignore[arg-type]
    return ChainCodec(CompressionCodec(), encryption) if compressed else ChainCodec(encryption)


READER = _codec(compressed=True).with_context(HOME)
STRICT = _codec(compressed=True, bind_workflow=True, refuse_unbound=True).with_context(HOME)


def _sealed(data: st.DataObject, ring: KeyRing | EnvelopeKeys = RING) -> Payload:
    """A payload of ours in any of our formats."""
    codec: PayloadCodec
    if data.draw(st.booleans(), label="samples' format"):
        codec = EncryptionCodec(ring, write_format=WriteFormat.SAMPLES)
    else:
        codec = _codec(ring, compressed=data.draw(st.booleans()), **data.draw(OPTIONS)).with_context(HOME)
    return run(codec.encode([data.draw(PAYLOADS)]))[0]


def _with(payload: Payload, data: bytes) -> Payload:
    return Payload(metadata=payload.metadata, data=data)


@kind("flipped bits", weight=25)
def flipped_bits(data: st.DataObject) -> None:
    """One bit to three, anywhere in the data."""
    sealed = _sealed(data)
    changed = bytearray(sealed.data)
    for at in data.draw(st.sets(st.integers(0, len(changed) * 8 - 1), min_size=1, max_size=3)):
        changed[at // 8] ^= 1 << at % 8
    refused(READER, [_with(sealed, bytes(changed))])


@kind("cut, lengthened and joined", weight=15)
def cut_and_joined(data: st.DataObject) -> None:
    """Parts of one payload or two."""
    first, second = _sealed(data), _sealed(data)
    whole, other = first.data, second.data
    at, to = data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(other)))
    candidates = [whole[:at], whole[at:], whole + other[to:], other[:to] + whole, whole[:at] + other[to:]]
    changed = data.draw(st.sampled_from(candidates))
    if changed in (whole, other):
        changed += b"\0"
    refused(READER, [_with(first, changed)])


@kind("exchanged between workflows", weight=15)
def between_workflows(data: st.DataObject) -> None:
    """Bound payloads read where they were not written for."""
    contexts = st.one_of(
        IDS.map(in_workflow),
        IDS.map(lambda name: _in_activity(name, None)),
        IDS.map(lambda name: _in_activity(None, name)),
        IDS.map(lambda name: NexusSerializationContext("endpoint", "service", name)),
    )
    writer, reader = data.draw(contexts), data.draw(contexts)
    if _may_move(writer, reader):
        return
    codec = _codec(bind_workflow=True, padding=data.draw(st.booleans()))
    sealed = run(codec.with_context(writer).encode([data.draw(PAYLOADS)]))
    refused(_codec(bind_workflow=data.draw(st.booleans())).with_context(reader), sealed)


def _in_activity(workflow_id: str | None, activity_id: str | None) -> ActivitySerializationContext:
    return ActivitySerializationContext(
        namespace=BINDING,
        workflow_id=workflow_id,
        activity_id=activity_id,
        activity_type=None,
        activity_task_queue=None,
        workflow_type=None,
        is_local=False,
    )


def _may_move(writer: SerializationContext, reader: SerializationContext) -> bool:
    """What moves.py allows, said once more."""
    one, other = owner_of(writer), owner_of(reader)
    assert one is not None
    assert other is not None
    return one == other or (str(one).startswith("workflow") and str(other).startswith("nexus"))


@kind("put in another namespace", weight=10)
def between_namespaces(data: st.DataObject) -> None:
    """Read by a ring of another binding, of other keys, or of another key under the same id. The samples' format has no binding."""
    ring = data.draw(st.sampled_from([OTHER_RING, SAME_KEYS_OTHER_BINDING, SAME_ID_OTHER_KEY]))
    codec = _codec(compressed=data.draw(st.booleans()), **data.draw(OPTIONS)).with_context(HOME)
    sealed = run(codec.encode([data.draw(PAYLOADS)]))
    if data.draw(st.booleans()):
        sealed[0].metadata[KEY_ID_FIELD] = ring.active.id.encode()
    refused(_codec(ring, compressed=True).with_context(HOME), sealed)


@kind("under another key's id", weight=10)
def other_key_id(data: st.DataObject) -> None:
    """An older key, a disabled, a destroyed or an unknown one, or none at all."""
    sealed = _sealed(data)
    ids = st.one_of(
        st.sampled_from([b"k1", b"k2", b"k3", b"k5", b"", b"K4", b"k4 "]), st.binary(max_size=600)
    )
    other = data.draw(ids)
    if other == sealed.metadata[KEY_ID_FIELD]:
        return
    sealed.metadata[KEY_ID_FIELD] = other
    if data.draw(st.integers(0, 9)) == 0:
        del sealed.metadata[KEY_ID_FIELD]
    refused(READER, [sealed])


@kind("of keys that are gone", weight=3)
def gone_keys(data: st.DataObject) -> None:
    """Written when a key was active, read when it is disabled or destroyed."""
    before = KeyRing.create(BINDING, key_id="old")
    sealed = _sealed(data, before)
    after = before.rotated().disabled("old")
    refused(
        _codec(after.destroyed("old") if data.draw(st.booleans()) else after).with_context(HOME), [sealed]
    )


@kind("of another version", weight=8)
def other_version(data: st.DataObject) -> None:
    """The version byte and the flags."""
    codec = _codec(**data.draw(OPTIONS)).with_context(HOME)
    [sealed] = run(codec.encode([data.draw(PAYLOADS)]))
    whole = sealed.data
    version = data.draw(st.integers(0, 255))
    flags = data.draw(st.integers(0, 255))
    body = whole[1:] if whole[0] == 1 else whole[2:]
    changed = bytes([version]) + (bytes([flags]) if data.draw(st.booleans()) else b"") + body
    if changed == whole:
        return
    refused(READER, [_with(sealed, changed)])


@kind("metadata altered", weight=15)
def metadata_altered(data: st.DataObject) -> None:
    """Encoding, owner and wrapped key: exchanged, added or taken away."""
    sealed = _sealed(data)
    metadata = dict(sealed.metadata)
    bound = OWNER_FIELD in metadata
    choices = ["encoding", "wrapped key"] + (["owner", "no owner"] if bound else [])
    match data.draw(st.sampled_from(choices)):
        case "encoding":
            other = data.draw(
                st.one_of(
                    st.sampled_from(
                        [
                            ENCODING,
                            SAMPLES_ENCODING,
                            b"binary/zstd",
                            b"binary/zlib",
                            b"json/plain",
                            b"binary/null",
                            b"",
                        ]
                    ),
                    st.binary(max_size=30),
                )
            )
            if other == metadata["encoding"]:
                return
            metadata["encoding"] = other
        case "owner":
            other = data.draw(
                st.one_of(IDS.map(lambda name: b"workflow:" + name.encode()), st.binary(max_size=50))
            )
            if other == metadata[OWNER_FIELD]:
                return
            metadata[OWNER_FIELD] = other
        case "no owner":
            del metadata[OWNER_FIELD]
        case _:
            metadata[WRAPPED_KEY_FIELD] = data.draw(st.binary(max_size=80))
    readers = [READER, _codec(compressed=True)]
    refused(data.draw(st.sampled_from(readers)), [Payload(metadata=metadata, data=sealed.data)])


@kind("unbound or readable where neither is accepted", weight=5)
def downgraded(data: st.DataObject) -> None:
    """What a strict reader must not take: payloads of the service's own making, and old ones."""
    payload = data.draw(PAYLOADS)
    writers: Sequence[PayloadCodec] = [
        ChainCodec(),
        ChainCodec(CompressionCodec()),
        EncryptionCodec(RING),
        EncryptionCodec(RING, padding=True),
        EncryptionCodec(RING, write_format=WriteFormat.SAMPLES),
        EncryptionCodec(RING, bind_workflow=True),
    ]
    refused(STRICT, run(data.draw(st.sampled_from(writers)).encode([payload])))


@kind("wrapped key altered", weight=8)
def wrapped_key_altered(data: st.DataObject) -> None:
    """Envelope encryption: the data key that travels with a payload."""
    sealed = _sealed(data, ENVELOPE)
    wrapped = sealed.metadata[WRAPPED_KEY_FIELD]
    raw = base64.b64decode(wrapped)
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    flipped = bytearray(raw)
    flipped[at // 8] ^= 1 << at % 8
    cut = data.draw(st.integers(0, len(wrapped) - 1))
    other = data.draw(
        st.one_of(
            st.sampled_from([base64.b64encode(bytes(flipped)), wrapped[:cut], b""]), st.binary(max_size=100)
        )
    )
    if other == wrapped:
        return
    sealed.metadata[WRAPPED_KEY_FIELD] = other
    refused(_codec(ENVELOPE, compressed=True).with_context(HOME), [sealed])


@kind("garbage", weight=8)
def garbage(data: st.DataObject) -> None:
    """Anything under our encodings."""
    names = st.sampled_from([KEY_ID_FIELD, OWNER_FIELD, WRAPPED_KEY_FIELD, "x"])
    values = st.one_of(st.sampled_from([b"k4", b"k3", b"workflow:order-7"]), st.binary(max_size=60))
    metadata = data.draw(st.dictionaries(names, values, max_size=4))
    metadata["encoding"] = data.draw(st.sampled_from([ENCODING, SAMPLES_ENCODING]))
    content = data.draw(
        st.one_of(st.binary(max_size=120), st.binary(max_size=60).map(lambda tail: b"\x01" + tail))
    )
    refused(READER, [Payload(metadata=metadata, data=content)])


@kind("one of many", weight=3)
def one_of_many(data: st.DataObject) -> None:
    """A good list with one that is not: the whole call is an error, nothing of it is handed on."""
    payloads = [_sealed(data) for _ in range(data.draw(st.integers(2, 4)))]
    at = data.draw(st.integers(0, len(payloads) - 1))
    changed = bytearray(payloads[at].data)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 0xFF
    payloads[at] = _with(payloads[at], bytes(changed))
    refused(READER, payloads)
