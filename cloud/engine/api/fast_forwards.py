"""PollWorkflowExecutionTimeSkipping: wait for the end of a workflow's fast-forward, through all runs of its chain."""

from __future__ import annotations

import asyncio

from temporalio.api.common.v1 import TimeSkippingFastForwardInfo
from temporalio.api.enums.v1 import FastForwardPollingResult
from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionTimeSkippingRequest,
    PollWorkflowExecutionTimeSkippingResponse,
)

from cloud.engine.api import checks
from cloud.engine.core import run_clock
from cloud.engine.core.clock import timestamp
from cloud.engine.core.state import Execution
from cloud.engine.runtime.hot import HotRun
from cloud.engine.runtime.polling import HISTORY_POLL_S, long_poll_timeout_s
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import CallContext, InvalidArgument

_R = FastForwardPollingResult
_COMPLETED = _R.FAST_FORWARD_POLLING_RESULT_FAST_FORWARD_COMPLETED
_FAILED = _R.FAST_FORWARD_POLLING_RESULT_FAST_FORWARD_FAILED
_TIMEOUT = _R.FAST_FORWARD_POLLING_RESULT_POLL_TIMEOUT

_OTHER_ID = "the requested fast_forward_id does not match the execution's current fast-forward"
_RESET = "the fast-forward was reset"
_ENDED = "the execution ended before the fast-forward completed"
_DISABLED = "time skipping was disabled before the fast-forward completed"


class FastForwards:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def poll_workflow_execution_time_skipping(
        self, request: PollWorkflowExecutionTimeSkippingRequest, context: CallContext
    ) -> PollWorkflowExecutionTimeSkippingResponse:
        """How the fast-forward ended; that it has not, when the time is over."""
        runtime = self._runtime
        namespace = checks.namespace_of(runtime, request.namespace)
        checks.require_time_skipping(runtime)
        checks.check_fast_forward_id(request.fast_forward_id)
        if not request.HasField("workflow_execution"):
            raise InvalidArgument("Execution is not set on request.")
        checks.check_execution(request.workflow_execution)
        ends_at = asyncio.get_running_loop().time() + long_poll_timeout_s(context, HISTORY_POLL_S)
        hot = await runtime.find(
            namespace, request.workflow_execution.workflow_id, request.workflow_execution.run_id
        )
        target = 0
        while True:
            await runtime.durable(hot)
            execution = hot.execution
            if not execution.running and execution.next_run_id:
                hot = await runtime.find(namespace, execution.key.workflow_id, execution.next_run_id)
                continue
            outcome = _outcome(execution, request.fast_forward_id, target)
            if outcome is not None:
                return outcome
            target = execution.clock.fast_forward_target if execution.clock is not None else 0
            if not await runtime.waits.among(hot.watchers, ends_at):
                return PollWorkflowExecutionTimeSkippingResponse(
                    fast_forward_polling_result=_TIMEOUT, fast_forward_info=_info(execution)
                )
            hot = await self._refreshed(hot)

    async def _refreshed(self, hot: HotRun) -> HotRun:
        return await self._runtime.find(hot.namespace, hot.execution.key.workflow_id, hot.run_id)


def _outcome(
    execution: Execution, fast_forward_id: str, target: int
) -> PollWorkflowExecutionTimeSkippingResponse | None:
    """How it ended; None while it has not. `target` is where it was to end when it was looked at before, 0 at first."""
    info = _info(execution)
    if info is None or info.fast_forward_id != fast_forward_id:
        reason = _OTHER_ID
    elif target and execution.clock is not None and execution.clock.fast_forward_target != target:
        reason = _RESET
    elif info.has_completed:
        return PollWorkflowExecutionTimeSkippingResponse(
            fast_forward_polling_result=_COMPLETED, fast_forward_info=info
        )
    elif not execution.running:
        reason = _ENDED
    elif not run_clock.enabled(execution):
        reason = _DISABLED
    else:
        return None
    return PollWorkflowExecutionTimeSkippingResponse(
        fast_forward_polling_result=_FAILED, failed_reason=reason, fast_forward_info=info
    )


def _info(execution: Execution) -> TimeSkippingFastForwardInfo | None:
    clock = execution.clock
    if clock is None or clock.config is None or not clock.fast_forward_target:
        return None
    wanted = clock.config.fast_forward_config
    return TimeSkippingFastForwardInfo(
        fast_forward_duration=wanted.duration,
        fast_forward_id=wanted.id,
        target_time=timestamp(clock.fast_forward_target),
        has_completed=clock.fast_forward_reached,
    )
