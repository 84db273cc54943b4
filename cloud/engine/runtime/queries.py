"""Queries: questions to a workflow's code that leave no trace in its history.

A query of a run whose workflow task is pending rides on that task and is answered with its completion. Otherwise it is a task of its
own that goes straight to a waiting worker: the sticky one, and if that does not take it in time any worker of the normal queue. Queries
live in memory: their caller waits for the answer, and asks again if the service went away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from temporalio.api.query.v1 import WorkflowQuery, WorkflowQueryResult

from cloud.engine.runtime.hot import HotRun

NAMESPACE_COUNT_MAX = 2_000
NAMESPACE_BYTES_MAX = 64 * 1024 * 1024
"""Queries of one namespace that wait for an answer: how many, and the bytes of their arguments."""


class TooManyQueries(Exception):
    """So many queries of the namespace wait already that one more is not taken."""


class QueryRefused(Exception):
    """No answer can come; the sentence says why."""


@dataclass(slots=True, eq=False)
class PendingQuery:
    """A query on its way. `answer` gets a WorkflowQueryResult or an exception; `taken` says that a worker has it."""

    query_id: str
    query: WorkflowQuery
    hot: HotRun
    sticky: bool = False
    scaling: int = 0  # by how many its worker had better change the number of its polls
    waits_in: deque[PendingQuery] | None = None  # the queue in which no worker took it yet
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    answer: asyncio.Future[WorkflowQueryResult] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    size: int = 0  # bytes

    def __post_init__(self) -> None:
        self.size = self.query.ByteSize()


class Queries:
    """Queries that wait, counted by namespace, and of these the ones that workers hold, by id."""

    def __init__(self) -> None:
        self._held: dict[str, PendingQuery] = {}
        self._waiting: dict[str, list[int]] = {}  # namespace id -> [count, bytes]

    def admit(self, query: PendingQuery) -> None:
        """A caller begins to wait; `forget` when it ends.

        Raises:
            TooManyQueries: others of its namespace take all the room.
        """
        namespace_id = query.hot.execution.key.namespace_id
        count, size = self._waiting.get(namespace_id, (0, 0))
        if count >= NAMESPACE_COUNT_MAX or (count and size + query.size > NAMESPACE_BYTES_MAX):
            raise TooManyQueries(
                f"{count} queries of this namespace, of {size} bytes, wait for workers: try again when they are answered"
            )
        self._waiting[namespace_id] = [count + 1, size + query.size]

    def hold(self, query: PendingQuery) -> None:
        """A worker was given `query`."""
        self._held[query.query_id] = query
        query.taken.set()

    def find(self, query_id: str) -> PendingQuery | None:
        """The query that a worker answers, None if its caller is gone."""
        return self._held.get(query_id)

    def forget(self, query: PendingQuery) -> None:
        """Its caller is gone, or has its answer. Once per query that was admitted."""
        waiting = self._waiting[query.hot.execution.key.namespace_id]
        waiting[0] -= 1
        waiting[1] -= query.size
        if not waiting[0]:
            del self._waiting[query.hot.execution.key.namespace_id]
        self._held.pop(query.query_id, None)
        if query.waits_in is not None and query in query.waits_in:
            query.waits_in.remove(query)

    @staticmethod
    def answer(query: PendingQuery, result: WorkflowQueryResult) -> None:
        """Give the caller its answer; nothing if it is gone."""
        if not query.answer.done():
            query.answer.set_result(result)

    @staticmethod
    def refuse(query: PendingQuery, reason: str) -> None:
        """Tell the caller that no answer will come."""
        if not query.answer.done():
            query.answer.set_exception(QueryRefused(reason))
            query.answer.exception()
