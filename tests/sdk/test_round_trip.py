"""A worker and a client of ours against the real Temporal server: all encrypted, large parts offloaded."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

import codec
import sdk
from codec import CodecError, KeyRing, ObjectStoreDriver

SECRET = "correct horse battery staple"
LARGE = 400_000
REFERENCE = b"temporal.api.sdk.v1.ExternalStorageReference"


@activity.defn
async def work(text: str) -> str:
    activity.heartbeat(f"{SECRET} heartbeat")
    if text == "fail":
        raise ApplicationError(f"{SECRET} failed", f"{SECRET} detail", non_retryable=True)
    return text.upper()


@workflow.defn
class Flow:
    def __init__(self) -> None:
        self.signals: list[str] = []

    @workflow.run
    async def run(self, text: str) -> str:
        await workflow.wait_condition(lambda: bool(self.signals))
        result: str = await workflow.execute_activity(
            work,
            text,
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        return result + self.signals[0]

    @workflow.signal
    def tell(self, text: str) -> None:
        self.signals.append(text)

    @workflow.query
    def told(self) -> list[str]:
        return self.signals


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing.create("orders.acme", key_id="k1")


def options(ring: KeyRing | None, folder: Path, *, store: bool = True) -> sdk.DataConverterOptions:
    return sdk.DataConverterOptions(
        namespace="default",
        key_ring=codec.FixedKeys(ring) if ring else None,
        # Compression would keep the test's repetitive text below the offload threshold.
        compression=False,
        object_store=(folder / "objects").as_uri() if store else None,
    )


async def connected(address: str, settings: sdk.DataConverterOptions) -> Client:
    return await Client.connect(address, data_converter=sdk.data_converter(settings))


def payloads_of(message: Message) -> Iterator[Payload]:
    """Every payload anywhere below a message but search attributes, which the service must read."""
    if isinstance(message, Payload):
        yield message
        return
    if message.DESCRIPTOR.name == "SearchAttributes":
        return
    for field, value in message.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        if field.message_type.GetOptions().map_entry:
            values = value.values() if field.message_type.fields_by_name["value"].message_type else []
        else:
            values = value if field.is_repeated else [value]
        for one in values:
            yield from payloads_of(one)


async def run_flow(client: Client, text: str) -> WorkflowHandle[Flow, str]:
    queue = f"q-{uuid.uuid4()}"
    async with Worker(client, task_queue=queue, workflows=[Flow], activities=[work]):
        handle = await client.start_workflow(
            Flow.run,
            text,
            id=queue,
            task_queue=queue,
            memo={"note": f"{SECRET} memo"},
            static_summary=f"{SECRET} summary",
        )
        await handle.signal(Flow.tell, SECRET)
        assert await handle.query(Flow.told) == [SECRET]
        try:
            await handle.result()
        except WorkflowFailureError:
            if text != "fail":
                raise
    return handle


async def test_all_is_encrypted_and_large_parts_are_offloaded(
    temporal_address: str, ring: KeyRing, tmp_path: Path
) -> None:
    client = await connected(temporal_address, options(ring, tmp_path))
    text = SECRET + "x" * LARGE
    handle = await run_flow(client, text)
    assert await handle.result() == text.upper() + SECRET

    history = await handle.fetch_history()
    stored = history.to_json().encode() + b"".join(event.SerializeToString() for event in history.events)
    assert SECRET.encode() not in stored
    assert SECRET.upper().encode() not in stored
    payloads = [payload for event in history.events for payload in payloads_of(event)]
    kinds = {payload.metadata["encoding"] for payload in payloads}
    assert kinds == {b"binary/tacit-encrypted", b"json/protobuf"}
    references = [payload for payload in payloads if payload.metadata["encoding"] == b"json/protobuf"]
    # The workflow's input, the activity's input, its result, and the workflow's result.
    assert len(references) == 4
    assert all(payload.metadata["messageType"] == REFERENCE for payload in references)
    assert all(b"tacit.objectstore" in payload.data for payload in references)

    objects = [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert len(objects) == 4
    for path in objects:
        assert path.relative_to(tmp_path / "objects").parts[:3] == ("v1", "ns", "default")
        assert SECRET.encode() not in path.read_bytes()
        # Codecs first, storage last: what lies in the store is an encrypted payload.
        assert codec.is_encrypted(Payload.FromString(path.read_bytes()))


async def test_failures_and_memos_are_encrypted_and_read_back(
    temporal_address: str, ring: KeyRing, tmp_path: Path
) -> None:
    client = await connected(temporal_address, options(ring, tmp_path))
    handle = await run_flow(client, "fail")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    failure = caught.value.cause
    assert isinstance(failure, ActivityError)
    cause = failure.cause
    assert isinstance(cause, ApplicationError)
    assert cause.message == f"{SECRET} failed"
    assert cause.details == (f"{SECRET} detail",)
    description = await handle.describe()
    assert await description.memo_value("note") == f"{SECRET} memo"
    assert await description.static_summary() == f"{SECRET} summary"

    history = await handle.fetch_history()
    assert SECRET.encode() not in b"".join(event.SerializeToString() for event in history.events)
    failed = next(
        event for event in history.events if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
    )
    shown = failed.activity_task_failed_event_attributes.failure
    assert shown.message == "Encoded failure"
    assert shown.stack_trace == ""
    assert codec.is_encrypted(shown.encoded_attributes)


async def test_without_the_key_the_error_names_it(
    temporal_address: str, ring: KeyRing, tmp_path: Path
) -> None:
    writer = await connected(temporal_address, options(ring, tmp_path))
    handle = await run_flow(writer, "small")
    other = KeyRing.create("orders.acme", key_id="k2")
    reader = await connected(temporal_address, options(other, tmp_path))
    with pytest.raises(codec.MissingKey, match="'k1'"):
        await reader.get_workflow_handle(handle.id).result()
    bound = KeyRing(binding="orders.evil", keys=ring.keys)
    reader = await connected(temporal_address, options(bound, tmp_path))
    with pytest.raises(codec.InvalidPayload):
        await reader.get_workflow_handle(handle.id).result()


async def test_after_a_rotation_old_histories_are_read(
    temporal_address: str, ring: KeyRing, tmp_path: Path
) -> None:
    writer = await connected(temporal_address, options(ring, tmp_path))
    handle = await run_flow(writer, "small")
    reader = await connected(temporal_address, options(ring.rotated(), tmp_path))
    assert await reader.get_workflow_handle(handle.id).result() == "SMALL" + SECRET


async def test_lost_object_is_named(temporal_address: str, ring: KeyRing, tmp_path: Path) -> None:
    client = await connected(temporal_address, options(ring, tmp_path))
    handle = await run_flow(client, "x" * LARGE)
    for path in (tmp_path / "objects").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(codec.ObjectMissing, match="v1/ns/default/sha256/"):
        await handle.result()


async def test_both_formats_are_read(temporal_address: str, ring: KeyRing, tmp_path: Path) -> None:
    """What the samples' format writes is read by a client that writes ours, and the reverse."""
    samples = sdk.DataConverterOptions(
        namespace="default", key_ring=ring, write_format=codec.WriteFormat.SAMPLES
    )
    handle = await run_flow(await connected(temporal_address, samples), "small")
    reader = await connected(temporal_address, options(ring, tmp_path))
    assert await reader.get_workflow_handle(handle.id).result() == "SMALL" + SECRET


