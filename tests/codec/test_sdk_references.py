"""One idea of what a reference is: the audit, the sidecar, the collection, the codec server and the service's guard compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.converter import ExternalStorage, _extstore

import codec
from cloud.gateway import opaque
from codec.audit.payloads import Kind, judge, payloads_in
from codec.proxy.offload import Offload
from codec.proxy.payloads import PayloadChain, is_sealed
from codec.storage import sdk_references as references
from codec.storage.gc_references import may_be_reference

NEW = {"encoding": references.ENCODING, "messageType": references.MESSAGE_TYPE}
OLD = {"encoding": references.OLD_ENCODING}
WHOLE = b'{"driverName": "d", "claimData": {"key": "k"}}'
WHOLE_OLD = b'{"driver_name": "d", "driver_claim": {"claim_data": {"key": "k"}}}'
PLAIN = b"the customer's name, as somebody wrote it under this label"
LARGE = Payload(metadata={"encoding": b"binary/plain"}, data=bytes(9_000))

CASES = {
    "new": (NEW, WHOLE, True),
    "new, without a claim": (NEW, b'{"driverName": "d"}', True),
    "old": (OLD, WHOLE_OLD, True),
    "new, plaintext": (NEW, PLAIN, False),
    "old, plaintext": (OLD, PLAIN, False),
    "new, a word as JSON": (NEW, b'"secret"', False),
    "new, an unknown field": (NEW, b'{"driverName": "d", "note": "secret"}', False),
    "old, an unknown field": (OLD, WHOLE_OLD[:-1] + b', "note": "secret"}', False),
    "new, named as the old one": (NEW, b'{"driver_name": "d"}', False),
    "old, named as the new one": (OLD, WHOLE, False),
    "another encoding": ({**NEW, "encoding": b"json/plain"}, WHOLE, False),
    "another message": ({**NEW, "messageType": b"acme.Order"}, WHOLE, False),
    "too large": (NEW, b'{"driverName": "d", "claimData": {"key": "%s"}}' % (b"k" * 9_000), False),
    "deeply nested": (NEW, b"[" * 8_000, False),
    "nothing": (NEW, b"{}", False),
}


@pytest.mark.parametrize(("metadata", "data", "is_one"), CASES.values(), ids=CASES.keys())
def test_all_agree_on_what_a_reference_is(metadata: dict[str, bytes], data: bytes, is_one: bool) -> None:
    payload = Payload(metadata=metadata, data=data)
    assert references.is_reference(payload) is is_one
    assert is_sealed(payload) is is_one
    assert (judge(metadata, data)[0] is Kind.REFERENCE) is is_one
    [found] = payloads_in(payload.SerializeToString())
    assert found.kind is (Kind.REFERENCE if is_one else Kind.PLAINTEXT)
    assert (opaque.payload_problem(payload) is None) is is_one
    if is_one:
        assert references.read(payload) is not None
        assert may_be_reference(payload)


def test_the_collection_keeps_what_only_looks_like_a_reference() -> None:
    for metadata, data, _ in CASES.values():
        if metadata.get("messageType") == references.MESSAGE_TYPE or metadata == OLD:
            assert may_be_reference(Payload(metadata=metadata, data=data))


@given(
    st.sampled_from([NEW, OLD]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["driverName", "claimData", "driver_name", "driver_claim", "claim_data", "x"]
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    ),
)
def test_the_guard_lets_pass_what_passes_here(metadata: dict[str, bytes], document: object) -> None:
    payload = Payload(metadata=metadata, data=json.dumps(document).encode())
    if references.is_reference(payload):
        assert opaque.payload_problem(payload) is None
        assert references.read(payload) is not None


def test_the_names_of_both_sides_and_of_the_sdk() -> None:
    assert references.ENCODING == opaque.REFERENCE_ENCODING
    assert references.MESSAGE_TYPE == opaque.REFERENCE_MESSAGE_TYPE == _extstore._REFERENCE_MESSAGE_TYPE
    assert references.OLD_ENCODING == opaque.REFERENCE_ENCODING_OLD == _extstore._REFERENCE_ENCODING
    assert references.BYTES_MAX == opaque.REFERENCE_BYTES_MAX
    assert references.MARKER == _extstore._REFERENCE_MARKER_KEY
    assert {field.json_name for field in ExternalStorageReference.DESCRIPTOR.fields} == {
        "driverName",
        "claimData",
    }


def test_a_newer_protocols_reference_is_read_and_does_not_pass_as_one() -> None:
    payload = Payload(metadata=NEW, data=WHOLE[:-1] + b', "tier": "cold"}')
    found = references.read(payload)
    assert found is not None
    assert (found.driver_name, dict(found.claim_data)) == ("d", {"key": "k"})
    assert not references.is_reference(payload)


def test_half_a_character_is_no_name() -> None:
    assert references.read(Payload(metadata=NEW, data=b'{"driverName": "\\ud800"}')) is None


def test_what_is_left_of_a_reference_in_a_page_is_one() -> None:
    """A free page's rows are written over in part: that shows no more than the whole reference did."""
    damaged = WHOLE[:20] + bytes(10) + WHOLE[30:]
    assert judge(NEW, damaged, damaged=True)[0] is Kind.REFERENCE
    assert judge(NEW, damaged)[0] is Kind.PLAINTEXT
    assert judge(NEW, PLAIN, damaged=True)[0] is Kind.PLAINTEXT
    cut = Payload(metadata=OLD, data=WHOLE_OLD).SerializeToString()[:-8]
    assert [found.kind for found in payloads_in(cut)] == [Kind.REFERENCE]


