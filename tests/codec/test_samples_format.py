"""The official samples' format: vectors of four languages, their programs read what we write, and a key's end in time."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

import sdk
from codec import (
    ChainCodec,
    CompressionCodec,
    DataKey,
    EncryptionCodec,
    FixedKeys,
    KeyMaterial,
    KeyRing,
    KeyRingError,
    MessageBound,
    MessageBoundReached,
    Scope,
    WriteFormat,
    create_key_ring,
)
from codec.encryption.message_bound import BLOCK, MESSAGES_MAX, WRITERS
from codec.keys.ring_document import ring_to_json
from tests.codec.samples import KEY, METADATA, PROGRAMS, VECTORS, found, run

DOCUMENT: dict[str, Any] = json.loads(VECTORS.read_text())
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"x"')


class SamplesKeys(FixedKeys):
    """The key that the samples share, under whatever id a payload names: Java's is no id that a key ring takes."""

    def __init__(self) -> None:
        super().__init__(KeyRing.create("samples"))

    def sealing(self, scope: Scope, size: int) -> DataKey:
        return DataKey(id="test", material=KeyMaterial(KEY), binding="samples")

    def opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> DataKey:
        return DataKey(id=key_id, material=KeyMaterial(KEY), binding="samples")


CODEC = EncryptionCodec(SamplesKeys(), write_format=WriteFormat.SAMPLES)


@pytest.mark.parametrize("language", METADATA)
async def test_vectors_are_read(language: str) -> None:
    vectors = [vector for vector in DOCUMENT["encrypted"] if vector["language"] == language]
    assert len(vectors) == 5
    for vector in vectors:
        metadata = {name: value.encode() for name, value in vector["metadata"].items()}
        payload = Payload(metadata=metadata, data=bytes.fromhex(vector["data"]))
        assert await CODEC.decode([payload]) == [Payload.FromString(bytes.fromhex(vector["plain"]))]


def test_all_languages_write_the_same_bytes() -> None:
    by_plain: dict[str, set[str]] = {}
    for vector in DOCUMENT["encrypted"]:
        by_plain.setdefault(vector["plain"], set()).add(vector["data"])
    assert all(len(data) == 1 for data in by_plain.values())


def test_so_do_we(monkeypatch: pytest.MonkeyPatch) -> None:
    for vector in DOCUMENT["encrypted"]:
        nonce = bytes.fromhex(vector["data"])[:12]
        monkeypatch.setattr("codec.encryption.samples_format.os.urandom", lambda _, nonce=nonce: nonce)
        [sealed] = asyncio.run(CODEC.encode([Payload.FromString(bytes.fromhex(vector["plain"]))]))
        assert dict(sealed.metadata) == {"encoding": b"binary/encrypted", "encryption-key-id": b"test"}
        # Maps have no order: what matters is that the plaintext is that of the vector, sealed alike.
        plain = AESGCM(KEY).decrypt(nonce, sealed.data[12:], None)
        assert Payload.FromString(plain) == Payload.FromString(bytes.fromhex(vector["plain"]))
        assert len(sealed.data) == len(vector["data"]) // 2


@pytest.mark.parametrize("language", PROGRAMS)
def test_their_programs_read_what_we_write(language: str) -> None:
    if not found(language):
        pytest.skip(f"{PROGRAMS[language][0]} is not on this machine")
    originals = [
        Payload(metadata={"encoding": b"binary/plain"}, data=os.urandom(size)) for size in (0, 1, 70_000)
    ]
    sealed = asyncio.run(CODEC.encode(originals))
    opened = run(language, "open", [(KEY, payload.data) for payload in sealed])
    assert [Payload.FromString(plain) for plain in opened] == originals


async def test_zlib_of_the_go_sdk_is_read() -> None:
    for vector in DOCUMENT["zlib"]:
        payload = Payload(metadata={"encoding": b"binary/zlib"}, data=bytes.fromhex(vector["data"]))
        assert await CompressionCodec().decode([payload]) == [
            Payload.FromString(bytes.fromhex(vector["plain"]))
        ]


