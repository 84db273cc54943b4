"""The driver against a real S3 server, and against one that misbehaves."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import obstore
import pytest
from temporalio.api.common.v1 import Payload

from codec import ObjectCorrupt, ObjectMissing, ObjectStoreDriver, OffloadError, StoreFull, StoreRefused
from codec.storage.driver import PART_BYTES
from codec.storage.references import read_claim
from tests.codec.test_offload import retrieve, store
from tests.object_stores import S3, Bucket, Fault, FaultyProxy
from tests.processes import free_port

SEALED = {"encoding": b"binary/tacit-encrypted"}
LARGE = 2 * 1024 * 1024


@pytest.fixture
async def proxy(s3: S3) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(s3) as proxy:
        yield proxy


def driver_of(bucket: Bucket, user: str = "writer", **more: Any) -> ObjectStoreDriver:
    return ObjectStoreDriver(bucket.url, namespace="orders.acme", options=bucket.options_of(user), **more)


def payload(size: int, *, sealed: bool = True) -> Payload:
    return Payload(metadata=SEALED if sealed else {}, data=os.urandom(size))


async def test_round_trip_in_parts_where_it_is_large(s3: S3, proxy: FaultyProxy) -> None:
    bucket = s3.bucket()
    driver = driver_of(bucket.through(proxy))
    payloads = [payload(size) for size in (10, 300_000, PART_BYTES - 100, 3 * PART_BYTES)]
    claims = await store(driver, *payloads)
    assert await retrieve(driver, *claims) == payloads
    sent = {read_claim(claim.claim_data).path: 0 for claim in claims}
    for method, path in proxy.requests:
        if method == "PUT":
            sent[path.removeprefix(f"/{bucket.name}/")] += 1
    assert list(sent.values()) == [1, 1, 1, 4]
    for path, size in bucket.objects().items():
        content = bytes(obstore.get(bucket.store(), path).bytes())
        assert hashlib.sha256(content).hexdigest() == path.rpartition("/")[2]
        assert size == len(content)


@pytest.mark.parametrize(("size", "sealed"), [(300_000, False), (LARGE, True), (3 * PART_BYTES, False)])
async def test_what_is_there_is_not_sent_again(s3: S3, proxy: FaultyProxy, size: int, sealed: bool) -> None:
    driver = driver_of(s3.bucket().through(proxy))
    one = payload(size, sealed=sealed)
    first = await store(driver, one)
    proxy.requests.clear()
    assert await store(driver, one) == first
    assert [method for method, _ in proxy.requests] == ["HEAD"]


async def test_small_sealed_payload_costs_one_request(s3: S3, proxy: FaultyProxy) -> None:
    await store(driver_of(s3.bucket().through(proxy)), payload(300_000))
    assert [method for method, _ in proxy.requests] == ["PUT"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
async def test_damage_is_healed_by_storing_the_same_again(s3: S3, damage: str) -> None:
    bucket = s3.bucket()
    driver, one = driver_of(bucket), payload(LARGE)
    [claim] = await store(driver, one)
    [path] = bucket.objects()
    content = bytes(obstore.get(bucket.store(), path).bytes())
    match damage:
        case "cut":
            obstore.put(bucket.store(), path, content[:-1])
        case "flipped":
            obstore.put(bucket.store(), path, content[:-1] + bytes([content[-1] ^ 1]))
        case _:
            obstore.delete(bucket.store(), path)
    with pytest.raises(ObjectMissing if damage == "gone" else ObjectCorrupt, match=path):
        await retrieve(driver, claim)
    assert await store(driver, one) == [claim]
    assert await retrieve(driver_of(bucket), claim) == [one]


async def test_store_that_refuses_says_so(s3: S3) -> None:
    bucket = s3.bucket()
    [claim] = await store(driver_of(bucket), payload(1000))
    reader = driver_of(bucket, "reader")
    assert await retrieve(reader, claim)
    with pytest.raises(StoreRefused, match=r"could not be written to s3://.*credentials the right") as caught:
        await store(reader, payload(1000))
    assert "\n" not in str(caught.value)
    stranger = ObjectStoreDriver(
        bucket.url, namespace="orders.acme", options=bucket.options | {"secret_access_key": "wrong"}
    )
    with pytest.raises(StoreRefused, match="could not be read from"):
        await retrieve(stranger, claim)
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("code", ["InsufficientStorage", "XMinioStorageFull"])
async def test_store_that_is_full_says_so(s3: S3, proxy: FaultyProxy, code: str) -> None:
    proxy.faults.append(Fault(methods=("PUT",), status=507, code=code))
    with pytest.raises(StoreFull, match="make room"):
        await store(driver_of(s3.bucket().through(proxy)), payload(1000))


@pytest.mark.parametrize("size", [1000, 2 * PART_BYTES])
async def test_what_passes_is_tried_again(s3: S3, proxy: FaultyProxy, size: int) -> None:
    driver, one = driver_of(s3.bucket().through(proxy)), payload(size)
    proxy.faults.append(Fault(methods=("PUT",), status=503, code="SlowDown", times=2))
    [claim] = await store(driver, one)
    proxy.faults.append(Fault(methods=("GET",), status=500, times=1))
    proxy.faults.append(Fault(methods=("GET",), close=True, times=1))
    assert await retrieve(driver, claim) == [one]


async def test_patience_is_bounded(s3: S3, proxy: FaultyProxy) -> None:
    driver = driver_of(s3.bucket().through(proxy), transfer_timeout=timedelta(seconds=2))
    proxy.faults.append(Fault(status=503, code="SlowDown"))
    before = time.monotonic()
    with pytest.raises(OffloadError, match="could not be written to") as caught:
        await store(driver, payload(1000))
    assert time.monotonic() - before < 4
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1000, 2 * PART_BYTES])
async def test_slow_store(s3: S3, proxy: FaultyProxy, size: int) -> None:
    driver = driver_of(s3.bucket().through(proxy), transfer_timeout=timedelta(seconds=1))
    proxy.faults.append(Fault(delay=timedelta(seconds=3)))
    with pytest.raises(OffloadError, match="too slow or not reachable"):
        await store(driver, payload(size))


async def test_store_that_is_not_there() -> None:
    nowhere = Bucket("bucket", f"http://127.0.0.1:{free_port()}")
    driver = driver_of(nowhere, transfer_timeout=timedelta(seconds=2))
    with pytest.raises(OffloadError, match="could not be written to s3://bucket"):
        await store(driver, payload(1000))


async def test_answer_that_is_cut(s3: S3, proxy: FaultyProxy) -> None:
    driver = driver_of(s3.bucket().through(proxy), transfer_timeout=timedelta(seconds=5))
    [claim] = await store(driver, one := payload(LARGE))
    proxy.faults.append(fault := Fault(methods=("GET",), truncate_to=100_000, times=1))
    assert await retrieve(driver, claim) == [one]
    fault.times = None
    with pytest.raises(OffloadError, match="could not be read from") as caught:
        await retrieve(driver, claim)
    assert not isinstance(caught.value, ObjectCorrupt | ObjectMissing)


async def test_answer_that_is_changed_on_its_way(s3: S3, proxy: FaultyProxy) -> None:
    driver = driver_of(s3.bucket().through(proxy))
    [claim] = await store(driver, payload(LARGE))
    proxy.faults.append(Fault(methods=("GET",), change=lambda body: body[:-1] + bytes([body[-1] ^ 1])))
    with pytest.raises(ObjectCorrupt, match="another SHA-256 than its name"):
        await retrieve(driver, claim)


async def test_requests_at_one_time_are_bounded(s3: S3, proxy: FaultyProxy) -> None:
    driver = driver_of(s3.bucket().through(proxy), concurrency_max=3)
    proxy.faults.append(Fault(delay=timedelta(milliseconds=10)))
    claims = await store(driver, *[payload(1000) for _ in range(20)])
    await retrieve(driver, *claims)
    assert proxy.running_max == 3


async def test_readers_of_other_namespaces_are_announced_once(s3: S3, proxy: FaultyProxy) -> None:
    bucket = s3.bucket()
    [claim] = await store(driver_of(bucket), one := payload(1000))
    other = ObjectStoreDriver(
        bucket.url,
        namespace="billing.acme",
        readable_namespaces=["orders.acme"],
        options=bucket.through(proxy).options,
    )
    for _ in range(2):
        assert await retrieve(other, claim) == [one]
    assert [method for method, _ in proxy.requests] == ["HEAD", "PUT", "GET", "GET"]
    assert "v1/ns/billing.acme/reads/orders.acme" in bucket.objects()


async def test_reader_without_rights_to_write_reads_all_the_same(
    s3: S3, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = s3.bucket()
    [claim] = await store(driver_of(bucket), one := payload(1000))
    other = ObjectStoreDriver(
        bucket.url,
        namespace="billing.acme",
        readable_namespaces=["orders.acme"],
        options=bucket.options_of("reader"),
    )
    assert await retrieve(other, claim) == [one]
    assert "A clean-up will not know of this reader" in caplog.text