class TestSidecar:
    ring = codec.KeyRing.create("orders", key_id="k1")

    def chain(self, folder: Path) -> tuple[PayloadChain, codec.ObjectStoreDriver]:
        driver = codec.ObjectStoreDriver(folder.as_uri(), namespace="orders")
        offload = Offload(driver, threshold_bytes=500, namespace="orders")
        return PayloadChain(codec.EncryptionCodec(self.ring), offload, encrypts=True), driver

    async def test_text_under_a_references_label_is_encrypted(self, tmp_path: Path) -> None:
        chain, _ = self.chain(tmp_path)
        for metadata in (NEW, OLD):
            payload = Payload(metadata=metadata, data=PLAIN)
            [encoded] = await chain.encode([payload])
            assert opaque.payload_problem(encoded) is None
            assert PLAIN not in encoded.SerializeToString()
            assert await chain.decode([encoded]) == [payload]

    async def test_an_encoded_reference_is_followed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SDKs will write them one day: made here by the SDK itself."""
        monkeypatch.setattr(_extstore, "_ENCODE_STORAGE_REFERENCES", True)
        chain, driver = self.chain(tmp_path)
        crypt = codec.EncryptionCodec(self.ring)
        storage = ExternalStorage(drivers=[driver], payload_size_threshold=500)
        [reference] = await storage._store_payload_sequence(await crypt.encode([LARGE]))
        [marked] = await crypt.encode([reference])
        marked.metadata[references.MARKER] = b"true"
        small = Payload(metadata={"encoding": b"json/plain"}, data=b"1")
        [sealed] = await crypt.encode([small])
        assert await chain.decode([sealed, marked]) == [small, LARGE]
        # Were it stored itself, it would come back as a mark that nobody follows.
        small_store = PayloadChain(
            crypt, Offload(driver, threshold_bytes=1, namespace="orders"), encrypts=True
        )
        assert await small_store.encode([marked]) == [marked]

    async def test_an_encoded_reference_of_another_driver_is_the_workers(self, tmp_path: Path) -> None:
        chain, _ = self.chain(tmp_path)
        reference = references.write("other", {"key": "k"}, size_bytes=9)
        [marked] = await codec.EncryptionCodec(self.ring).encode([reference])
        marked.metadata[references.MARKER] = b"true"
        marked.external_payloads.add(size_bytes=9)
        assert await chain.decode([marked]) == [reference]

    async def test_a_mark_without_a_reference_is_an_error(self, tmp_path: Path) -> None:
        chain, _ = self.chain(tmp_path)
        [marked] = await chain.encode([Payload(metadata={"encoding": b"json/plain"}, data=b'"secret"')])
        marked.metadata[references.MARKER] = b"true"
        with pytest.raises(codec.OffloadError, match="marked") as caught:
            await chain.decode([marked])
        assert "secret" not in str(caught.value)
