"""A worker of the demonstration: connects by the profile that the environment names, as any application does."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from temporalio.worker import Worker

import sdk
from tests.demo.workflows import (
    QUEUE,
    IndexLibrary,
    IndexShelf,
    bind_volume,
    count_volume,
    count_words,
    read_source,
)

THREADS = 4
STICKY_TIMEOUT = timedelta(seconds=2)


async def _main() -> None:
    client = await sdk.connect()
    with ThreadPoolExecutor(THREADS) as threads:
        await Worker(
            client,
            task_queue=QUEUE,
            workflows=[IndexLibrary, IndexShelf],
            activities=[read_source, count_words, bind_volume, count_volume],
            activity_executor=threads,
            max_concurrent_activities=THREADS,
            sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        ).run()


if __name__ == "__main__":
    asyncio.run(_main())
