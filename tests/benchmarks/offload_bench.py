"""What offload costs: payloads to a real S3 server and back beside bare puts and gets of the same bytes by the same library,
the second read on the same machine, and how fast a collection reads a namespace.

Competitors take turns, each round with fresh content; a figure is the median of the rounds.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import obstore
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import (
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from codec import ObjectCache, ObjectStoreDriver
from codec.storage.gc_run import Options, Source, collect
from codec.storage.gc_store import GcStore
from codec.storage.object_store import open_store
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.run import NotTakenError, Run
from tests.object_stores import Bucket, s3_server
from tests.processes import ProcessFailedError, tacit_dev

MEBIBYTE = 1024 * 1024
SIZES = {"1 MiB": (MEBIBYTE, 16), "32 MiB": (32 * MEBIBYTE, 2)}
ROUNDS, QUICK_ROUNDS = 9, 3
WORKFLOWS, QUICK_WORKFLOWS = 3000, 300
_SEALED = {"encoding": b"binary/tacit-encrypted"}
_STARTS_AT_A_TIME = 50


def figures(run: Run) -> list[Figure]:
    """The figures of offload for the report."""
    folder = run.fresh_folder()
    run.on_step("offload: S3 server", 0.0)
    try:
        with s3_server(folder / "s3") as s3:
            taken = asyncio.run(
                transfers(s3.bucket(), folder / "cache", QUICK_ROUNDS if run.quick else ROUNDS)
            )
            run.on_step("offload: collection", 0.7)
            per_second = asyncio.run(
                collection(s3.bucket(), folder, QUICK_WORKFLOWS if run.quick else WORKFLOWS)
            )
    except ProcessFailedError as error:
        raise NotTakenError(str(error)) from error
    found = []
    for name, seconds in taken.items():
        size, count = SIZES[name]
        mebibytes = size * count / MEBIBYTE
        found += [
            Figure(
                name=f"Payloads of {name} offloaded to S3",
                unit="MiB/s",
                ours=mebibytes / seconds["store"],
                peer=mebibytes / seconds["bare put"],
                peer_name="bare obstore put",
                note="ours serializes and hashes, asks whether it is there, and sends large ones in parts",
            ),
            Figure(
                name=f"Payloads of {name} read from S3",
                unit="MiB/s",
                ours=mebibytes / seconds["retrieve"],
                peer=mebibytes / seconds["bare get"],
                peer_name="bare obstore get",
                note="ours hashes and parses",
            ),
            Figure(
                name=f"Payloads of {name} read a second time on the same machine",
                unit="MiB/s",
                ours=mebibytes / seconds["second read"],
                peer=mebibytes / seconds["retrieve"],
                peer_name="ours, from S3",
                target=Target(bound=1.0, at_least=True),
                note="from the cache on disk: no request at all; hashed and parsed as the first time",
            ),
        ]
    found.append(
        Figure(
            name="Workflows read by a collection (`tacit dev`, one event page each)",
            unit="1/s",
            ours=per_second,
        )
    )
    return found


async def transfers(bucket: Bucket, cache: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of each competitor by size: the median of `rounds`."""
    plain = ObjectStoreDriver(bucket.url, namespace="bench", options=bucket.options)
    store = bucket.store()
    found = {}
    for name, (size, count) in SIZES.items():
        seconds: dict[str, list[float]] = {}
        for turn in range(rounds):
            # Cached for the second read alone, so that the first comes from the store.
            cached = ObjectStoreDriver(
                bucket.url,
                namespace="bench",
                options=bucket.options,
                cache=ObjectCache(cache / f"{name}-{turn}", bytes_max=1024 * MEBIBYTE),
            )
            payloads = [Payload(metadata=_SEALED, data=os.urandom(size)) for _ in range(count)]
            contents = [payload.SerializeToString() for payload in payloads]
            paths = [f"bare/{hashlib.sha256(content).hexdigest()}" for content in contents]
            claims: list[StorageDriverClaim] = []

            async def put(paths: list[str] = paths, contents: list[bytes] = contents) -> None:
                await asyncio.gather(
                    *(obstore.put_async(store, path, one) for path, one in zip(paths, contents, strict=True))
                )

            async def get(paths: list[str] = paths) -> None:
                async def one(path: str) -> int:
                    return len(await (await obstore.get_async(store, path)).bytes_async())

                await asyncio.gather(*map(one, paths))

            async def offload(
                claims: list[StorageDriverClaim] = claims, payloads: list[Payload] = payloads
            ) -> None:
                claims += await plain.store(StorageDriverStoreContext(), payloads)

            async def retrieve(driver: ObjectStoreDriver, claims: list[StorageDriverClaim] = claims) -> None:
                await driver.retrieve(StorageDriverRetrieveContext(), claims)

            competitors: Mapping[str, Callable[[], Awaitable[None]]] = {
                "bare put": put,
                "store": offload,
                "bare get": get,
                "retrieve": lambda retrieve=retrieve: retrieve(plain),
                "fill": lambda retrieve=retrieve, cached=cached: retrieve(cached),
                "second read": lambda retrieve=retrieve, cached=cached: retrieve(cached),
            }
            for competitor, compete in competitors.items():
                before = time.perf_counter()
                await compete()
                seconds.setdefault(competitor, []).append(time.perf_counter() - before)
        found[name] = {competitor: statistics.median(times) for competitor, times in seconds.items()}
    return found


async def collection(bucket: Bucket, folder: Path, workflows: int) -> float:
    """Workflows per second that a dry run reads: both passes of its walk."""
    service = tacit_dev(folder)
    service.start()
    try:
        client = await Client.connect(service.address)
        gate = asyncio.Semaphore(_STARTS_AT_A_TIME)

        async def start(index: int) -> None:
            async with gate:
                await client.start_workflow("Nobody's", "x" * 1000, id=f"w{index}", task_queue="none")

        await asyncio.gather(*map(start, range(workflows)))
        store = GcStore(open_store(bucket.url, bucket.options), "default", files=False)
        await store.now()
        before = time.perf_counter()
        [found] = await collect(
            [Source(service=client.workflow_service, namespace="default", store=store)], Options()
        )
        if found.seen.executions != workflows:
            raise NotTakenError(f"{found.seen.executions} of {workflows} workflows were read")
        return workflows / (time.perf_counter() - before)
    finally:
        service.stop()


def main() -> None:
    """Take the figures alone, and print them."""
    with tempfile.TemporaryDirectory(prefix="tacit-bench-") as folder, s3_server(Path(folder) / "s3") as s3:
        rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
        print(json.dumps(asyncio.run(transfers(s3.bucket(), Path(folder) / "cache", rounds)), indent=2))
        print(asyncio.run(collection(s3.bucket(), Path(folder), WORKFLOWS)))


if __name__ == "__main__":
    main()