class TestMessageBound:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "ring.json.messages"

    def use(self, bound: MessageBound, times: int, key_id: str = "k1") -> None:
        for _ in range(times):
            while not bound.take(key_id):
                bound.reserve(key_id)

    def count(self, file: Path) -> dict[str, int]:
        counts: dict[str, int] = json.loads(file.read_text())["counts"]
        return counts

    def test_blocks_are_on_disk_before_they_are_used(self, file: Path) -> None:
        bound = MessageBound(file)
        self.use(bound, 1)
        assert self.count(file) == {"k1": BLOCK}
        self.use(bound, BLOCK - 1)
        assert self.count(file) == {"k1": BLOCK}
        self.use(bound, 1)
        assert self.count(file) == {"k1": 2 * BLOCK}
        # Another process, or the same after a crash.
        self.use(MessageBound(file), 1)
        self.use(bound, 1, "k2")
        assert self.count(file) == {"k1": 3 * BLOCK, "k2": BLOCK}
        assert file.stat().st_mode & 0o777 == 0o600

    def test_all_shares_together_are_no_more_than_the_bound(self) -> None:
        for writers in (1, WRITERS, 1000, 1_000_000):
            share = MESSAGES_MAX // writers
            assert share * writers <= 2**32
            assert 0 < max(1, min(BLOCK, share // 256)) <= share

    def test_refuses_at_its_share_and_warns_before(
        self, file: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        writers = 2**32 // 2560  # a share of 2560, in blocks of 10
        bound = MessageBound(file, writers=writers)
        with caplog.at_level(logging.WARNING):
            self.use(bound, 2040)
            assert not caplog.messages
            self.use(bound, 520)
        assert [message for message in caplog.messages if "rotate it" in message] == [
            "key k1 has encrypted 2050 of the 2560 payloads that the samples' format allows this machine: rotate it"
        ]
        for again in (bound, MessageBound(file, writers=writers)):
            with pytest.raises(MessageBoundReached, match="tacit keys rotate"):
                self.use(again, 1)
        self.use(bound, 1, "k2")

    def test_without_a_file_a_process_counts_for_itself(self) -> None:
        bound = MessageBound(writers=2**32 // 2560)
        self.use(bound, 2560)
        with pytest.raises(MessageBoundReached):
            self.use(bound, 1)

    def test_a_directory_that_cannot_be_written(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("")
        bound = MessageBound(blocked / "ring.messages", writers=2**32 // 2560)
        with caplog.at_level(logging.WARNING):
            self.use(bound, 30)
        assert len(caplog.messages) == 1
        assert "for this process alone" in caplog.messages[0]
        with pytest.raises(MessageBoundReached):
            self.use(bound, 2560)

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "{",
            "[]",
            '{"format": "x", "version": 1, "counts": {}}',
            '{"format": "tacit-message-counts", "version": 2, "counts": {}}',
            '{"format": "tacit-message-counts", "version": 1, "counts": {"k1": -1}}',
            '{"format": "tacit-message-counts", "version": 1, "counts": {"k1": "1"}}',
            '{"format": "tacit-message-counts", "version": 1, "counts": 3}',
        ],
    )
    def test_a_damaged_count_stops_writing(self, file: Path, content: str) -> None:
        file.write_text(content)
        file.chmod(0o600)
        with pytest.raises(KeyRingError, match="nobody knows how often"):
            self.use(MessageBound(file), 1)
        assert file.read_text() == content

    def test_a_count_that_others_can_read_stops_writing(self, file: Path) -> None:
        self.use(MessageBound(file), 1)
        file.chmod(0o644)
        with pytest.raises(KeyRingError, match="open to other users"):
            self.use(MessageBound(file), 1)

    async def test_the_codec_keeps_to_it(self) -> None:
        ring = KeyRing.create("a", key_id="k1")
        bound = MessageBound(writers=2**32 // 2560)
        codec = EncryptionCodec(ring, write_format=WriteFormat.SAMPLES, message_bound=bound)
        sealed = await codec.encode([PLAIN] * 2560)
        with pytest.raises(MessageBoundReached):
            await codec.encode([PLAIN])
        assert await codec.decode(sealed) == [PLAIN] * 2560
        # Ours has no such bound.
        assert await EncryptionCodec(ring, message_bound=bound).encode([PLAIN])

    async def test_a_profile_counts_beside_its_key_ring(self, tmp_path: Path) -> None:
        path = tmp_path / "ring.json"
        create_key_ring(path, KeyRing.create("a", key_id="k1"))
        options = sdk.DataConverterOptions(namespace="a", key_ring=path, write_format=WriteFormat.SAMPLES)
        await sdk.data_converter(options).encode(["x"])
        assert self.count(tmp_path / "ring.json.messages") == {"k1": BLOCK}

    async def test_so_does_a_profile_with_subjects_keys_but_not_those(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "ring.json"
        create_key_ring(path, KeyRing.create("a", key_id="k1"))
        source = sdk.KeySource(
            namespace="a",
            ring=path,
            subject_store=f"file://{tmp_path}/subjects",
            subject="(customer-[0-9]+)-",
        )
        options = sdk.DataConverterOptions(namespace="a", key_ring=source, write_format=WriteFormat.SAMPLES)
        codec = sdk.data_converter(options).payload_codec
        assert isinstance(codec, ChainCodec)
        with caplog.at_level(logging.WARNING):
            for workflow_id in ("internal-report", "customer-1-a", "customer-2-a"):
                context = WorkflowSerializationContext(namespace="a", workflow_id=workflow_id)
                await codec.with_context(context).encode([PLAIN])
        assert self.count(tmp_path / "ring.json.messages") == {"k1": BLOCK}
        assert [message for message in caplog.messages if "for this process alone" in message] == [
            "subjects' keys: payloads in the samples' format are counted for this process alone, and from zero: "
            "they are too many for a file."
        ]

    async def test_without_a_file_the_log_says_so_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("TACIT_KEY_RING", ring_to_json(KeyRing.create("a", key_id="k1")).decode())
        source = sdk.KeySource(namespace="a", provider="env")
        options = sdk.DataConverterOptions(
            namespace="a", key_ring=source, write_format=WriteFormat.SAMPLES, samples_writers=2**32 // 2560
        )
        converter = sdk.data_converter(options)
        with caplog.at_level(logging.WARNING):
            for _ in range(20):
                await converter.encode(["x"])
        assert caplog.messages == [
            "key k1: payloads in the samples' format are counted for this process alone, and from zero: "
            "there is no key ring's file to count beside."
        ]

    def test_subjects_keys_have_a_bound_each_and_take_bounded_memory(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("codec.encryption.message_bound.SUBJECTS_MAX", 10)
        bound = MessageBound(file, writers=2**32 // 2560)

        def use(key_id: str, times: int) -> None:
            for _ in range(times):
                while not bound.take(key_id):
                    bound.reserve(key_id, one_of_many=True)

        use("subject/busy/1", 2550)
        for number in range(1000):
            use(f"subject/{number}/1", 1)
        assert len(bound._subjects) <= 10
        assert len(bound._left) <= 10
        # Those that were used least are forgotten, not this one.
        with pytest.raises(MessageBoundReached):
            use("subject/busy/1", 11)
        assert not file.exists()
