"""Files on a real S3 server, and on one that misbehaves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import obstore
import pytest

import codec
from codec import FixedKeys, KeyRing, open_store
from codec.files.file_key import FileKeys
from codec.files.handle import FileAddress, FileHandle
from codec.files.inventory import delete_file, list_files
from codec.files.layout import Shape
from codec.files.store import FileStore
from codec.files.uploading import BUFFERS, SENDING_MAX
from codec.storage.cache import ObjectCache
from tests.object_stores import S3, Bucket, Fault, FaultyProxy

RING = KeyRing.create("orders.acme", key_id="k1")
SHAPE = Shape(segment_bytes=64 * 1024, chunk_bytes=4096)
CONTENT = random.Random(1).randbytes(10 * 64 * 1024 + 77)


def made_bucket(s3: S3) -> Bucket:
    """A bucket that is there before the first look into it: this server makes them at the first write."""
    bucket = s3.bucket()
    obstore.put(bucket.store(), "ready", b"")
    return bucket


def file_store(
    bucket: Bucket, user: str = "writer", shape: Shape = SHAPE, cache: ObjectCache | None = None
) -> FileStore:
    return FileStore(
        open_store(bucket.url, bucket.options_of(user)),
        namespace="orders.acme",
        keys=FileKeys(keys=FixedKeys(RING)),
        shape=shape,
        cache=cache,
    )


async def read(files: FileStore, handle: FileHandle) -> bytes:
    async with files.open(handle) as stream:
        return await stream.read()


async def test_there_and_back_by_range_and_away(s3: S3) -> None:
    bucket = made_bucket(s3)
    files = file_store(bucket)
    handle = await files.put(CONTENT, upload="u")
    assert await read(file_store(bucket, "reader"), handle) == CONTENT
    async with files.open(handle) as stream:
        assert await stream.read_range(64 * 1024 - 5, 10) == CONTENT[64 * 1024 - 5 : 64 * 1024 + 5]
        assert await stream.read_range(len(CONTENT) - 3, 10) == CONTENT[-3:]
    store = open_store(bucket.url, bucket.options)
    [found] = [one async for one in list_files(store, "orders.acme")]
    assert (found.address.uri, found.complete, found.objects) == (handle.uri, True, 13)
    assert await delete_file(store, found.address) == 13
    assert [path for path in bucket.objects() if path != "ready"] == []
    with pytest.raises(codec.ObjectMissing, match="manifest-"):
        await read(files, handle)


async def test_segments_of_the_usual_size(s3: S3) -> None:
    files = file_store(made_bucket(s3), shape=Shape())
    content = random.Random(2).randbytes(20 * 1024 * 1024)
    assert await read(files, await files.put(content)) == content


async def test_an_upload_that_goes_on_sends_only_the_rest(s3: S3) -> None:
    bucket = made_bucket(s3)
    async with FaultyProxy(s3) as proxy:
        files = file_store(bucket.through(proxy))
        # The fifth segment and all after it are refused for good.
        proxy.faults = [
            Fault(("PUT",), f"segment-00000{n}", status=403, code="AccessDenied") for n in range(4, 10)
        ]
        with pytest.raises(codec.StoreRefused, match="could not be written to"):
            await files.put(CONTENT, upload="u")
        proxy.faults, proxy.requests = [], []
        there = {path for path in bucket.objects() if "/segment-" in path}
        assert there
        handle = await files.put(CONTENT, upload="u")
        sent = {path for method, path in proxy.requests if method == "PUT" and "/segment-" in path}
        assert len(sent) == 11 - len(there)
        assert {path.partition("/v1/")[2] for path in sent}.isdisjoint(
            path.partition("/")[2] for path in there
        )
        assert await read(files, handle) == CONTENT


async def test_what_the_store_does_wrong_for_a_moment_is_not_noticed(s3: S3) -> None:
    bucket = made_bucket(s3)
    async with FaultyProxy(s3) as proxy:
        files = file_store(bucket.through(proxy))
        proxy.faults = [Fault(("PUT",), "segment-000003", status=503, code="SlowDown", times=2)]
        handle = await files.put(CONTENT, upload="u")
        proxy.faults = [
            Fault(("GET",), "segment-000001", status=500, times=1),
            Fault(("GET",), "segment-000002", truncate_to=1000, times=1),
            Fault(("GET",), "segment-000003", close=True, times=1),
        ]
        assert await read(files, handle) == CONTENT


async def test_what_the_store_does_wrong_for_good_is_told(s3: S3) -> None:
    bucket = made_bucket(s3)
    async with FaultyProxy(s3) as proxy:
        files = file_store(bucket.through(proxy))
        handle = await files.put(CONTENT)
        for change, error, words in (
            (
                lambda content: content[:-1] + bytes([content[-1] ^ 1]),
                codec.ObjectCorrupt,
                "does not authenticate",
            ),
            (lambda content: content[:-1], codec.ObjectCorrupt, "65791 bytes, and 65792 were stored"),
            (lambda content: content + b"x" * 10_000_000, codec.ObjectCorrupt, "10065792 bytes"),
        ):
            proxy.faults = [Fault(("GET",), "segment-000002", change=change)]
            with pytest.raises(error, match=words):
                await read(files, handle)
        proxy.faults = [Fault(("GET",), "manifest-", status=404, code="NoSuchKey")]
        with pytest.raises(codec.ObjectMissing, match="manifest-"):
            await read(files, handle)


async def test_who_may_not_write_is_told(s3: S3) -> None:
    bucket = made_bucket(s3)
    handle = await file_store(bucket).put(CONTENT)
    with pytest.raises(codec.StoreRefused, match="could not be written to"):
        await file_store(bucket, "reader").put(CONTENT)
    assert await read(file_store(bucket, "reader"), handle) == CONTENT


async def test_a_slow_store_slows_the_source_and_a_slow_reader_the_store(s3: S3) -> None:
    """What is held at one time is a handful of segments, however large the file."""
    bucket = made_bucket(s3)
    async with FaultyProxy(s3) as proxy:
        files = file_store(bucket.through(proxy))
        proxy.faults = [Fault(("PUT",), "segment-", delay=timedelta(milliseconds=20))]
        given, ahead_max = 0, 0

        async def source() -> AsyncIterator[bytes]:
            nonlocal given, ahead_max
            for at in range(0, len(CONTENT), 64 * 1024):
                given += 1
                puts = sum(method == "PUT" and "/segment-" in path for method, path in proxy.requests)
                ahead_max = max(ahead_max, given - puts)
                yield CONTENT[at : at + 64 * 1024]

        handle = await files.put(source())
        assert ahead_max <= BUFFERS + SENDING_MAX
        assert proxy.running_max <= 3
        proxy.faults, proxy.requests = [], []
        async with files.open(handle) as stream:
            await stream.read(1)
            await asyncio.sleep(0.2)
            assert sum("/segment-" in path for _, path in proxy.requests) <= 4
    assert FileAddress.parse(handle.uri).namespace == "orders.acme"


class TestCache:
    def gets(self, proxy: FaultyProxy) -> int:
        return sum(method == "GET" and "/segment-" in path for method, path in proxy.requests)

    def kept(self, folder: Path) -> list[Path]:
        return [path for path in folder.glob("*/*") if path.is_file()]

    async def test_what_this_host_put_or_read_is_not_fetched(self, s3: S3, tmp_path: Path) -> None:
        bucket = made_bucket(s3)
        async with FaultyProxy(s3) as proxy:
            cache = ObjectCache(tmp_path / "one")
            files = file_store(bucket.through(proxy), cache=cache)
            handle = await files.put(CONTENT)
            assert await read(files, handle) == CONTENT
            async with files.open(handle, start=70_000, stop=70_010) as stream:
                assert await stream.read() == CONTENT[70_000:70_010]
            assert self.gets(proxy) == 0
            another = file_store(bucket.through(proxy), cache=ObjectCache(tmp_path / "two"))
            for _ in range(3):
                assert await read(another, handle) == CONTENT
            assert self.gets(proxy) == 11
        # As it lies in the store: nothing readable.
        for path in self.kept(tmp_path / "one"):
            assert CONTENT[:16] not in path.read_bytes()
        assert len(self.kept(tmp_path / "one")) == 11

    @pytest.mark.parametrize("damage", ["flip", "cut", "exchange", "delete"])
    async def test_a_damaged_cache_is_mended_from_the_store(
        self, s3: S3, tmp_path: Path, damage: str
    ) -> None:
        files = file_store(made_bucket(s3), cache=ObjectCache(tmp_path))
        handle = await files.put(CONTENT)
        one, other = self.kept(tmp_path)[:2]
        content = one.read_bytes()
        match damage:
            case "flip":
                one.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            case "cut":
                one.write_bytes(content[:100])
            case "exchange":
                one.write_bytes(other.read_bytes())
            case _:
                one.unlink()
        for _ in range(2):
            assert await read(files, handle) == CONTENT
        assert one.read_bytes() == content

    async def test_a_file_too_large_for_the_cache_leaves_it_alone(self, s3: S3, tmp_path: Path) -> None:
        files = file_store(made_bucket(s3), cache=ObjectCache(tmp_path, bytes_max=1024 * 1024))
        content = bytes(600 * 1024)
        assert await read(files, await files.put(content)) == content
        assert self.kept(tmp_path) == []

    async def test_a_directory_needs_none(self, tmp_path: Path) -> None:
        files = FileStore(
            open_store((tmp_path / "objects").as_uri()),
            namespace="orders.acme",
            keys=FileKeys(keys=None),
            cache=ObjectCache(tmp_path / "cache"),
        )
        assert await read(files, await files.put(CONTENT)) == CONTENT
        assert not (tmp_path / "cache").exists()
