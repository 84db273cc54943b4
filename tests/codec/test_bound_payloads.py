"""Payloads that are bound to their workflow, and padded ones: the codec alone, without a service."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    NexusSerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

import sdk
from codec import (
    ChainCodec,
    CompressionCodec,
    DescribedWorkflowContext,
    EncryptionCodec,
    FixedKeys,
    InvalidPayload,
    KeyRing,
    MovedPayload,
    Scope,
    UnboundRefused,
    WriteFormat,
)
from codec.encryption.owner import Kind, Owner, owner_of, workflow_owner
from codec.encryption.padding import COUNT_BYTES, padded_length, padding_for, unpadded_length
from codec.encryption.tacit_format import JOINED_MAX_BYTES, OWNER_FIELD, associated_data
from codec.encryption.xaes256gcm import XAES256GCM

T = TypeVar("T")
RING = KeyRing.create("orders.acme", key_id="k1")
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a secret word"')
BOUND = EncryptionCodec(RING, bind_workflow=True)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def in_workflow(workflow_id: str, namespace: str = "orders.acme") -> WorkflowSerializationContext:
    return WorkflowSerializationContext(namespace=namespace, workflow_id=workflow_id)


def in_activity(workflow_id: str | None, activity_id: str = "7") -> ActivitySerializationContext:
    return ActivitySerializationContext(
        namespace="orders.acme",
        activity_id=activity_id,
        activity_type=None,
        activity_task_queue=None,
        workflow_id=workflow_id,
        workflow_type=None,
        is_local=False,
    )


def in_operation(operation: str, endpoint: str = "e") -> NexusSerializationContext:
    return NexusSerializationContext(endpoint=endpoint, service="s", operation=operation)


async def seal(context: SerializationContext | None, codec: EncryptionCodec = BOUND) -> Payload:
    told = codec if context is None else codec.with_context(context)
    return (await told.encode([PLAIN]))[0]


async def unseal(
    payload: Payload, context: SerializationContext | None, codec: EncryptionCodec = BOUND
) -> Payload:
    told = codec if context is None else codec.with_context(context)
    return (await told.decode([payload]))[0]


async def test_format_is_what_the_module_says() -> None:
    sealed = await seal(in_workflow("order-7"))
    assert dict(sealed.metadata) == {
        "encoding": b"binary/tacit-encrypted",
        "encryption-key-id": b"k1",
        "encryption-bound-to": b"workflow:order-7",
    }
    assert sealed.data[:2] == b"\x02\x01"
    associated = (
        b"tacit payload\0\0\0\0\1\2\0\0\0\1\1\0\0\0\2k1\0\0\0\x0borders.acme\0\0\0\x10workflow:order-7"
    )
    cipher = XAES256GCM(RING.active.material.reveal())
    plain = cipher.decrypt(sealed.data[2:26], sealed.data[26:], associated)
    assert Payload.FromString(plain) == PLAIN


SAME = [
    (in_workflow("a"), in_workflow("a")),
    (in_workflow("a"), in_activity("a")),
    (in_activity("a"), in_workflow("a")),
    (in_workflow("a"), None),
    (None, in_workflow("a")),
    (in_workflow("a", "orders.acme"), in_workflow("a", "bestellungen.acme")),
    (in_workflow("a"), in_workflow("a-2026-11-26T07:00:00Z")),
    (in_workflow("a-2026-11-26T06:00:00Z"), in_workflow("a-2026-11-26T07:00:00Z")),
    (in_activity(None, "7"), in_activity(None, "7")),
    (in_operation("o"), in_operation("o", endpoint="another")),
    (in_workflow("handler"), in_operation("o")),
    (in_workflow("parent"), DescribedWorkflowContext("orders.acme", "child", "parent")),
    (in_workflow("child"), DescribedWorkflowContext("orders.acme", "child", "parent")),
]
ELSEWHERE = [
    (in_workflow("a"), in_workflow("b")),
    (in_workflow("a"), in_activity("b")),
    (in_workflow("a"), in_workflow("a-2026-11-26")),
    (in_workflow("7"), in_activity(None, "7")),
    (in_activity(None, "7"), in_workflow("7")),
    (in_activity(None, "7"), in_activity(None, "8")),
    (in_activity(None, "7"), in_operation("o")),
    (in_operation("o"), in_workflow("s/o")),
    (in_operation("o"), in_operation("p")),
    (in_workflow("other"), DescribedWorkflowContext("orders.acme", "child", "parent")),
    (in_workflow("parent"), DescribedWorkflowContext("orders.acme", "child", None)),
    (in_workflow("parent"), in_workflow("child")),
]


class TestWorkflow:
    @pytest.mark.parametrize(("writer", "reader"), SAME)
    async def test_where_temporal_brings_it_it_is_read(
        self, writer: SerializationContext | None, reader: SerializationContext | None
    ) -> None:
        assert await unseal(await seal(writer), reader) == PLAIN

    @pytest.mark.parametrize(("writer", "reader"), ELSEWHERE)
    async def test_elsewhere_it_is_not(
        self, writer: SerializationContext, reader: SerializationContext
    ) -> None:
        sealed = await seal(writer)
        with pytest.raises(MovedPayload, match="written for"):
            await unseal(sealed, reader)
        # Whether the reader binds what it writes makes no difference.
        with pytest.raises(MovedPayload):
            await unseal(sealed, reader, EncryptionCodec(RING))

    @pytest.mark.parametrize(
        "name",
        [b"workflow:b", b"activity:a", b"workflow:a ", b"workflow:", b"", b"a", b"\xff:a", b"x" * 5000],
    )
    async def test_another_name_in_the_metadata(self, name: bytes) -> None:
        sealed = await seal(in_workflow("a"))
        sealed.metadata[OWNER_FIELD] = name
        for context in (in_workflow("a"), in_workflow("b"), None):
            with pytest.raises(InvalidPayload):
                await unseal(sealed, context)

    async def test_the_name_taken_away(self) -> None:
        sealed = await seal(in_workflow("a"))
        del sealed.metadata[OWNER_FIELD]
        for flags in (0, 1):
            data = bytes((2, flags)) + sealed.data[2:]
            for payload in (
                Payload(metadata=sealed.metadata, data=data),
                Payload(metadata=sealed.metadata, data=b"\x01" + sealed.data[2:]),
            ):
                with pytest.raises(InvalidPayload):
                    await unseal(payload, in_workflow("b"))

    async def test_a_name_given_to_an_unbound_payload_is_nothing(self) -> None:
        sealed = await seal(None)
        sealed.metadata[OWNER_FIELD] = b"workflow:b"
        with pytest.raises(UnboundRefused):
            await unseal(sealed, in_workflow("b"), EncryptionCodec(RING, refuse_unbound=True))

    async def test_unbound_payloads_are_refused_where_the_reader_knows_its_place(self) -> None:
        strict = EncryptionCodec(RING, bind_workflow=True, refuse_unbound=True)
        assert await unseal(await seal(in_workflow("a"), strict), in_workflow("a"), strict) == PLAIN
        samples = await seal(None, EncryptionCodec(RING, write_format=WriteFormat.SAMPLES))
        for unbound in (await seal(None), await seal(None, EncryptionCodec(RING, padding=True)), samples):
            assert await unseal(unbound, None, strict) == PLAIN
            with pytest.raises(UnboundRefused, match="workflow 'a'"):
                await unseal(unbound, in_workflow("a"), strict)

    async def test_without_the_option_payloads_are_as_they_were(self) -> None:
        sealed = await seal(in_workflow("a"), EncryptionCodec(RING))
        assert sealed.data[0] == 1
        assert OWNER_FIELD not in sealed.metadata

    @pytest.mark.parametrize("option", ["bind_workflow", "refuse_unbound", "padding"])
    def test_the_samples_format_has_no_room(self, option: str) -> None:
        with pytest.raises(ValueError, match="samples' format"):
            EncryptionCodec(RING, write_format=WriteFormat.SAMPLES, **{option: True})  # type: ignore[arg-type]

    @given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
    def test_two_workflows_are_two(self, first: str, second: str) -> None:
        if workflow_owner(first) == workflow_owner(second):
            return
        sealed = run(seal(in_workflow(first)))
        assert run(unseal(sealed, in_workflow(first))) == PLAIN
        with pytest.raises(MovedPayload):
            run(unseal(sealed, in_workflow(second)))

    @given(st.sampled_from(Kind), st.text(max_size=100))
    def test_owners_as_text(self, kind: Kind, name: str) -> None:
        owner = Owner(kind, name)
        assert Owner.from_bytes(owner.to_bytes()) == owner

    def test_contexts_that_say_nothing(self) -> None:
        assert owner_of(in_workflow("")) is None
        assert owner_of(in_activity(None, "")) is None
        assert owner_of(in_activity("", "7")) == Owner(Kind.ACTIVITY, "7")


@pytest.mark.parametrize("bind", [False, True])
async def test_a_renamed_namespace_keeps_decrypting(bind: bool) -> None:
    """Payloads are bound to the ring's binding and to ids, not to what the namespace is called."""
    before, after = (
        sdk.data_converter(sdk.DataConverterOptions(namespace=name, key_ring=RING, bind_workflow=bind))
        for name in ("orders.acme", "bestellungen.acme")
    )
    sealed = await before.with_context(in_workflow("a", "orders.acme")).encode(["secret"])
    assert await after.with_context(in_workflow("a", "bestellungen.acme")).decode(sealed) == ["secret"]
    # A ring that was made for the new name does not read it, nor does the old name tell anything.
    other = sdk.data_converter(
        sdk.DataConverterOptions(namespace="orders.acme", key_ring=KeyRing(binding="new", keys=RING.keys))
    )
    with pytest.raises(InvalidPayload):
        await other.with_context(in_workflow("a", "orders.acme")).decode(sealed)


