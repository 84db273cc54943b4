"""The object store driver: what is stored comes back as it was, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from codec import ObjectCorrupt, ObjectMissing, ObjectStoreDriver, OffloadError
from codec.storage.driver import DRIVER_NAME
from codec.storage.object_store import OpenStore

PAYLOAD = Payload(metadata={"encoding": b"binary/tacit-encrypted"}, data=b"ciphertext" * 100)


def driver_at(folder: Path, namespace: str = "orders.acme", **more: Any) -> ObjectStoreDriver:
    return ObjectStoreDriver(folder.as_uri(), namespace=namespace, **more)


async def store(driver: ObjectStoreDriver, *payloads: Payload) -> list[StorageDriverClaim]:
    return await driver.store(StorageDriverStoreContext(), payloads)


async def retrieve(driver: ObjectStoreDriver, *claims: StorageDriverClaim) -> list[Payload]:
    return await driver.retrieve(StorageDriverRetrieveContext(), claims)


def objects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def test_round_trip_in_order(tmp_path: Path) -> None:
    driver = driver_at(tmp_path / "made by the driver")
    payloads = [Payload(data=os.urandom(1000 + index)) for index in range(50)]
    claims = await store(driver, *payloads)
    assert await retrieve(driver, *claims) == payloads
    assert await retrieve(driver_at(tmp_path / "made by the driver"), *reversed(claims)) == payloads[::-1]
    assert await store(driver) == []


async def test_object_is_the_payload_under_its_hash(tmp_path: Path) -> None:
    # By UTC, wherever the writer is.
    clock = datetime(2026, 11, 27, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    [claim] = await store(driver_at(tmp_path, clock=lambda: clock), PAYLOAD)
    [path] = objects(tmp_path)
    content = PAYLOAD.SerializeToString()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.read_bytes() == content
    assert path == tmp_path / "v1" / "ns" / "orders.acme" / "sha256" / "2026-11-26" / digest[:2] / digest
    assert dict(claim.claim_data) == {
        "version": "2",
        "namespace": "orders.acme",
        "day": "2026-11-26",
        "sha256": digest,
        "size": str(len(content)),
    }


async def test_name_and_type_never_change(tmp_path: Path) -> None:
    driver = driver_at(tmp_path)
    assert driver.name() == driver.type() == DRIVER_NAME == "tacit.objectstore"


async def test_storing_twice_heals_a_damaged_object(tmp_path: Path) -> None:
    driver = driver_at(tmp_path)
    [claim] = await store(driver, PAYLOAD)
    [path] = objects(tmp_path)
    path.write_bytes(b"")
    assert await store(driver, PAYLOAD) == [claim]
    assert await retrieve(driver, claim) == [PAYLOAD]


async def test_missing_object_is_named(tmp_path: Path) -> None:
    driver = driver_at(tmp_path)
    [claim] = await store(driver, PAYLOAD)
    [path] = objects(tmp_path)
    path.unlink()
    with pytest.raises(ObjectMissing) as caught:
        await retrieve(driver, claim)
    assert str(path.relative_to(tmp_path)) in str(caught.value)
    assert tmp_path.as_uri() in str(caught.value)


@pytest.mark.parametrize("damage", ["flip", "cut", "extend", "empty", "another"])
async def test_damaged_object_is_found(tmp_path: Path, damage: str) -> None:
    driver = driver_at(tmp_path)
    [claim] = await store(driver, PAYLOAD)
    [path] = objects(tmp_path)
    content = path.read_bytes()
    match damage:
        case "flip":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "cut":
            path.write_bytes(content[:-1])
        case "extend":
            path.write_bytes(content + b"\0")
        case "empty":
            path.write_bytes(b"")
        case _:
            path.write_bytes(Payload(data=b"x" * (len(content) - 3)).SerializeToString())
    with pytest.raises(ObjectCorrupt, match=path.name):
        await retrieve(driver, claim)


async def test_object_that_is_no_payload(tmp_path: Path) -> None:
    content = b"\xff" * 10
    digest = hashlib.sha256(content).hexdigest()
    path = tmp_path / "v1/ns/orders.acme/sha256" / digest[:2] / digest
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    claim = {"version": "1", "namespace": "orders.acme", "sha256": digest, "size": "10"}
    with pytest.raises(ObjectCorrupt, match="no Temporal payload"):
        await retrieve(driver_at(tmp_path), StorageDriverClaim(claim))


class TestReferencesFromAnAttacker:
    @pytest.mark.parametrize(
        "change",
        [
            {"namespace": "../.."},
            {"namespace": ".."},
            {"namespace": "a/../../b"},
            {"namespace": "/etc"},
            {"namespace": "orders.acme/sha256"},
            {"namespace": "orders.acme\n"},
            {"namespace": "%2e%2e"},
            {"namespace": ""},
            {"sha256": "../../../../../../etc/passwd"},
            {"sha256": "A" * 64},
            {"sha256": "a" * 63},
            {"sha256": "a" * 64 + "\n"},
            {"sha256": "a" * 63 + "/"},
            {"day": "../../x"},
            {"day": "2026-13-01"},
            {"day": "2026-1-1"},
            {"day": "٢٠٢٦-11-26"},
            {"day": ""},
            {"size": "-1"},
            {"size": "1e3"},
            {"size": "٣"},
            {"size": ""},
            {"size": "9" * 12},
        ],
    )
    async def test_no_part_of_a_path_gets_through(self, tmp_path: Path, change: dict[str, str]) -> None:
        driver = driver_at(tmp_path)
        [claim] = await store(driver, PAYLOAD)
        with pytest.raises(OffloadError, match=r"malformed|names an object of") as caught:
            await retrieve(driver, StorageDriverClaim(dict(claim.claim_data) | change))
        assert not isinstance(caught.value, ObjectMissing)

    @given(
        version=st.sampled_from(["1", "2"]),
        claim=st.dictionaries(
            st.sampled_from(["version", "namespace", "day", "sha256", "size", "x"]), st.text()
        ),
    )
    def test_garbage(
        self, version: str, claim: dict[str, str], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        driver = driver_at(tmp_path_factory.getbasetemp() / "garbage")
        with pytest.raises(OffloadError):
            asyncio.run(retrieve(driver, StorageDriverClaim({"version": version} | claim)))

    async def test_another_namespace_is_refused_unless_allowed(self, tmp_path: Path) -> None:
        [claim] = await store(driver_at(tmp_path, "billing.acme"), PAYLOAD)
        with pytest.raises(OffloadError, match=r"'billing\.acme', which this client may not read.*readable"):
            await retrieve(driver_at(tmp_path), claim)
        allowed = driver_at(tmp_path, readable_namespaces=["billing.acme"])
        assert await retrieve(allowed, claim) == [PAYLOAD]

    async def test_version_of_another_driver(self, tmp_path: Path) -> None:
        claim = StorageDriverClaim({"bucket": "b", "key": "v0/d/sha256/00"})
        with pytest.raises(OffloadError, match="another program's, or a newer Tacit's"):
            await retrieve(driver_at(tmp_path), claim)


@pytest.mark.parametrize("namespace", ["", ".", "..", "a/b", "../a", "a b", "-a", "ä", "a\n", "a" * 256])
def test_namespace_without_a_safe_path_is_refused(tmp_path: Path, namespace: str) -> None:
    with pytest.raises(OffloadError, match="cannot name a prefix"):
        driver_at(tmp_path, namespace)
    with pytest.raises(OffloadError, match="cannot name a prefix"):
        driver_at(tmp_path, readable_namespaces=[namespace])


@pytest.mark.parametrize("url", ["", "/tmp/x", "memory:///", "http://host/x", "ftp://host/x", "S3//bucket"])
def test_what_is_no_object_store_is_refused(url: str) -> None:
    with pytest.raises(OffloadError, match=r"is no object store\. Use file:///directory"):
        ObjectStoreDriver(url, namespace="a")


def test_unknown_option_is_refused() -> None:
    with pytest.raises(OffloadError, match=r"s3://bucket/p cannot be opened: .*colour"):
        ObjectStoreDriver("s3://bucket/p", namespace="a", options={"colour": "red"})


def test_same_code_opens_a_bucket_and_shows_no_secret() -> None:
    driver = ObjectStoreDriver(
        "s3://user:hunter2@bucket/p?secret=hunter2",
        namespace="a",
        options={"region": "eu-central-1", "access_key_id": "id", "secret_access_key": "hunter2"},
    )
    assert repr(driver) == "ObjectStoreDriver('s3://bucket/p', namespace='a')"


async def test_store_that_refuses_is_named_in_one_line(tmp_path: Path) -> None:
    driver = driver_at(tmp_path)
    (tmp_path / "v1").write_bytes(b"in the way")
    with pytest.raises(OffloadError, match="could not be written to file://") as caught:
        await store(driver, PAYLOAD)
    assert "\n" not in str(caught.value)


async def test_too_large_a_payload_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec.storage.driver.OBJECT_MAX_BYTES", 100)
    with pytest.raises(OffloadError, match="larger than an object may be"):
        await store(driver_at(tmp_path), PAYLOAD)
    assert objects(tmp_path) == []


async def test_transfers_at_one_time_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = driver_at(tmp_path, concurrency_max=3)
    inner, running, peak = driver._put, 0, 0

    async def counted(payload: Payload) -> StorageDriverClaim:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        try:
            return await inner(payload)
        finally:
            running -= 1

    monkeypatch.setattr(driver, "_put", counted)
    payloads = [Payload(data=bytes([index])) for index in range(30)]
    await asyncio.gather(*(store(driver, payload) for payload in payloads))
    assert peak == 3


def test_a_driver_outlives_its_event_loop(tmp_path: Path) -> None:
    driver = driver_at(tmp_path, concurrency_max=1)
    for _ in range(2):
        claims = asyncio.run(store(driver, *[Payload(data=bytes([index])) for index in range(5)]))
        assert len(asyncio.run(retrieve(driver, *claims))) == 5


async def test_one_failure_among_many_is_the_one_that_is_told(tmp_path: Path) -> None:
    driver = driver_at(tmp_path)
    claims = await store(driver, *[Payload(data=bytes([index])) for index in range(10)])
    objects(tmp_path)[4].unlink()
    with pytest.raises(ObjectMissing):
        await retrieve(driver, *claims)


async def test_any_object_store_will_do(tmp_path: Path) -> None:
    driver = ObjectStoreDriver(OpenStore(MemoryStore(), "memory"), namespace="orders.acme")
    claims = await store(driver, PAYLOAD)
    assert await retrieve(driver, *claims) == [PAYLOAD]
    assert objects(tmp_path) == []
