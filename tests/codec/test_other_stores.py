"""Payloads, files and keys in stores that are neither S3 nor a directory: GCS and Azure (`tests/other_stores.py` says on what)."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import codec
import sdk
from codec import FixedKeys, KeyRing, ObjectStoreDriver, Scope, SubjectKeys, SubjectStore, create_key_ring
from codec.files.file_key import FileKeys
from codec.files.inventory import delete_file, list_files
from codec.files.layout import Shape
from codec.files.store import FileStore
from codec.keys.subjects import each_workflow
from codec.storage.cache import ObjectCache
from codec.storage.driver import PART_BYTES
from codec.storage.gc import Stored
from codec.storage.gc_run import Options, Source, collect
from codec.storage.gc_store import GcStore
from codec.storage.object_store import open_store
from codec.storage.readers import readers_of
from codec.storage.references import objects_prefix
from sdk import files
from sdk.settings import CodecSettings
from tests.codec.test_offload import retrieve, store
from tests.gcs_server import GcsServer
from tests.object_stores import Fault
from tests.other_stores import KINDS, Place, gcs_place, place_of, why_not
from tests.processes import tacit_dev

RING = KeyRing.create("orders.acme", key_id="k1")
SHAPE = Shape(segment_bytes=64 * 1024, chunk_bytes=4096)
CONTENT = random.Random(1).randbytes(10 * 64 * 1024 + 77)


@pytest.fixture(params=KINDS)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if reason := why_not(request.param):
        pytest.skip(reason)
    async with place_of(request.param, tmp_path / "server") as place:
        yield place


@pytest.fixture
async def gcs() -> AsyncIterator[Place]:
    async with GcsServer() as server:
        yield gcs_place(server)


def driver_of(place: Place, **more: Any) -> ObjectStoreDriver:
    return ObjectStoreDriver(place.url, **{"namespace": "orders.acme", "options": place.options} | more)


def file_store(place: Place, shape: Shape = SHAPE) -> FileStore:
    return FileStore(place.store(), namespace="orders.acme", keys=FileKeys(keys=FixedKeys(RING)), shape=shape)


def payload(size: int) -> Payload:
    return Payload(metadata={"encoding": b"binary/tacit-encrypted"}, data=os.urandom(size))


async def paths(place: Place) -> list[str]:
    return [one["path"] async for page in obstore.list(place.store().raw) for one in page]


async def test_payloads_there_and_back_in_parts_where_they_are_large(place: Place, tmp_path: Path) -> None:
    driver = driver_of(place)
    payloads = [payload(size) for size in (10, 300_000, PART_BYTES - 100, 3 * PART_BYTES)]
    claims = await store(driver, *payloads)
    cache = ObjectCache(tmp_path / "cache")
    cached = driver_of(place, cache=cache)
    assert await retrieve(cached, *claims) == payloads
    # The second time nothing is fetched.
    elsewhere = driver_of(place, cache=cache)
    for path in await paths(place):
        await obstore.delete_async(place.store().raw, path)
    assert await retrieve(elsewhere, *claims) == payloads
    with pytest.raises(codec.ObjectMissing, match="It was deleted while"):
        await retrieve(driver, claims[0])


async def test_damage_is_told_and_healed(place: Place) -> None:
    driver, one = driver_of(place), payload(2 * 1024 * 1024)
    [claim] = await store(driver, one)
    # What is there is not sent again.
    assert await store(driver, one) == [claim]
    [path] = await paths(place)
    raw = place.store().raw
    content = bytes(await (await obstore.get_async(raw, path)).bytes_async())
    for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1])):
        await obstore.put_async(raw, path, damaged)
        with pytest.raises(codec.ObjectCorrupt, match=path):
            await retrieve(driver, claim)
    assert await store(driver, one) == [claim]
    assert await retrieve(driver_of(place), claim) == [one]


async def test_who_may_not_write_is_told(place: Place) -> None:
    if place.reader is None or place.stranger is None:
        pytest.skip("there are no clients with fewer rights")
    [claim] = await store(driver_of(place), one := payload(1000))
    reader = driver_of(place, options=place.reader)
    assert await retrieve(reader, claim) == [one]
    for size in (1000, 2 * PART_BYTES):
        with pytest.raises(codec.StoreRefused, match=r"could not be written to .*credentials the right"):
            await store(reader, payload(size))
    gc = GcStore(open_store(place.url, place.reader), "orders.acme", files=True)
    # Azurite answers 500 to a batch of deletions by a signature without that right.
    expected = codec.OffloadError if place.kind == "azurite" else codec.StoreRefused
    due = [Stored(key=path, size=1, modified=datetime.now(UTC)) for path in await paths(place)]
    with pytest.raises(expected, match="could not be deleted from"):
        [one async for one in gc.delete(due)]
    assert await retrieve(reader, claim) == [one]
    stranger = driver_of(place, options=place.stranger)
    with pytest.raises(codec.StoreRefused, match="could not be read from"):
        await retrieve(stranger, claim)
    with pytest.raises(codec.StoreRefused, match="could not be listed in"):
        [one async for one in list_files(open_store(place.url, place.stranger), "orders.acme")]


async def test_a_bucket_that_is_not_there_is_told(place: Place) -> None:
    scheme = place.url.partition("://")[0]
    nowhere = ObjectStoreDriver(
        f"{scheme}://tests-{uuid.uuid4().hex}/prefix", namespace="orders.acme", options=place.options
    )
    with pytest.raises(codec.OffloadError, match="bucket or container is not there"):
        await store(nowhere, payload(1000))


async def test_files_there_and_back_by_range_and_away(place: Place) -> None:
    stored = file_store(place)
    handle = await stored.put(CONTENT, upload="u")
    # The same again is recognised.
    assert await stored.put(CONTENT, upload="u") == handle
    async with file_store(place).open(handle) as stream:
        assert await stream.read() == CONTENT
        assert await stream.read_range(64 * 1024 - 5, 10) == CONTENT[64 * 1024 - 5 : 64 * 1024 + 5]
        assert await stream.read_range(len(CONTENT) - 3, 10) == CONTENT[-3:]
    [found] = [one async for one in list_files(place.store(), "orders.acme")]
    assert (found.address.uri, found.complete, found.objects) == (handle.uri, True, 13)
    assert await delete_file(place.store(), found.address) == 13
    assert await delete_file(place.store(), found.address) == 0
    assert await paths(place) == []


async def test_files_of_the_usual_size(place: Place) -> None:
    stored = file_store(place, Shape())
    content = random.Random(2).randbytes(20 * 1024 * 1024)
    handle = await stored.put(content)
    async with stored.open(handle) as stream:
        assert await stream.read() == content


async def test_what_a_collection_needs(place: Place) -> None:
    driver = driver_of(place)
    await store(driver, *[payload(1000 + size) for size in range(20)])
    handle = await file_store(place).put(CONTENT)
    other = driver_of(place, namespace="billing.acme", readable_namespaces=["orders.acme"])
    await store(other, payload(10))
    assert await readers_of(place.store(), "orders.acme") == ["billing.acme"]
    gc = GcStore(place.store(), "orders.acme", files=True)
    found = [one async for one in gc.stored()]
    assert len(found) == 21
    assert found[-1].key == handle.uri
    now = await gc.now()
    assert timedelta(0) <= now - max(one.modified for one in found) < timedelta(minutes=5)
    memory = await gc.remembered()
    await gc.remember(memory)
    assert await gc.remembered() == memory
    # Another collection was faster with one of them; the rest goes all the same.
    await obstore.delete_async(place.store().raw, found[5].key)
    assert [one.key async for one in gc.delete(found)] == [one.key for one in found]
    assert [one async for one in gc.stored()] == []


async def test_keys_of_subjects(place: Place) -> None:
    """They rest on writes that are made only if nobody else was faster."""

    def keys() -> SubjectKeys:
        return SubjectKeys(
            FixedKeys(RING), SubjectStore(place.url, place.options), each_workflow, binding="orders.acme"
        )

    scope = Scope(namespace="orders.acme", workflow_id="w")
    first, second = keys(), keys()
    key = await first.fetch_sealing(scope, 100)
    opened = await second.fetch_opening(key.id, key.wrapped, scope)
    assert opened.material.same_as(key.material)
    one, other = SubjectStore(place.url, place.options), SubjectStore(place.url, place.options)
    [index] = [index async for index in one.indexes()]
    found, same = await one.read(index), await other.read(index)
    assert found is not None
    assert same is not None
    assert not await one.create(found.record)
    assert await one.exchange(found, found.record)
    assert not await other.exchange(same, same.record)


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, text: str) -> str:
        return text[::-1]


async def test_workflows_files_and_a_collection(place: Place, tmp_path: Path) -> None:
    """All together, from a profile's settings."""
    create_key_ring(tmp_path / "ring.json", KeyRing.create("default"))
    server = tacit_dev(tmp_path)
    server.start()
    try:
        settings = CodecSettings(
            key_ring=tmp_path / "ring.json",
            object_store=place.url,
            object_store_options=place.options,
            object_store_cache=tmp_path / "cache",
        )
        sdk.write_profile(
            tmp_path / "temporal.toml",
            "default",
            address=server.address,
            namespace="default",
            tls=False,
            codec=settings,
        )
        profile = sdk.load_profile("default", config_file=tmp_path / "temporal.toml", environment={})
        client = await sdk.connect(profile)
        text = os.urandom(500_000).hex()
        async with Worker(
            client, task_queue="q", workflows=[Echo], workflow_runner=UnsandboxedWorkflowRunner()
        ):
            assert await client.execute_workflow(Echo.run, text, id="w", task_queue="q") == text[::-1]
        handle = await files.of(client).put(CONTENT)
        async with files.of(client).open(handle) as stream:
            assert await stream.read() == CONTENT
        await store(driver_of(place, namespace="default"), payload(1000))
        before = [path for path in await paths(place) if path.startswith(objects_prefix("default"))]
        assert len(before) == 3

        source = Source(
            service=client.workflow_service,
            namespace="default",
            store=GcStore(place.store(), "default", files=False),
        )
        for days in (30, 60):
            moment = datetime.now(UTC) + timedelta(days=days)
            [done] = await collect([source], Options(delete=True), clock=lambda moment=moment: moment)
        assert done.deleted.objects == 1
        after = [path for path in await paths(place) if path.startswith(objects_prefix("default"))]
        assert len(after) == 2
        assert set(after) < set(before)
    finally:
        server.stop()


