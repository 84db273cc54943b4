"""Nexus over HTTP from outside: paths by which clients start and cancel operations of a task queue, or of an endpoint's target.

Nobody is identified here, so it is for development listeners alone. The message is the cell's to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cloud.gateway.http.calls import HttpCall, HttpReply
from cloud.gateway.nexus_callbacks import CompletionReply


class AnswersNexus(Protocol):
    """A cell whose workers answer."""

    async def nexus_call(
        self,
        *,
        namespace: str,
        task_queue: str,
        endpoint_id: str,
        names: tuple[str, ...],
        callback: str,
        header: Mapping[str, str],
        body: bytes,
    ) -> CompletionReply:
        """Answer a call, by namespace and task queue or else by an endpoint's id; `names` are the path's parts behind them."""


class NexusInbound:
    """Answers POST below ``/namespaces/NAME/task-queues/QUEUE/nexus-services`` and ``/nexus/endpoints/ID/services``."""

    def __init__(self, cell: AnswersNexus) -> None:
        self._cell = cell

    def accepts(self, method: str, segments: tuple[str, ...]) -> bool:
        """See :class:`cloud.gateway.http.calls.HttpHandler`."""
        return method == "POST" and _target(segments) is not None

    async def answer(self, call: HttpCall) -> HttpReply:
        """Hand the call on."""
        found = _target(call.segments)
        if found is None:
            return HttpReply(status=404)
        namespace, task_queue, endpoint_id, names = found
        reply = await self._cell.nexus_call(
            namespace=namespace,
            task_queue=task_queue,
            endpoint_id=endpoint_id,
            names=names,
            callback=next((text for key, text in call.query if key == "callback"), ""),
            header=call.parts.metadata,
            body=call.body,
        )
        return HttpReply(status=reply.status, body=reply.body, headers=reply.header)


def _target(segments: tuple[str, ...]) -> tuple[str, str, str, tuple[str, ...]] | None:
    match segments:
        case ("namespaces", namespace, "task-queues", task_queue, "nexus-services", *names):
            return namespace, task_queue, "", tuple(names)
        case ("nexus", "endpoints", endpoint_id, "services", *names):
            return "", "", endpoint_id, tuple(names)
        case _:
            return None
