"""Nexus tasks: calls that go to a worker who polls for them, and whose caller waits for the answer.

Such a task lives in memory, for as long as its caller waits: no worker, no answer. Whoever made the call makes it again later. Which
version of workers it is for is looked up whenever one may take it: calls of one queue lie together, whomever they are for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.failure.v1 import Failure
from temporalio.api.nexus.v1 import HandlerError, Request, Response

from cloud.engine.core.priority import DEFAULT_LEVEL
from cloud.engine.runtime.routes import NEXUS_TASK, Lane, Routes
from cloud.engine.runtime.task_queues import Poller, QueueKey, TaskQueue, TaskQueues

__all__ = ["NEXUS_TASK", "NexusTask", "NexusTasks", "NobodyAnswered", "WorkerAnswer"]

WAITING_MAX = 1_000
"""Tasks of one queue that wait for a worker; more are refused, as if none came in time."""

WorkerAnswer = Response | HandlerError | Failure
"""What a worker said: a response, or how its handler failed (in the older form, or today's)."""


class NobodyAnswered(Exception):
    """No worker took the task, or none answered, in time."""


@dataclass(slots=True, eq=False)
class NexusTask:
    """A call on its way. `deadline` is a reading of the event loop's clock (seconds)."""

    task_id: str
    request: Request
    deadline: float
    scaling: int = 0  # by how many its worker had better change the number of its polls
    answer: asyncio.Future[WorkerAnswer] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class NexusTasks:
    """Tasks that wait for a worker, by queue; and those that a worker has, by id."""

    def __init__(self, queues: TaskQueues, routes: Routes) -> None:
        self._queues = queues
        self._routes = routes
        self._waiting: dict[QueueKey, deque[NexusTask]] = {}
        self._held: dict[str, NexusTask] = {}

    async def dispatch(self, key: QueueKey, task_id: str, request: Request, timeout_s: float) -> WorkerAnswer:
        """Have a worker of queue `key` answer `request` within `timeout_s`.

        Raises:
            NobodyAnswered: none did.
        """
        task = NexusTask(task_id, request, asyncio.get_running_loop().time() + timeout_s)
        self._queues.get(key).rates.added[DEFAULT_LEVEL] += 1
        self._offer(key, task)
        try:
            async with asyncio.timeout(timeout_s):
                return await task.answer
        except TimeoutError:
            raise NobodyAnswered from None
        finally:
            task.answer.cancel()
            self._held.pop(task_id, None)
            waiting = self._waiting.get(key)
            if waiting is not None and task in waiting:
                waiting.remove(task)
            if waiting is not None and not waiting:
                del self._waiting[key]

    def _offer(self, key: QueueKey, task: NexusTask) -> None:
        poller = self._queues.get(key._replace(version=self._version_for(key, task))).next_poller()
        if poller is not None:
            self._held[task.task_id] = task
            poller.matched.set_result(task)
            return
        waiting = self._waiting.setdefault(key, deque())
        if len(waiting) >= WAITING_MAX:
            raise NobodyAnswered
        waiting.append(task)

    def _version_for(self, key: QueueKey, task: NexusTask) -> str:
        """The version whose workers the task is for now."""
        return self._routes.place_nexus(key.namespace_id, key.name, task.task_id).version

    async def poll(
        self,
        key: QueueKey,
        identity: str,
        build_id: str,
        timeout_s: float,
        *,
        version: str = "",
        options: WorkerDeploymentOptions | None = None,
        capabilities: WorkerVersionCapabilities | None = None,
        lane_of: Callable[[], Lane] | None = None,
        worker: str = "",
    ) -> NexusTask | None:
        """Wait for a task of queue `key` that is for workers of a `version`; None when the time is over.

        With `lane_of` a worker is of an older form of versioning: it says each time where such a worker waits by now.

        Raises:
            NewerBuildExists: `lane_of` says that it waits in vain.
        """
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        ends_at = began_at + timeout_s
        queue: TaskQueue | None = None
        while True:
            if self._queues.closed or self._queues.has_stopped(key.namespace_id, worker):
                return None
            if lane_of is not None:
                version = lane_of().version
            if queue is None or queue.key.version != version:
                queue = self._queues.get(key._replace(version=version))
                self._queues.note_poll(queue, identity, options, capabilities)
            found = self._take_waiting(key, version)
            if found is None:
                poller = Poller(identity, build_id, loop.create_future(), version, worker=worker)
                found = await self._wait(queue, poller, ends_at)
            if found is not None:
                return self._dispatched(queue, found, began_at)
            if loop.time() >= ends_at:
                return None  # before it, it was only to look again

    def _take_waiting(self, key: QueueKey, version: str) -> NexusTask | None:
        waiting = self._waiting.get(key, ())
        for task in waiting:
            if not task.answer.done() and self._version_for(key, task) == version:
                self._waiting[key].remove(task)
                self._held[task.task_id] = task
                return task
        return None

    async def _wait(self, queue: TaskQueue, poller: Poller, ends_at: float) -> NexusTask | None:
        queue.pollers.append(poller)
        timer = asyncio.get_running_loop().call_at(ends_at, _give_up, poller)
        try:
            found: NexusTask | None = await asyncio.shield(poller.matched)
        except asyncio.CancelledError:
            if poller.matched.done() and poller.matched.result() is not None:
                self._offer_again(queue.key._replace(version=""), poller.matched.result())
            raise
        finally:
            timer.cancel()
            poller.matched.cancel()  # nothing if it was matched
            if poller in queue.pollers:
                queue.pollers.remove(poller)
        return found

    def _dispatched(self, queue: TaskQueue, task: NexusTask, began_at: float) -> NexusTask:
        """Count a task that a worker is given, and tell that worker whether to poll more or less."""
        queue.rates.dispatched[DEFAULT_LEVEL] += 1
        waited_s = asyncio.get_running_loop().time() - began_at
        task.scaling = self._queues.scaling(queue, waited_s=waited_s, stored=False)
        return task

    def _offer_again(self, key: QueueKey, task: NexusTask) -> None:
        """Its poller went away in the moment that it got the task: the next one may have it."""
        if self._held.pop(task.task_id, None) is not None and not task.answer.done():
            with contextlib.suppress(NobodyAnswered):  # its caller notices by itself
                self._offer(key, task)

    def take(self, task_id: str) -> NexusTask | None:
        """The task that a worker answers, once; None if its caller is gone, or has its answer."""
        task = self._held.pop(task_id, None)
        return None if task is None or task.answer.done() else task


def _give_up(poller: Poller) -> None:
    if not poller.matched.done():
        poller.matched.set_result(None)
