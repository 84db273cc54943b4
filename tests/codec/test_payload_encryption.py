"""The encryption codec: what comes back, and all that must not."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from codec import (
    DisabledKey,
    EncryptionCodec,
    InvalidPayload,
    Key,
    KeyMaterial,
    KeyRing,
    KeyState,
    MissingKey,
    PlaintextRefused,
    WrappedKey,
    WriteFormat,
    is_encrypted,
)
from codec.encryption.codec import ENCODING, KEY_ID_FIELD, SAMPLES_ENCODING, TURN_BYTES
from codec.encryption.tacit_format import associated_data
from codec.encryption.xaes256gcm import XAES256GCM

T = TypeVar("T")
RING = KeyRing.create("orders.acme", key_id="k1")
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a secret word"')
payloads = st.builds(
    lambda metadata, data: Payload(metadata=metadata, data=data),
    st.dictionaries(st.text(max_size=20), st.binary(max_size=20), max_size=4),
    st.binary(max_size=300),
)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


async def seal(payload: Payload = PLAIN, codec: EncryptionCodec | None = None) -> Payload:
    return (await (codec or EncryptionCodec(RING)).encode([payload]))[0]


async def unseal(payload: Payload, codec: EncryptionCodec | None = None) -> Payload:
    return (await (codec or EncryptionCodec(RING)).decode([payload]))[0]


@given(st.lists(payloads, max_size=4), st.sampled_from(WriteFormat))
def test_round_trip(originals: list[Payload], write_format: WriteFormat) -> None:
    codec = EncryptionCodec(RING, write_format=write_format)
    encoded = run(codec.encode(originals))
    assert all(is_encrypted(payload) for payload in encoded)
    assert run(codec.decode(encoded)) == originals


async def test_format_is_what_the_module_says() -> None:
    sealed = await seal()
    assert dict(sealed.metadata) == {"encoding": b"binary/tacit-encrypted", "encryption-key-id": b"k1"}
    assert sealed.data[0] == 1
    associated = b"tacit payload\0\0\0\0\1\1\0\0\0\2k1\0\0\0\x0borders.acme"
    plain = XAES256GCM(RING.active.material.reveal()).decrypt(sealed.data[1:25], sealed.data[25:], associated)
    assert Payload.FromString(plain) == PLAIN


async def test_every_field_of_a_payload_is_kept_and_hidden() -> None:
    original = Payload(
        metadata={"encoding": b"json/plain", "messageType": b"secret.Type"}, data=b"secret data"
    )
    original.external_payloads.add().size_bytes = 7
    sealed = await seal(original)
    assert b"secret" not in sealed.SerializeToString()
    assert await unseal(sealed) == original


async def test_large_payloads_take_the_way_through_a_thread() -> None:
    original = Payload(data=b"x" * (TURN_BYTES + 1))
    sealed = await seal(original)
    assert await unseal(sealed) == original
    with pytest.raises(InvalidPayload):
        await unseal(Payload(metadata=sealed.metadata, data=sealed.data[:-1]))


async def test_what_is_more_than_a_turn_of_the_loop_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small payloads are worked on at once; it is their sum that counts, and each is worked on just once."""
    threads: list[object] = []
    real = asyncio.to_thread

    async def to_thread(work: Callable[[], Payload]) -> Payload:
        threads.append(work)
        return await real(work)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    codec = EncryptionCodec(RING)
    originals = [Payload(data=bytes([index]) * (TURN_BYTES // 4)) for index in range(8)]
    sealed = await codec.encode(originals)
    assert 1 <= len(threads) <= 3
    assert await codec.decode(sealed) == originals
    assert 2 <= len(threads) <= 6
    del threads[:]
    assert await codec.decode(await codec.encode([Payload(data=b"1")])) == [Payload(data=b"1")]
    assert not threads


async def test_nothing_repeats() -> None:
    sealed = [await seal() for _ in range(500)]
    assert len({payload.data[1:25] for payload in sealed}) == 500
    assert len({payload.data[25:] for payload in sealed}) == 500


async def test_originals_are_not_touched() -> None:
    original = Payload(metadata={"encoding": b"json/plain"}, data=b"1")
    before = original.SerializeToString(deterministic=True)
    sealed = await seal(original)
    sealed_before = sealed.SerializeToString(deterministic=True)
    await unseal(sealed)
    assert original.SerializeToString(deterministic=True) == before
    assert sealed.SerializeToString(deterministic=True) == sealed_before


class TestTampering:
    @given(payloads, st.integers(0), st.integers(0, 7), st.sampled_from(WriteFormat))
    def test_flipped_bit(self, original: Payload, where: int, bit: int, write_format: WriteFormat) -> None:
        sealed = run(seal(original, EncryptionCodec(RING, write_format=write_format)))
        data = bytearray(sealed.data)
        data[where % len(data)] ^= 1 << bit
        with pytest.raises(InvalidPayload):
            run(unseal(Payload(metadata=sealed.metadata, data=bytes(data))))

    @given(st.data(), st.sampled_from(WriteFormat))
    def test_cut_or_lengthened(self, draw: st.DataObject, write_format: WriteFormat) -> None:
        sealed = run(seal(codec=EncryptionCodec(RING, write_format=write_format)))
        length = draw.draw(st.integers(0, len(sealed.data) - 1))
        for data in (
            sealed.data[:length],
            sealed.data[length + 1 :],
            sealed.data + sealed.data[:length] + b"\0",
        ):
            with pytest.raises(InvalidPayload):
                run(unseal(Payload(metadata=sealed.metadata, data=data)))

    async def test_every_byte_of_one_message(self) -> None:
        sealed = await seal()
        for index in range(len(sealed.data)):
            data = bytearray(sealed.data)
            data[index] ^= 0x80
            with pytest.raises(InvalidPayload):
                await unseal(Payload(metadata=sealed.metadata, data=bytes(data)))

    async def test_another_binding(self) -> None:
        other = KeyRing(binding="orders.evil", keys=RING.keys)
        with pytest.raises(InvalidPayload, match="another binding"):
            await unseal(await seal(), EncryptionCodec(other))
        assert await unseal(await seal(), EncryptionCodec(other, binding="orders.acme")) == PLAIN

    @given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
    def test_key_id_and_binding_cannot_run_into_each_other(self, first: str, second: str) -> None:
        joined = (first + second).encode()
        for cut in range(1, len(joined)):
            if joined[:cut] != first.encode():
                assert associated_data(first.encode(), second.encode()) != associated_data(
                    joined[:cut], joined[cut:]
                )

    async def test_key_id_exchanged_for_another_of_the_ring(self) -> None:
        ring = RING.rotated(key_id="k2")
        sealed = await seal()
        sealed.metadata[KEY_ID_FIELD] = b"k2"
        with pytest.raises(InvalidPayload, match="authenticated with key 'k2'"):
            await unseal(sealed, EncryptionCodec(ring))

    async def test_same_key_under_another_id(self) -> None:
        key = RING.active
        renamed = Key(id="k9", state=KeyState.ACTIVE, created=key.created, material=key.material)
        sealed = await seal()
        sealed.metadata[KEY_ID_FIELD] = b"k9"
        with pytest.raises(InvalidPayload):
            await unseal(sealed, EncryptionCodec(KeyRing(binding=RING.binding, keys=(renamed,))))

    async def test_another_key_under_the_same_id(self) -> None:
        with pytest.raises(InvalidPayload):
            await unseal(await seal(), EncryptionCodec(KeyRing.create(RING.binding, key_id="k1")))

    async def test_one_format_passed_off_as_the_other(self) -> None:
        ours = await seal()
        ours.metadata["encoding"] = SAMPLES_ENCODING
        with pytest.raises(InvalidPayload):
            await unseal(ours)
        samples = await seal(codec=EncryptionCodec(RING, write_format=WriteFormat.SAMPLES))
        samples.metadata["encoding"] = ENCODING
        with pytest.raises(InvalidPayload):
            await unseal(samples)

    async def test_every_failed_authentication_reads_the_same(self) -> None:
        sealed = await seal()
        messages = set()
        other = EncryptionCodec(KeyRing.create(RING.binding, key_id="k1"))
        bound = EncryptionCodec(KeyRing(binding="other", keys=RING.keys))
        flipped = Payload(metadata=sealed.metadata, data=sealed.data[:-1] + bytes([sealed.data[-1] ^ 1]))
        cut = Payload(metadata=sealed.metadata, data=sealed.data[:-1])
        short = Payload(metadata=sealed.metadata, data=sealed.data[:5])
        for payload, codec in ((sealed, other), (sealed, bound), (flipped, None), (cut, None), (short, None)):
            with pytest.raises(InvalidPayload) as caught:
                await unseal(payload, codec)
            assert caught.value.__cause__ is None
            messages.add(str(caught.value))
        assert len(messages) == 1

    @given(
        st.dictionaries(st.sampled_from([KEY_ID_FIELD, "x"]), st.binary(max_size=200)), st.binary(max_size=80)
    )
    def test_garbage_under_our_encodings(self, metadata: dict[str, bytes], data: bytes) -> None:
        for encoding in (ENCODING, SAMPLES_ENCODING):
            with pytest.raises((InvalidPayload, MissingKey)):
                run(unseal(Payload(metadata={**metadata, "encoding": encoding}, data=data)))


class TestKeys:
    async def test_payload_of_an_older_key_is_read(self) -> None:
        sealed = await seal()
        codec = EncryptionCodec(RING.rotated(key_id="k2"))
        assert await unseal(sealed, codec) == PLAIN
        assert (await seal(codec=codec)).metadata[KEY_ID_FIELD] == b"k2"

    @pytest.mark.parametrize("write_format", WriteFormat)
    async def test_missing_key_is_named(self, write_format: WriteFormat) -> None:
        sealed = await seal(codec=EncryptionCodec(RING.rotated(key_id="k2"), write_format=write_format))
        with pytest.raises(MissingKey, match=r"'k2'.*tacit keys export k2"):
            await unseal(sealed)

    async def test_disabled_key_is_named(self) -> None:
        sealed = await seal()
        with pytest.raises(DisabledKey, match="'k1'"):
            await unseal(sealed, EncryptionCodec(RING.rotated().disabled("k1")))

    async def test_no_key_id(self) -> None:
        with pytest.raises(InvalidPayload, match="names no key"):
            await unseal(Payload(metadata={"encoding": ENCODING}, data=b"x" * 50))

    async def test_newer_version_says_so(self) -> None:
        sealed = await seal()
        with pytest.raises(InvalidPayload, match="version 3 of the format"):
            await unseal(Payload(metadata=sealed.metadata, data=b"\x03" + sealed.data[1:]))
        with pytest.raises(InvalidPayload, match="flags 0x80 of the format's version 2"):
            await unseal(Payload(metadata=sealed.metadata, data=b"\x02\x80" + sealed.data[1:]))

    async def test_authentic_content_that_is_no_payload(self) -> None:
        key = RING.active
        nonce = bytes(12)
        data = nonce + AESGCM(key.material.reveal()).encrypt(nonce, b"\xff\xff\xff", None)
        with pytest.raises(InvalidPayload, match="not a Temporal payload"):
            await unseal(Payload(metadata={"encoding": SAMPLES_ENCODING, KEY_ID_FIELD: b"k1"}, data=data))


class TestPassingThrough:
    @pytest.mark.parametrize("encoding", [b"json/plain", b"binary/null", b"binary/zlib", b"", b"\xff"])
    async def test_other_encodings_pass_on_decode(self, encoding: bytes) -> None:
        payload = Payload(metadata={"encoding": encoding}, data=b"x")
        assert await unseal(payload) == payload
        assert await unseal(Payload()) == Payload()

    async def test_unless_plaintext_is_refused(self) -> None:
        strict = EncryptionCodec(RING, refuse_plaintext=True)
        assert await unseal(await seal(), strict) == PLAIN
        with pytest.raises(PlaintextRefused, match="'json/plain' is not encrypted") as caught:
            await unseal(PLAIN, strict)
        assert "secret" not in str(caught.value)


class TestSamplesFormat:
    """The format of the official samples in Go, Python, TypeScript and Java."""

    KEY = KeyRing(
        binding="default",
        keys=(
            Key(
                id="test",
                state=KeyState.ACTIVE,
                created=RING.active.created,
                material=KeyMaterial(b"test-key-test-key-test-key-test!"),
            ),
        ),
    )

    async def test_what_a_sample_would_write_is_read(self) -> None:
        # Written by the samples' recipe with their key: AES-256-GCM, nonce first, no associated data.
        nonce = bytes(range(12))
        sealed = AESGCM(b"test-key-test-key-test-key-test!").encrypt(nonce, PLAIN.SerializeToString(), None)
        payload = Payload(
            metadata={
                "encoding": b"binary/encrypted",
                "encryption-key-id": b"test",
                "encryption-cipher": b"AES/GCM/NoPadding",
            },
            data=nonce + sealed,
        )
        assert await unseal(payload, EncryptionCodec(self.KEY)) == PLAIN

    async def test_what_is_written_is_the_samples_format(self) -> None:
        sealed = await seal(codec=EncryptionCodec(self.KEY, write_format=WriteFormat.SAMPLES))
        assert dict(sealed.metadata) == {"encoding": b"binary/encrypted", "encryption-key-id": b"test"}
        plain = AESGCM(b"test-key-test-key-test-key-test!").decrypt(sealed.data[:12], sealed.data[12:], None)
        assert Payload.FromString(plain) == PLAIN

    async def test_envelope_encryption_is_named(self) -> None:
        dek = base64.b64encode(b"wrapped")
        payload = Payload(metadata={"encoding": SAMPLES_ENCODING, KEY_ID_FIELD: b"k1", "encryption-dek": dek})
        with pytest.raises(WrappedKey, match="key service"):
            await unseal(payload)
