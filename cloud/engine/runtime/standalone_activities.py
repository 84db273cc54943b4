"""Standalone activities of a native cell. What a step of one asks for is an offer of the attempt that waits to workers, or, once it is
over, calls of its completion callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from temporalio.api.workflowservice.v1 import StartActivityExecutionRequest

from cloud.engine.core import standalone_activity, standalone_activity_callbacks
from cloud.engine.core.standalone_activity import Step
from cloud.engine.core.standalone_activity_state import StandaloneActivity
from cloud.engine.core.standalone_asked import Asked
from cloud.engine.runtime.errors import NoSuchActivity
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_executions import StandaloneExecutions
from cloud.engine.store.rows import StandaloneKind, StandaloneRow, decode_standalone


class StandaloneActivities(StandaloneExecutions[HotActivity, Step]):
    """See the module's head.

    Told by composition: `offer` gives the attempt that waits to a worker, or stores its task; `call_back` calls callbacks.
    """

    KIND: ClassVar[StandaloneKind] = StandaloneKind.ACTIVITY

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.offer: Callable[[HotActivity], None] = lambda _: None
        self.call_back: Callable[[HotActivity, Sequence[int]], None] = lambda hot, indexes: None

    def begin(self, namespace: Namespace, request: StartActivityExecutionRequest) -> HotActivity:
        """Start one, under the lock of its id. `request` is checked and settled, and belongs to the activity from now on.

        Raises:
            Unflushed: its namespace began to be deleted meanwhile.
        """
        self._require_served(namespace)
        runtime = self._runtime
        step = standalone_activity.begin(runtime.ids.run_id(), request, runtime.clock.now())
        standalone_activity_callbacks.begin(step)
        return self._begin(HotActivity(step.activity, namespace, runtime.serial(), request.ByteSize()), step)

    def _loaded(self, row: StandaloneRow, request: bytes, namespace: Namespace) -> HotActivity:
        started = StartActivityExecutionRequest.FromString(request)
        activity = StandaloneActivity.of(row.run_id, started, decode_standalone(row.state))
        return HotActivity(activity, namespace, row.number, len(request))

    def _missing(self, id_: str) -> NoSuchActivity:
        return NoSuchActivity(id_)

    def _step_of(self, hot: HotActivity) -> Step:
        return Step(hot.activity, self._runtime.clock.now(), self._runtime.limits.activity_failure_size)

    def _carry_out(self, hot: HotActivity, step: Step) -> None:
        if step.offer:
            self.offer(hot)
        if step.deliver:
            self.call_back(hot, step.deliver)

    def _resume(self, hot: HotActivity) -> None:
        self.call_back(hot, standalone_activity_callbacks.awaiting(hot.activity))

    def _fire_due(self, step: Step) -> None:
        if step.activity.closed:
            standalone_activity_callbacks.fire_due(step)
        else:
            standalone_activity.fire_due(step)

    def _terminate_to_delete(self, step: Step) -> None:
        standalone_activity.terminate(step, Asked(step.now, reason="Delete activity execution"))

    def _next_due(self, hot: HotActivity) -> int:
        return standalone_activity.due_at(hot.activity)
