"""What files cost: a large file through two activities beside a bare copy of it by the same library to the same store.

Both go there and back: local file → store → another local file, each on the disk before it counts as there. Ours encrypts,
hashes and authenticates on its way, and runs as a workflow: `tests.codec.files_worker` is the worker, a process of its own,
whose memory the kernel has the peak of. Each is a fresh process.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import obstore
from temporalio.client import Client

import sdk
from codec import KeyRing, create_key_ring, open_store
from sdk.settings import CodecSettings
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.run import NotTakenError, Run
from tests.codec.files_worker import Cinema, Order
from tests.object_stores import s3_server
from tests.processes import ROOT, ProcessFailedError, Server, clean_environment, python_module, tacit_dev

MEBIBYTE = 1024 * 1024
SIZE_BYTES = 2048 * MEBIBYTE
QUICK_SIZE_BYTES = 256 * MEBIBYTE
S3_SIZE_BYTES = 512 * MEBIBYTE
WORKER_BYTES_MAX = 200 * 1000 * 1000
RATIO_MIN = 0.7
SECONDS_MAX = 600.0
_BLOCK_BYTES = 16 * MEBIBYTE
_READ_BYTES = 8 * MEBIBYTE


def figures(run: Run) -> list[Figure]:
    """The figures of files for the report, on a directory and on a real S3 server."""
    size = QUICK_SIZE_BYTES if run.quick else SIZE_BYTES
    folder = run.fresh_folder()
    run.on_step("files: make the source", 0.0)
    source = _source(folder / "source.bin", size)
    smaller = _source(folder / "smaller.bin", min(size, S3_SIZE_BYTES))
    service = tacit_dev(folder)
    try:
        service.start()
        found = _on(run, service, source, (folder / "objects").as_uri(), {}, "a directory")
        with s3_server(folder / "s3") as s3:
            bucket = s3.bucket()
            found += _on(run, service, smaller, bucket.url, bucket.options, "S3 (seaweedfs)")
    except ProcessFailedError as error:
        raise NotTakenError(str(error)) from error
    finally:
        service.stop()
    return found


def _source(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        for _ in range(size // _BLOCK_BYTES):
            file.write(os.urandom(_BLOCK_BYTES))
    return path


def _on(
    run: Run, service: Server, source: Path, url: str, options: Mapping[str, str], name: str
) -> list[Figure]:
    """Both ways on one store, in turn."""
    folder = run.fresh_folder()
    create_key_ring(folder / "ring.json", KeyRing.create("default"))
    sdk.write_profile(
        folder / "temporal.toml",
        "default",
        address=service.address,
        namespace="default",
        tls=False,
        codec=CodecSettings(
            key_ring=folder / "ring.json", object_store=url, object_store_options=dict(options)
        ),
    )
    run.on_step(f"files on {name}: bare copy", 0.0)
    bare = _bare(source, folder / "copy.bin", url, options)
    run.on_step(f"files on {name}: through activities", 0.5)
    ours, memory = asyncio.run(_through_activities(source, folder / "target.bin", folder / "temporal.toml"))
    size = source.stat().st_size // MEBIBYTE
    return [
        Figure(
            name=f"a file of {size} MiB through two activities, on {name}",
            unit="MiB/s",
            ours=2 * size / ours,
            peer=2 * size / bare,
            peer_name="bare obstore copy",
            target=Target(bound=RATIO_MIN, at_least=True),
            note="there and back, each on the disk; ours encrypted, hashed and authenticated",
        ),
        Figure(
            name=f"the worker's memory meanwhile, on {name}",
            unit="MB",
            ours=memory / 1e6,
            target=Target(bound=WORKER_BYTES_MAX / 1e6, of_ratio=False),
            note="the peak of the whole process (VmHWM), interpreter and SDK included",
        ),
    ]


async def _through_activities(source: Path, target: Path, config: Path) -> tuple[float, int]:
    """Seconds of a workflow that puts the file and downloads it, and the peak of its worker's memory in bytes."""
    queue = f"files-{uuid.uuid4()}"
    client = await sdk.connect(sdk.load_profile("default", config_file=config, environment={}))
    worker = python_module(
        "tests.codec.files_worker",
        queue,
        log=config.with_name("worker.log"),
        env={"TEMPORAL_CONFIG_FILE": str(config), "TEMPORAL_PROFILE": "default"},
    )
    worker.start()
    try:
        # The worker is up, and has done all once that is done once.
        small = config.with_name("small.bin")
        small.write_bytes(b"small")
        await _run(client, queue, Order(str(small), str(target)))
        before = time.perf_counter()
        await _run(client, queue, Order(str(source), str(target)))
        seconds = time.perf_counter() - before
        if target.stat().st_size != source.stat().st_size:
            raise NotTakenError("the file that came back has another size")
        return seconds, _peak_bytes(worker.pid)
    except TimeoutError as error:
        raise NotTakenError(f"the workflow took longer than {SECONDS_MAX} s: {worker.log_end()}") from error
    finally:
        worker.kill()
        target.unlink(missing_ok=True)


async def _run(client: Client, queue: str, order: Order) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        await client.execute_workflow(Cinema.run, order, id=f"files-{uuid.uuid4()}", task_queue=queue)


def _peak_bytes(pid: int) -> int:
    """The most resident memory that a process ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise NotTakenError("this system does not tell the peak of a process's memory")


def _bare(source: Path, target: Path, url: str, options: Mapping[str, str]) -> float:
    """Seconds of a bare copy to the store and back, in a process of its own."""
    arguments = json.dumps([str(source), str(target), url, dict(options)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.files_bench", arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=clean_environment(),
        timeout=SECONDS_MAX,
        check=False,
    )
    try:
        return float(done.stdout)
    except ValueError:
        raise NotTakenError(f"the bare copy failed: {done.stderr.strip()[-300:]}") from None


async def _copy(source: Path, target: Path, url: str, options: Mapping[str, str]) -> float:
    store = open_store(url, options)
    before = time.perf_counter()
    await obstore.put_async(store.raw, "bare", source)
    await store.settle("bare")
    found = await obstore.get_async(store.raw, "bare")
    with target.open("wb") as file:
        async for part in found.stream(min_chunk_size=_READ_BYTES):
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - before
    if target.stat().st_size != source.stat().st_size:
        raise NotTakenError("the bare copy has another size")
    target.unlink()
    await obstore.delete_async(store.raw, "bare")
    return seconds


if __name__ == "__main__":
    source_path, target_path, store_url, store_options = json.loads(sys.argv[1])
    sys.stdout.write(str(asyncio.run(_copy(Path(source_path), Path(target_path), store_url, store_options))))
    sys.stdout.flush()
    # The store's library has threads of its own that may not end in order.
    os._exit(0)
