"""An event loop of its own for what fetches keys.

A codec serves clients and workers on any event loop, and in threads without one; a fetch is shared between all who wait for
it, outlives whoever asked first, and goes on when nobody waits. So fetches run on one loop in a daemon thread, made when
the first is needed.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}


def run_in_background(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run `work` on the background loop, whoever calls and whether or not anybody waits."""
    return asyncio.run_coroutine_threadsafe(work, _loop())


async def completed(future: Future[T]) -> T:
    """The result of `run_in_background`, for one of those who wait: that one is cancelled, the work goes on."""
    return await asyncio.shield(asyncio.wrap_future(future))


def _loop() -> asyncio.AbstractEventLoop:
    # By process: after a fork there is no such thread.
    process = os.getpid()
    with _lock:
        loop = _loops.get(process)
        if loop is None:
            loop = _loops[process] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="tacit-keys", daemon=True).start()
        return loop