class Asked(FixedKeys):
    """Keys that remember whose payloads they were asked for."""

    def __init__(self) -> None:
        super().__init__(RING)
        self.scopes: list[Scope] = []

    def sealing(self, scope: Scope, size: int) -> Any:
        self.scopes.append(scope)
        return super().sealing(scope, size)

    def opening(self, key_id: str, wrapped: bytes | None, scope: Scope) -> Any:
        self.scopes.append(scope)
        return super().opening(key_id, wrapped, scope)


class TestContext:
    @pytest.mark.parametrize(
        ("context", "scope"),
        [
            (in_workflow("a"), Scope(namespace="orders.acme", workflow_id="a")),
            (in_activity("a"), Scope(namespace="orders.acme", workflow_id="a")),
            (in_activity(None), Scope(namespace="orders.acme")),
            (in_operation("o"), Scope()),
        ],
    )
    async def test_a_chain_hands_it_on_to_the_keys(self, context: SerializationContext, scope: Scope) -> None:
        keys = Asked()
        chain = ChainCodec(CompressionCodec(), EncryptionCodec(keys))
        told = chain.with_context(context)
        assert await told.decode(await told.encode([PLAIN])) == [PLAIN]
        assert keys.scopes == [scope, scope]
        await chain.encode([PLAIN])
        assert keys.scopes[-1] == Scope()

    def test_a_chain_that_does_not_care_stays_the_same(self) -> None:
        chain = ChainCodec(CompressionCodec())
        assert chain.with_context(in_workflow("a")) is chain

    async def test_a_codec_of_someone_else_is_told_too(self) -> None:
        class Other(PayloadCodec, WithSerializationContext):
            def __init__(self, context: SerializationContext | None = None) -> None:
                self.context = context

            def with_context(self, context: SerializationContext) -> Other:
                return Other(context)

            async def encode(self, payloads: Any) -> list[Payload]:
                assert self.context == in_workflow("a")
                return list(payloads)

            async def decode(self, payloads: Any) -> list[Payload]:
                return list(payloads)

        assert await ChainCodec(Other(), BOUND).with_context(in_workflow("a")).encode([PLAIN])


