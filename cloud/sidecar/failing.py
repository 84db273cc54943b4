"""Tasks that fail here: the worker is not given them (or its answer goes nowhere), and the service is told in its place."""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog
from google.protobuf.message import Message

from cloud.sidecar.plans import Plans
from cloud.sidecar.routes import Route
from cloud.transport.calls import NAMESPACE_HEADER
from cloud.transport.grpc_status import Ended
from codec import CodecError
from codec.proxy import messages
from codec.proxy.sentences import withhold
from codec.proxy.tasks import Task, failed, pause_s

_log = structlog.get_logger(__name__)

TASKS_TOLD_EACH = 10
"""The first of so many tasks that can't be decoded is logged."""

REFUSAL_S_MAX = 10.0
"""How long telling the service of a task that can't be decoded may take."""


class Failing:
    """Tells services of tasks that fail; `counts` are the sidecar's."""

    def __init__(self, plans: Plans, counts: Counter[str]) -> None:
        self._plans = plans
        self._counts = counts

    async def fail(self, task: Task, error: CodecError, route: Route, identity: str) -> None:
        """Take a task that can't be decoded out of its response, and tell the service."""
        self._counts["tasks failed"] += 1
        if self._counts["tasks failed"] % TASKS_TOLD_EACH == 1:
            _log.warning("sidecar.task_undecodable", namespace=route.remote, reason=str(error))
        # A workflow task comes again at once. What only a person can mend must not go round and round meanwhile.
        await asyncio.sleep(pause_s(task.message))
        await self.tell(*failed(task.message, error, namespace=route.remote, identity=identity), route)
        task.remove()

    async def tell(self, name: str, request: Message, route: Route) -> None:
        """Tell the service of a task that fails here. If that fails too, its time-out tells it."""
        plan = self._plans.named(name)
        walk = plan.walk_request
        assert walk is not None
        try:
            await messages.encode(walk(request), route.chain, route.whose(route.owners.of_request(request)))
        except CodecError:
            withhold(walk(request))
        try:
            await route.upstream.call(
                plan.method.path,
                request.SerializeToString(),
                ((NAMESPACE_HEADER, route.remote),),
                REFUSAL_S_MAX,
            )
        except Ended as ended:
            _log.warning("sidecar.refusal_not_told", method=name, code=ended.status.code.name)
