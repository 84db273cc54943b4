"""Second part: real work, with a worker and then the service killed in the middle of it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from datetime import timedelta

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from sdk import files
from tests.demo import library, scan
from tests.demo.story import CheckFailedError, Story, require
from tests.demo.workflows import QUEUE, TASK_TIMEOUT, IndexLibrary, Progress

WORKFLOW_ID = "index-of-the-standard-library"
SHELVES = 32
LIBRARIAN = "Callimachus of Cyrene"
PATIENCE_SECONDS = 120.0
CALL_TIMEOUT = timedelta(seconds=5)
NOT_THERE = frozenset({RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED})


async def index_the_library(story: Story) -> str:
    paths = [str(path) for path in library.sources()]
    shelves = [paths[start::SHELVES] for start in range(SHELVES)]
    story.handle = await story.connected.start_workflow(
        IndexLibrary.run, shelves, id=WORKFLOW_ID, task_queue=QUEUE, task_timeout=TASK_TIMEOUT
    )
    size = sum(path.stat().st_size for path in library.sources())
    progress = await _until(story, lambda progress: progress.done >= SHELVES // 4)
    return f"{len(paths)} files, {size / 1e6:.1f} MB, on {SHELVES} shelves; {progress.done} are done"


async def kill_the_worker_half_way(story: Story) -> str:
    before = await _until(story, lambda progress: progress.done >= SHELVES // 2 - 2)
    require(before.done < SHELVES, "the index is not finished yet")
    first = story.worker
    if first is None:
        raise CheckFailedError("there is no worker")
    killed = first.pid
    first.kill()
    story.start_worker()
    after = await _until(story, lambda progress: progress.done > before.done)
    return f"SIGKILL to worker {killed} at {before.done} of {SHELVES}; another went on to {after.done}"


async def kill_the_service(story: Story) -> str:
    before = await _progress(story)
    require(before.done < SHELVES, "the index is not finished yet")
    killed = story.service.pid
    story.service.kill()
    began = time.monotonic()
    await asyncio.to_thread(story.service.start)
    seconds = time.monotonic() - began
    after = await _until(story, lambda progress: progress.done > before.done)
    require(after.done > before.done, "the work went on where it was")
    return (
        f"SIGKILL to service {killed} at {before.done} of {SHELVES}; back after {seconds:.1f} s, nothing lost"
    )


async def approve_by_signal_after_the_timer(story: Story) -> str:
    await _until(story, lambda progress: progress.awaiting_approval)
    await story.indexing.signal(IndexLibrary.approve, LIBRARIAN)
    story.index = await asyncio.wait_for(story.indexing.result(), PATIENCE_SECONDS)
    described = await story.indexing.describe()
    require(described.status is WorkflowExecutionStatus.COMPLETED, "the workflow is completed")
    require(story.index.approved_by == LIBRARIAN, "the signal arrived as it was sent")
    return f"approved by {story.index.approved_by}"


async def compare_with_the_index_computed_directly(story: Story) -> str:
    directly = await asyncio.to_thread(library.index_directly, library.sources())
    if story.index is None:
        raise CheckFailedError("there is no index")
    require(story.index.counts == directly, "the index equals the one computed directly")
    return f"{sum(directly.values()):,} words, {len(directly):,} different ones: equal"


async def read_the_volume_by_its_handle(story: Story) -> str:
    """All sources as one file: put by one activity, read by another, and here once more."""
    if story.index is None:
        raise CheckFailedError("there is no index")
    volume = story.index.volume
    digest = hashlib.sha256()
    async with files.of(story.connected).open(volume) as stream:
        async for piece in stream:
            digest.update(piece)
    paths = library.sources()
    shelves = [path for start in range(SHELVES) for path in paths[start::SHELVES]]
    directly = b"".join(library.bound(shelves))
    require(volume.size == len(directly), "the file has all bytes")
    require(digest.digest() == hashlib.sha256(directly).digest(), "the file is what was put")
    require(
        story.index.bound_words == sum(story.index.counts.values()),
        "another activity read the same words in it",
    )
    in_store = sum(path.stat().st_size for path in scan.files_in(story.objects) if "files" in path.parts)
    require(in_store > len(directly), "it lies in the object store, in encrypted chunks")
    return f"{volume.name}: {volume.size / 1e6:.1f} MB in {in_store / 1e6:.1f} MB of objects, {story.index.bound_words:,} words"


async def _progress(story: Story) -> Progress:
    return await story.indexing.query(IndexLibrary.progress, rpc_timeout=CALL_TIMEOUT)


async def _until(story: Story, reached: Callable[[Progress], bool]) -> Progress:
    """Ask how far it is until `reached` says so.

    Raises:
        CheckFailedError: not in time, or the worker ended.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up:
        if story.worker is not None:
            story.worker.check()
        try:
            progress = await _progress(story)
        except RPCError as error:
            if error.status not in NOT_THERE:
                raise
        else:
            story.say(f"{progress.done} of {SHELVES} shelves", progress.done, SHELVES)
            if reached(progress):
                return progress
        await asyncio.sleep(0.1)
    raise CheckFailedError(f"the index got no further within {PATIENCE_SECONDS:.0f} s")