class TestPadding:
    @given(st.integers(0, 1 << 40))
    def test_lengths(self, length: int) -> None:
        padded = padded_length(length)
        assert length <= padded <= length * 1.12
        assert padded_length(padded) == padded

    def test_published_examples(self) -> None:
        # The table of the PURBs paper's implementation: 9 is padded to 10; powers of two stay.
        assert [padded_length(n) for n in (0, 1, 8, 9, 15, 16, 17, 129, 1 << 20)] == [
            *(0, 1, 8, 10, 16, 16, 18, 144, 1 << 20)
        ]

    @given(st.binary(max_size=3000))
    def test_round_trip(self, plain: bytes) -> None:
        padded = plain + padding_for(len(plain))
        assert len(padded) == padded_length(len(plain) + COUNT_BYTES)
        assert unpadded_length(padded) == len(plain)

    @given(st.binary(max_size=40))
    def test_what_is_not_padded(self, plain: bytes) -> None:
        try:
            length = unpadded_length(plain)
        except InvalidPayload:
            return
        assert len(plain) == padded_length(length + COUNT_BYTES)

    @pytest.mark.parametrize("size", [0, 1, 100, JOINED_MAX_BYTES - 1, JOINED_MAX_BYTES + 1, 3_000_000])
    @pytest.mark.parametrize("bind", [False, True])
    async def test_payloads(self, size: int, bind: bool) -> None:
        codec = EncryptionCodec(RING, padding=True, bind_workflow=bind)
        payload = Payload(metadata={"encoding": b"binary/plain"}, data=b"\0" * size)
        payload.external_payloads.add().size_bytes = 3
        told = codec.with_context(in_workflow("a"))
        [sealed] = await told.encode([payload])
        assert sealed.data[:2] == bytes((2, 3 if bind else 2))
        assert len(sealed.data) - 42 == padded_length(len(payload.SerializeToString()) + COUNT_BYTES)
        assert await told.decode([sealed]) == [payload]

    async def test_lengths_of_one_class_look_alike(self) -> None:
        codec = EncryptionCodec(RING, padding=True)
        sizes = {
            len((await codec.encode([Payload(data=bytes(size))]))[0].SerializeToString())
            for size in range(33_000, 33_600)
        }
        assert len(sizes) <= 2

    async def test_authentic_content_that_is_not_padded(self) -> None:
        key = RING.active
        associated = associated_data(b"\x02", b"\x02", b"k1", b"orders.acme", b"")
        sealed = XAES256GCM(key.material.reveal()).encrypt(bytes(24), b"\xff" * 30, associated)
        metadata = {"encoding": b"binary/tacit-encrypted", "encryption-key-id": b"k1"}
        with pytest.raises(InvalidPayload, match="not padded"):
            await unseal(Payload(metadata=metadata, data=b"\x02\x02" + bytes(24) + sealed), None)
