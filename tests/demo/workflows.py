"""The application of the demonstration: an index of a library of files, a child workflow for each shelf."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from sdk import files
    from tests.demo import library

QUEUE = "library"
SHELVES_AT_ONCE = 4
SETTLE = timedelta(seconds=1)
# The demonstration kills workers: what one had in hand comes back after these.
ACTIVITY_TIMEOUT = timedelta(seconds=6)
FILE_TIMEOUT = timedelta(seconds=30)
TASK_TIMEOUT = timedelta(seconds=3)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an index is."""

    shelves: int
    done: int
    awaiting_approval: bool


@dataclass(frozen=True, kw_only=True)
class Index:
    """The finished index: how often each word stands in all files, which are bound as one volume of so many words."""

    files: int
    counts: dict[str, int]
    volume: files.FileHandle
    bound_words: int
    approved_by: str


@activity.defn
def read_source(path: str) -> str:
    return library.read(Path(path))


@activity.defn
def count_words(text: str) -> dict[str, int]:
    return library.count_words_of(text)


@activity.defn
async def bind_volume(paths: Sequence[str]) -> files.FileHandle:
    """All sources as one file, which goes to the object store as it is read; the service has the handle alone."""
    return await files.put(
        library.bound([Path(path) for path in paths]),
        name="library.txt",
        progress=lambda done, total: activity.heartbeat(done),
    )


@activity.defn
async def count_volume(volume: files.FileHandle) -> int:
    """The words of a volume, read back piece by piece."""
    counter = library.WordCounter()
    async with files.open(volume) as stream:
        async for piece in stream:
            counter.feed(piece)
    return counter.close()


@workflow.defn
class IndexShelf:
    """Reads and counts the files of one shelf."""

    @workflow.run
    async def run(self, paths: Sequence[str]) -> dict[str, int]:
        return library.merged(await asyncio.gather(*[self._index(path) for path in paths]))

    async def _index(self, path: str) -> dict[str, int]:
        text = await workflow.execute_activity(read_source, path, start_to_close_timeout=ACTIVITY_TIMEOUT)
        return await workflow.execute_activity(count_words, text, start_to_close_timeout=ACTIVITY_TIMEOUT)


@workflow.defn
class IndexLibrary:
    """Indexes shelf by shelf, a few at a time, waits for the dust to settle, then for a librarian's approval."""

    def __init__(self) -> None:
        self._shelves = 0
        self._done = 0
        self._approved_by = ""
        self._awaiting_approval = False

    @workflow.run
    async def run(self, shelves: Sequence[Sequence[str]]) -> Index:
        self._shelves = len(shelves)
        turn = asyncio.Semaphore(SHELVES_AT_ONCE)

        async def index(number: int) -> dict[str, int]:
            async with turn:
                counts = await workflow.execute_child_workflow(
                    IndexShelf.run,
                    shelves[number],
                    id=f"{workflow.info().workflow_id}/shelf-{number}",
                    task_timeout=TASK_TIMEOUT,
                )
            self._done += 1
            return counts

        counts = library.merged(await asyncio.gather(*[index(number) for number in range(len(shelves))]))
        every_path = [path for shelf in shelves for path in shelf]
        volume = await workflow.execute_activity(
            bind_volume, every_path, start_to_close_timeout=FILE_TIMEOUT, heartbeat_timeout=ACTIVITY_TIMEOUT
        )
        bound_words = await workflow.execute_activity(
            count_volume, volume, start_to_close_timeout=FILE_TIMEOUT
        )
        await workflow.sleep(SETTLE)
        self._awaiting_approval = True
        await workflow.wait_condition(lambda: bool(self._approved_by))
        return Index(
            files=len(every_path),
            counts=counts,
            volume=volume,
            bound_words=bound_words,
            approved_by=self._approved_by,
        )

    @workflow.signal
    def approve(self, librarian: str) -> None:
        self._approved_by = librarian

    @workflow.query
    def progress(self) -> Progress:
        return Progress(shelves=self._shelves, done=self._done, awaiting_approval=self._awaiting_approval)
