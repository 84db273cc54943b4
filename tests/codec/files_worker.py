"""A worker whose activities put and open files, as a process of its own: `python -m tests.codec.files_worker QUEUE`.

It connects as its environment's profile says. Tests kill it, the benchmark measures it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

import sdk
from sdk import files


@dataclasses.dataclass
class Film:
    """A handle within a dataclass of the application's own."""

    title: str
    content: files.FileHandle
    trailers: list[files.FileHandle]


@dataclasses.dataclass
class Order:
    """Put the file at `source`, then read it: into `target`, or only its digest. `pause` slows the source down."""

    source: str
    target: str | None = None
    pause: float = 0.0


@activity.defn
async def render(order: Order) -> Film:
    """Put a path, or the same as a stream that takes its time."""
    if not order.pause:
        content = await files.put(order.source, progress=lambda done, total: activity.heartbeat(done))
        return Film("path", content, [])
    slow = _slowly(Path(order.source), order.pause)
    content = await files.put(slow, name="slow", progress=lambda done, total: activity.heartbeat(done))
    return Film("stream", content, [await files.put(b"trailer", name="trailer.txt")])


@activity.defn
async def publish(film: Film, target: str | None) -> str:
    """The SHA-256 of what was read, in hex digits."""
    if target is not None:
        await files.download(film.content, target, progress=lambda done, total: activity.heartbeat(done))
        return film.content.sha256
    hasher = hashlib.sha256()
    async with files.open(film.content) as stream:
        async for part in stream:
            hasher.update(part)
    return hasher.hexdigest()


@activity.defn
def publish_in_thread(film: Film) -> bytes:
    """A synchronous activity: part of the file."""

    async def read() -> bytes:
        async with files.open(film.content, start=1, stop=4) as stream:
            return await stream.read()

    return asyncio.run(read())


@workflow.defn
class Cinema:
    """The handle goes through a workflow's state, from one activity into another."""

    @workflow.run
    async def run(self, order: Order) -> Film:
        """Returns the film that was put, once it is read back as it was."""
        film = await workflow.execute_activity(
            render,
            order,
            start_to_close_timeout=timedelta(minutes=10),
            heartbeat_timeout=timedelta(seconds=3),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=5),
        )
        digest = await workflow.execute_activity(
            publish,
            args=[film, order.target],
            start_to_close_timeout=timedelta(minutes=10),
            retry_policy=RetryPolicy(maximum_attempts=2),
        )
        if digest != film.content.sha256:
            raise ValueError("another file came back")
        return film


@workflow.defn
class Reader:
    """What a workflow must not do, and what a synchronous activity may."""

    @workflow.run
    async def run(self, film: Film) -> str:
        """The error's sentence, and three bytes."""
        try:
            files.open(film.content)
        except sdk.FilesUnavailable as error:
            part = await workflow.execute_activity(
                publish_in_thread, film, start_to_close_timeout=timedelta(seconds=20)
            )
            return f"{error} {part.decode()}"
        return "a workflow read a file"


async def _slowly(path: Path, pause: float) -> AsyncIterator[bytes]:
    with path.open("rb") as source:
        while part := source.read(1024 * 1024):
            yield part
            await asyncio.sleep(pause)


async def main(queue: str) -> None:
    """Work until the process is killed."""
    client = await sdk.connect()
    with ThreadPoolExecutor(2) as threads:
        await Worker(
            client,
            task_queue=queue,
            workflows=[Cinema, Reader],
            activities=[render, publish, publish_in_thread],
            activity_executor=threads,
            # Nothing of a worker that was killed is waited for.
            max_cached_workflows=0,
        ).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