def test_errors_are_one_family() -> None:
    for name in codec.__all__:
        member = getattr(codec, name)
        if isinstance(member, type) and issubclass(member, Exception) and name != "SecretFileError":
            assert issubclass(member, CodecError)


async def test_converter_encodes_in_the_order_compress_encrypt_store(ring: KeyRing, tmp_path: Path) -> None:
    settings = sdk.DataConverterOptions(
        namespace="default", key_ring=ring, object_store=tmp_path.as_uri(), offload_threshold_bytes=1
    )
    converter = sdk.data_converter(settings)
    assert converter.external_storage is not None
    [driver] = converter.external_storage.drivers
    assert isinstance(driver, ObjectStoreDriver)
    [reference] = await converter.encode([SECRET * 1000])
    assert reference.metadata["messageType"] == REFERENCE
    [path] = [path for path in tmp_path.rglob("*") if path.is_file()]
    lying = Payload.FromString(path.read_bytes())
    assert codec.is_encrypted(lying)
    assert len(lying.data) < 1000
    [inner] = await codec.EncryptionCodec(ring).decode([lying])
    assert inner.metadata["encoding"] == b"binary/zstd"
    assert await converter.decode([reference]) == [SECRET * 1000]
    results = await asyncio.gather(*(converter.encode([SECRET, index]) for index in range(20)))
    assert [await converter.decode(encoded) for encoded in results] == [
        [SECRET, index] for index in range(20)
    ]