class TestGcs:
    """What only a server that misbehaves shows."""

    async def test_plain_http_is_spoken_only_where_an_option_says_so(
        self, gcs: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert gcs.gcs is not None
        account = {"service_account_key": gcs.options["service_account_key"]}
        monkeypatch.setenv("GOOGLE_BASE_URL", gcs.gcs.endpoint)
        with pytest.raises(codec.OffloadError, match="give its address in object-store-options"):
            await store(driver_of(gcs, options=account), payload(10))
        assert gcs.gcs.requests == []
        await store(driver_of(gcs, options=account | {"google_base_url": gcs.gcs.endpoint}), payload(10))

    async def test_a_machine_s_own_credentials(
        self, gcs: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        assert gcs.gcs is not None
        for name in list(os.environ):
            if name.startswith("GOOGLE_"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("GCE_METADATA_HOST", gcs.gcs.endpoint.removeprefix("http://"))
        driver = driver_of(gcs, options={"base_url": gcs.gcs.endpoint})
        [claim] = await store(driver, one := payload(10))
        assert await retrieve(driver, claim) == [one]

    @pytest.mark.parametrize("size", [1000, 2 * PART_BYTES])
    async def test_what_passes_is_tried_again(self, gcs: Place, size: int) -> None:
        async with gcs.faulty() as (through, proxy):
            driver, one = driver_of(through), payload(size)
            proxy.faults = [
                Fault(methods=("PUT",), status=503, code="SlowDown", times=1),
                Fault(methods=("PUT",), status=429, code="SlowDown", times=1),
                Fault(methods=("POST",), status=503, code="SlowDown", times=1),
            ]
            [claim] = await store(driver, one)
            proxy.faults = [
                Fault(methods=("GET",), status=500, times=1),
                Fault(methods=("GET",), close=True, times=1),
                Fault(methods=("GET",), truncate_to=100, times=1) if size > 1000 else Fault(times=0),
            ]
            assert await retrieve(driver, claim) == [one]

    async def test_one_write_a_second_to_one_name_is_waited_for(self) -> None:
        async with GcsServer(write_seconds=1.0) as server:
            place, one = gcs_place(server), Payload(data=os.urandom(1000))
            drivers = [driver_of(place) for _ in range(3)]
            claims = await asyncio.gather(*(store(driver, one) for driver in drivers))
            assert len({claim.claim_data["sha256"] for [claim] in claims}) == 1
            assert sum(request.startswith("PUT") for request in server.requests) > 3

    async def test_a_refused_part_leaves_no_upload(self, gcs: Place) -> None:
        assert gcs.gcs is not None
        async with gcs.faulty() as (through, proxy):
            proxy.faults = [Fault(methods=("PUT",), status=403, code="AccessDenied")]
            with pytest.raises(codec.StoreRefused):
                await store(driver_of(through), payload(2 * PART_BYTES))
        assert gcs.gcs.uploads == {}
