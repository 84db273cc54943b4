"""What scenarios of schedules share: one schedule `sched` whose runs go to the scenario's queue."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Memo, SearchAttributes, WorkflowType
from temporalio.api.enums.v1 import ScheduleOverlapPolicy
from temporalio.api.schedule.v1 import (
    BackfillRequest,
    IntervalSpec,
    Schedule,
    ScheduleAction,
    SchedulePatch,
    SchedulePolicies,
    ScheduleSpec,
    ScheduleState,
    TriggerImmediatelyRequest,
)
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo
from temporalio.service import RPCError

from .commands import payload, payloads, seconds, with_durations
from .raw import Scenario, WorkflowTask
from .rendering import IDENTITY, error, render
from .snapshots import expect

NEVER = ScheduleSpec()
"""A spec without times: what such a schedule does, it is told."""

WITHIN_SECONDS = 15.0

_FUTURE = re.compile(r"future_action_times=\[[^]]*\]")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def moment(text: str) -> Timestamp:
    """`2025-01-31 12:00:00` in UTC."""
    found = Timestamp()
    found.FromDatetime(datetime.fromisoformat(text).replace(tzinfo=UTC))
    return found


def overlap(name: str) -> ScheduleOverlapPolicy.ValueType:
    return ScheduleOverlapPolicy.Value(f"SCHEDULE_OVERLAP_POLICY_{name or 'UNSPECIFIED'}")


def every(length: float, phase: float = 0) -> ScheduleSpec:
    return ScheduleSpec(interval=[IntervalSpec(interval=seconds(length), phase=seconds(phase))])


class ScheduleScenario:
    """Raw calls about the schedule `sched` of a scenario."""

    def __init__(self, s: Scenario) -> None:
        self.s = s
        self.id = s.id("sched")
        self.made: list[str] = []

    def definition(self, spec: ScheduleSpec = NEVER, **fields: Any) -> Schedule:
        """A schedule of workflow `wf`; `action`, `policies` and `state` are fields of these."""
        action = {
            "workflow_id": self.s.wf,
            "workflow_type": WorkflowType(name="demo"),
            "task_queue": TaskQueue(name=self.s.tq),
        } | with_durations(fields.pop("action", {}))
        policies = fields.pop("policies", {})
        if "catchup_window" in policies:
            policies["catchup_window"] = seconds(policies["catchup_window"])
        if "overlap_policy" in policies:
            policies["overlap_policy"] = overlap(policies["overlap_policy"])
        state = fields.pop("state", {})
        return Schedule(
            spec=spec,
            action=ScheduleAction(start_workflow=NewWorkflowExecutionInfo(**action)),
            policies=SchedulePolicies(**policies) if policies else None,
            state=ScheduleState(**state) if state else None,
        )

    async def create(
        self,
        spec: ScheduleSpec = NEVER,
        *,
        schedule_id: str = "",
        request_id: str = "",
        patch: SchedulePatch | None = None,
        memo: Mapping[str, Any] | None = None,
        search_attributes: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> ws.CreateScheduleResponse:
        """Make the schedule."""
        self.made.append(schedule_id or self.id)
        return await self.s.service.create_schedule(
            ws.CreateScheduleRequest(
                namespace=self.s.namespace,
                schedule_id=schedule_id or self.id,
                schedule=self.definition(spec, **fields),
                initial_patch=patch,
                identity=IDENTITY,
                request_id=request_id or str(uuid.uuid4()),
                memo=_memo(memo),
                search_attributes=_attributes(search_attributes),
            )
        )

    async def describe(self, schedule_id: str = "") -> ws.DescribeScheduleResponse:
        return await self.s.service.describe_schedule(
            ws.DescribeScheduleRequest(namespace=self.s.namespace, schedule_id=schedule_id or self.id)
        )

    async def update(
        self,
        spec: ScheduleSpec = NEVER,
        *,
        conflict_token: bytes = b"",
        search_attributes: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        await self.s.service.update_schedule(
            ws.UpdateScheduleRequest(
                namespace=self.s.namespace,
                schedule_id=self.id,
                schedule=self.definition(spec, **fields),
                conflict_token=conflict_token,
                identity=IDENTITY,
                request_id=str(uuid.uuid4()),
                search_attributes=_attributes(search_attributes),
            )
        )

    async def patch(self, *, request_id: str = "", **fields: Any) -> None:
        await self.s.service.patch_schedule(
            ws.PatchScheduleRequest(
                namespace=self.s.namespace,
                schedule_id=self.id,
                patch=SchedulePatch(**fields),
                identity=IDENTITY,
                request_id=request_id or str(uuid.uuid4()),
            )
        )

    async def trigger(self, at: str, policy: str = "", *, request_id: str = "", noticed: bool = True) -> None:
        """Have it act now, as if it were `at`, which is in the run's id.

        Of two requests that come at once the real server forgets one, so wait until it is `noticed`.
        """
        before = _noticed(await self.describe()) if noticed else 0
        await self.patch(
            request_id=request_id,
            trigger_immediately=TriggerImmediatelyRequest(
                overlap_policy=overlap(policy), scheduled_time=moment(at)
            ),
        )
        if noticed:
            await self.until(lambda found: _noticed(found) > before)

    async def backfill(self, start: str, end: str, policy: str = "") -> None:
        await self.patch(
            backfill_request=[
                BackfillRequest(
                    start_time=moment(start), end_time=moment(end), overlap_policy=overlap(policy)
                )
            ]
        )

    async def delete(self, schedule_id: str = "") -> None:
        await self.s.service.delete_schedule(
            ws.DeleteScheduleRequest(
                namespace=self.s.namespace, schedule_id=schedule_id or self.id, identity=IDENTITY
            )
        )

    async def times(self, start: str, end: str) -> str:
        """The matching times of a range, a line each."""
        found = await self.s.service.list_schedule_matching_times(
            ws.ListScheduleMatchingTimesRequest(
                namespace=self.s.namespace,
                schedule_id=self.id,
                start_time=moment(start),
                end_time=moment(end),
            )
        )
        return "\n".join(f"{at.ToDatetime():%Y-%m-%d %H:%M:%S}" for at in found.start_time)

    async def until(self, true: Callable[[ws.DescribeScheduleResponse], bool]) -> ws.DescribeScheduleResponse:
        """Describe it until it is as it shall become."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while True:
            found = await self.describe()
            if true(found):
                return found
            assert time.monotonic() < deadline, f"the schedule stays as it is: {found}"
            await asyncio.sleep(0.05)

    async def acted(self, count: int) -> ws.DescribeScheduleResponse:
        """Wait until it has started so many runs."""
        return await self.until(lambda found: found.info.action_count >= count)

    async def poll(self) -> WorkflowTask:
        """The next workflow task of any of its runs."""
        task = await self.s.poll()
        self.s.started.append(task.workflow_execution.workflow_id)
        return task

    def expect(self, message: Any, text: str, *, hide: frozenset[str] = frozenset()) -> None:
        """A reply is this; the moment that is in a run's id is left out where it is of today."""
        expect(self.shown(message, hide), text)

    def shown(self, message: Any, hide: frozenset[str] = frozenset()) -> str:
        today = f"{datetime.now(UTC):%Y}"
        text = _FUTURE.sub("future_action_times=[...]", render(message, self.s.names, hide))
        return _TIME.sub(lambda found: "<now>" if found[0].startswith(today) else found[0], text)

    async def refusal(self, call: Any) -> str:
        """How a call is refused, in one text; `accepted` if it is not."""
        try:
            await call
        except RPCError as caught:
            return error(caught, self.s.names)
        return "accepted"


def _noticed(found: ws.DescribeScheduleResponse) -> int:
    return found.info.action_count + found.info.buffer_size + found.info.overlap_skipped


@asynccontextmanager
async def schedule_of(s: Scenario) -> AsyncIterator[ScheduleScenario]:
    """A schedule that is gone at the end, with all that it started."""
    found = ScheduleScenario(s)
    try:
        yield found
    finally:
        for schedule_id in dict.fromkeys(found.made):
            try:
                info = (await found.describe(schedule_id)).info
                await found.delete(schedule_id)
            except RPCError:
                continue
            s.started += [each.start_workflow_result.workflow_id for each in info.recent_actions]


def _memo(values: Mapping[str, Any] | None) -> Memo | None:
    return None if values is None else Memo(fields={key: payload(value) for key, value in values.items()})


def _attributes(values: Mapping[str, Any] | None) -> SearchAttributes | None:
    if values is None:
        return None
    return SearchAttributes(indexed_fields={key: payload(value) for key, value in values.items()})


__all__ = ["NEVER", "ScheduleScenario", "every", "moment", "overlap", "payloads", "schedule_of"]
