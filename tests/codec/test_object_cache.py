"""The local cache of objects: bounded, checked, shared by processes, and never in the way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload

from codec import ObjectCache, ObjectMissing, OffloadError
from codec.storage.cache import CACHE_BYTES_MIN
from tests.codec.test_offload import driver_at, objects, retrieve, store

SEALED = {"encoding": b"binary/tacit-encrypted"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kept(cache: ObjectCache) -> list[Path]:
    return [path for path in cache.directory.rglob("*") if path.is_file() and path.name != "lock"]


def bytes_in(cache: ObjectCache) -> int:
    return sum(path.stat().st_size for path in kept(cache))


def cache_in(folder: Path, **more: Any) -> ObjectCache:
    return ObjectCache(folder / "cache", **more)


async def test_second_read_needs_no_store(tmp_path: Path) -> None:
    payloads = [Payload(metadata=SEALED, data=os.urandom(300_000 + index)) for index in range(5)]
    claims = await store(driver_at(tmp_path / "store"), *payloads)
    cache = cache_in(tmp_path)
    reader = driver_at(tmp_path / "store", cache=cache)
    assert await retrieve(reader, *claims) == payloads
    for path in objects(tmp_path / "store"):
        path.unlink()
    assert await retrieve(reader, *claims) == payloads
    # Another process of the same host.
    assert await retrieve(driver_at(tmp_path / "store", cache=cache_in(tmp_path)), *claims) == payloads
    with pytest.raises(ObjectMissing):
        await retrieve(driver_at(tmp_path / "store"), claims[0])


async def test_writing_fills_it_with_what_lies_in_the_store(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    one = Payload(metadata=SEALED, data=os.urandom(300_000))
    [claim] = await store(driver_at(tmp_path / "store", cache=cache), one)
    [path], [lying] = kept(cache), objects(tmp_path / "store")
    assert path.read_bytes() == lying.read_bytes() == one.SerializeToString()
    assert path.name == claim.claim_data["sha256"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert cache.directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
async def test_damaged_file_is_read_from_the_store_and_mended(tmp_path: Path, damage: str) -> None:
    cache = cache_in(tmp_path)
    driver = driver_at(tmp_path / "store", cache=cache)
    one = Payload(metadata=SEALED, data=os.urandom(300_000))
    [claim] = await store(driver, one)
    [path] = kept(cache)
    content = path.read_bytes()
    match damage:
        case "flip":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "cut":
            path.write_bytes(content[:-1])
        case _:
            path.write_bytes(b"")
    assert await retrieve(driver, claim) == [one]
    assert path.read_bytes() == content


async def test_what_may_not_be_read_is_not_read_from_the_cache_either(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    [claim] = await store(
        driver_at(tmp_path / "store", "billing.acme", cache=cache), Payload(data=b"x" * 1000)
    )
    with pytest.raises(OffloadError, match="may not read"):
        await retrieve(driver_at(tmp_path / "store", cache=cache), claim)


def test_it_stays_within_its_bound_and_forgets_the_longest_unused(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, bytes_max=CACHE_BYTES_MIN)
    favourite = os.urandom(10_000)
    cache.write(sha256(favourite), favourite)
    for index in range(400):
        content = os.urandom(10_000)
        cache.write(sha256(content), content)
        if index % 10 == 0:
            # As if a minute had gone by since it was last read.
            path = cache.directory / sha256(favourite)[:2] / sha256(favourite)
            os.utime(path, (time.time() - 61, time.time() - 61))
            assert cache.read(sha256(favourite)) == favourite
        assert bytes_in(cache) <= CACHE_BYTES_MIN * 17 // 16 + 10_000
    assert cache.read(sha256(favourite)) == favourite
    assert bytes_in(cache) > CACHE_BYTES_MIN // 2


def test_too_large_an_object_is_not_kept(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, bytes_max=CACHE_BYTES_MIN)
    content = os.urandom(CACHE_BYTES_MIN // 4 + 1)
    cache.write(sha256(content), content)
    assert not cache.directory.exists()


def test_leftovers_of_a_crash_are_cleared(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    content = b"x" * 1000
    cache.write(sha256(content), content)
    [path] = kept(cache)
    old, new = path.with_name(".old.tmp"), path.with_name(".new.tmp")
    for leftover in (old, new):
        leftover.write_bytes(b"begun")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    cache.trim()
    assert (old.exists(), new.exists(), path.exists()) == (False, True, True)


def test_a_cache_that_is_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OffloadError, match="object-store-cache-bytes"):
        cache_in(tmp_path, bytes_max=1000)


async def test_a_cache_that_cannot_be_used_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_bytes(b"in the way")
    driver = driver_at(tmp_path / "store", cache=cache_in(tmp_path))
    payloads = [Payload(data=os.urandom(1000)) for _ in range(3)]
    assert await retrieve(driver, *await store(driver, *payloads)) == payloads
    assert caplog.text.count("can't be written") == 1


_WORKER = """
import hashlib, random, sys
from pathlib import Path
from codec.storage.cache import ObjectCache
cache = ObjectCache(Path(sys.argv[1]), bytes_max=int(sys.argv[2]))
source = random.Random(int(sys.argv[3]))
for _ in range(600):
    content = random.Random(source.randrange(300)).randbytes(20_000)
    name = hashlib.sha256(content).hexdigest()
    found = cache.read(name)
    assert found is None or found == content
    cache.write(name, content)
"""


def test_several_processes_share_it(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, bytes_max=2 * CACHE_BYTES_MIN)
    command = [sys.executable, "-c", _WORKER, str(cache.directory), str(2 * CACHE_BYTES_MIN)]
    workers = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE) for seed in range(3)]
    for worker in workers:
        _, errors = worker.communicate(timeout=60)
        assert (worker.returncode, errors) == (0, b"")
    assert 0 < bytes_in(cache) <= 2 * CACHE_BYTES_MIN * 19 // 16
    for path in kept(cache):
        assert sha256(path.read_bytes()) == path.name
