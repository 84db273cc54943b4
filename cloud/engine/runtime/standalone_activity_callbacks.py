"""Calls of the completion callbacks of standalone activities that have closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from temporalio.api.common.v1 import Link, Payloads
from temporalio.api.enums.v1 import ActivityExecutionStatus
from temporalio.api.failure.v1 import Failure

from cloud.engine.core import standalone_activity_callbacks as core
from cloud.engine.core.nexus_answers import Outcome, Succeeded, Unsuccessful
from cloud.engine.core.standalone_activity import Step
from cloud.engine.core.standalone_activity_state import StandaloneActivity
from cloud.engine.runtime.hot_activity import HotActivity
from cloud.engine.runtime.nexus_calling import until_answered
from cloud.engine.runtime.nexus_completions import Completion
from cloud.engine.runtime.nexus_delivery import CallbackDelivery, CallFailed
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.standalone_activities import StandaloneActivities


class StandaloneCallbacks:
    """Delivers what the core asks for."""

    def __init__(
        self, runtime: Runtime, activities: StandaloneActivities, delivery: CallbackDelivery
    ) -> None:
        self._runtime = runtime
        self._activities = activities
        self._delivery = delivery
        activities.call_back = self._begin

    def _begin(self, hot: HotActivity, indexes: Sequence[int]) -> None:
        """A call that the runtime's end cuts off stays in `calls`: its row still says so."""
        for index in indexes:
            work = until_answered(hot, partial(self._deliver, hot, index))
            hot.calls.add(self._runtime.spawn(work, "DeliverActivityCallback"))

    async def _deliver(self, hot: HotActivity, index: int) -> None:
        await self._activities.durable(hot)
        if index not in core.awaiting(hot.activity):
            self._done(hot, lambda step: None)
            return
        activity = hot.activity
        activity_link = Link.Activity(
            namespace=hot.namespace.name, activity_id=hot.activity_id, run_id=hot.run_id
        )
        completion = Completion(
            _outcome(activity),
            started_at=activity.state.scheduled_time,
            links=[Link(activity=activity_link)],
        )
        callback = core.callback_of(activity, index)
        try:
            await self._delivery.deliver(
                hot.namespace.namespace_id,
                callback,
                completion,
                activity.state.close_time,
                lambda: not hot.dropped,
            )
        except CallFailed as error:
            reason, retryable = str(error), error.retryable
            self._done(hot, lambda step: core.not_delivered(step, index, reason, retryable=retryable))
        else:
            self._done(hot, lambda step: core.delivered(step, index))

    def _done(self, hot: HotActivity, tell: Callable[[Step], None]) -> None:
        if hot.dropped:
            return
        this = asyncio.current_task()
        with self._activities.step(hot) as step:
            if this is not None:
                hot.calls.discard(this)
            tell(step)
            step.dirty = True  # the row no longer says that a call is out


def _outcome(activity: StandaloneActivity) -> Outcome:
    state = activity.state
    if state.has_result:
        payloads = Payloads.FromString(state.result).payloads
        return Succeeded(payloads[0] if payloads else None)
    canceled = activity.status == ActivityExecutionStatus.ACTIVITY_EXECUTION_STATUS_CANCELED
    return Unsuccessful(Failure.FromString(activity.outcome_failure), canceled=canceled)
