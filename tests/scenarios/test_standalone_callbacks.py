"""Completion callbacks of standalone activities: what became of one is told to the Nexus operation that it does the work of."""

import asyncio
from typing import Any

import pytest
import temporalio.api.nexus.v1 as nexus
from temporalio.api.common.v1 import Callback, Link, OnConflictOptions
from temporalio.api.enums.v1 import ActivityIdConflictPolicy, EventType

from . import commands as c
from .nexus import NexusTask, answer, create_endpoint, links_text, poll_nexus, schedule, started
from .raw import Scenario
from .rendering import render
from .snapshots import expect, grouped
from .standalone import Standalone

ENDS = (
    EventType.EVENT_TYPE_NEXUS_OPERATION_COMPLETED,
    EventType.EVENT_TYPE_NEXUS_OPERATION_FAILED,
    EventType.EVENT_TYPE_NEXUS_OPERATION_CANCELED,
    EventType.EVENT_TYPE_NEXUS_OPERATION_TIMED_OUT,
)
USE_EXISTING = ActivityIdConflictPolicy.ACTIVITY_ID_CONFLICT_POLICY_USE_EXISTING
ONCE = c.retry(maximum_attempts=1)


def callback_of(task: NexusTask, *links: Link) -> Callback:
    """What a handler attaches to the activity that does an operation's work."""
    request = task.request.start_operation
    return Callback(
        nexus=Callback.Nexus(url=request.callback, header=dict(request.callback_header)), links=links
    )


@pytest.fixture
def act(s: Scenario) -> Standalone:
    return Standalone(s)


async def caller(s: Scenario, workflow_id: str = "wf") -> NexusTask:
    """A workflow whose operation (event 5) has started."""
    endpoint = await create_endpoint(s)
    await s.start(workflow_id=s.id(workflow_id))
    await s.step(schedule(endpoint, "in"))
    task = await poll_nexus(s)
    await answer(s, task, started("token"))
    await s.step()
    return task


async def end(s: Scenario) -> str:
    """The event that ends the caller's operation, and its links."""
    for _ in range(100):
        events = await s.history()
        ended = [event for event in events if event.event_type in ENDS]
        if ended:
            return "\n".join([*s.history_lines(ended), links_text(ended[0].links, s.names)])
        await asyncio.sleep(0.05)
    return "no end"


async def told(act: Standalone, text: str = "SUCCEEDED") -> str:
    """What Describe says of the callbacks, once it says `text`."""
    for _ in range(100):
        found = (await act.describe()).callbacks
        lines = "\n".join(
            sorted(render(each, act.s.names, frozenset({"info.callback.nexus.header"})) for each in found)
        )
        if text in lines:
            return lines
        await asyncio.sleep(0.05)
    return lines


async def test_completed(s: Scenario, act: Standalone) -> None:
    await act.start(completion_callbacks=[callback_of(await caller(s))])
    expect(
        await told(act, "STANDBY"),
        """
            trigger.activity_closed={} info.callback.nexus.url=temporal://system info.registration_time=<time>
                  info.state=STANDBY
        """,
    )
    await s.complete_activity(await s.poll_activity(), "out", "second")
    expect(
        await end(s),
        """
            10 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
        """,
    )
    expect(
        await told(act),
        """
            trigger.activity_closed={} info.callback.nexus.url=temporal://system info.registration_time=<time>
                  info.state=SUCCEEDED info.attempt=1 info.last_attempt_complete_time=<time>
        """,
    )


async def test_failed(s: Scenario, act: Standalone) -> None:
    await act.start(completion_callbacks=[callback_of(await caller(s))], retry_policy=ONCE)
    await s.fail_activity(await s.poll_activity())
    expect(
        await end(s),
        """
            10 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message=boom failure.cause.application_failure_info.type=Boom
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )


async def test_canceled(s: Scenario, act: Standalone) -> None:
    await act.start(completion_callbacks=[callback_of(await caller(s))])
    await act.cancel(reason="enough")
    expect(
        await end(s),
        """
            10 NexusOperationCanceled scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="Activity canceled"
                  failure.cause.canceled_failure_info.details=['enough']
                  failure.cause.canceled_failure_info.identity=me
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )


async def test_terminated(s: Scenario, act: Standalone) -> None:
    await act.start(completion_callbacks=[callback_of(await caller(s))])
    await act.terminate(reason="enough")
    expect(
        await end(s),
        """
            10 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message=enough
                  failure.cause.terminated_failure_info.identity=me
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )


async def test_timed_out(s: Scenario, act: Standalone) -> None:
    await act.start(
        completion_callbacks=[callback_of(await caller(s))], retry_policy=ONCE, schedule_to_start_timeout=1
    )
    expect(
        await end(s),
        """
            10 NexusOperationFailed scheduled_event_id=5 failure.message="nexus operation completed
                  unsuccessfully" failure.cause.message="activity ScheduleToStart timeout"
                  failure.cause.timeout_failure_info.timeout_type=SCHEDULE_TO_START
                  failure.nexus_operation_execution_failure_info.scheduled_event_id=5
                  failure.nexus_operation_execution_failure_info.endpoint=ep
                  failure.nexus_operation_execution_failure_info.service=svc
                  failure.nexus_operation_execution_failure_info.operation=op
                  failure.nexus_operation_execution_failure_info.operation_id=token
                  failure.nexus_operation_execution_failure_info.operation_token=token request_id=<id>
        """,
    )


async def test_attached_to_what_runs(s: Scenario, act: Standalone) -> None:
    task = await caller(s)
    await act.start()
    wanted: dict[str, Any] = {
        "completion_callbacks": [callback_of(task)],
        "id_conflict_policy": USE_EXISTING,
        "request_id": "second",
    }
    attach = OnConflictOptions(attach_request_id=True, attach_completion_callbacks=True)
    await act.start(**wanted)  # not asked to attach it
    assert not (await act.describe()).callbacks
    for _ in range(2):  # once, however often it is sent
        await act.start(on_conflict_options=attach, **wanted)
    expect(
        await told(act, "STANDBY"),
        """
            trigger.activity_closed={} info.callback.nexus.url=temporal://system info.registration_time=<time>
                  info.state=STANDBY
        """,
    )
    await s.complete_activity(await s.poll_activity(), "out")
    expect(
        await end(s),
        """
            10 NexusOperationCompleted scheduled_event_id=5 result='out' request_id=<id>
        """,
    )
    await s.expect_refusal(
        act.start(
            on_conflict_options=attach,
            completion_callbacks=[callback_of(task)],
            id_conflict_policy=USE_EXISTING,
            id_reuse_policy=3,
            request_id="third",
        ),
        """
            ALREADY_EXISTS: activity execution already started
              ActivityExecutionAlreadyStartedFailure run_id=run1
        """,
    )


async def test_nobody_waits_any_more(s: Scenario, act: Standalone) -> None:
    await act.start(completion_callbacks=[callback_of(await caller(s))])
    await s.terminate()
    await s.complete_activity(await s.poll_activity())
    found = await told(act, "FAILED")
    assert "state=FAILED" in found
    assert "attempt=1" in found


async def test_bad_callbacks(s: Scenario, act: Standalone) -> None:
    outcomes: dict[str, str] = {}
    for case, callbacks in {
        "long url": [Callback(nexus=Callback.Nexus(url="http://x/" + "x" * 1_000))],
        "no scheme": [Callback(nexus=Callback.Nexus(url="nothing"))],
        "large header": [Callback(nexus=Callback.Nexus(url="temporal://system", header={"k": "x" * 9_000}))],
        "none": [Callback()],
    }.items():
        await s.expect_refusal_of(outcomes, case, act.start(completion_callbacks=callbacks))
    await s.expect_refusal_of(
        outcomes,
        "attached without a request id",
        act.start(
            completion_callbacks=[Callback(nexus=Callback.Nexus(url="temporal://system"))],
            on_conflict_options=OnConflictOptions(attach_completion_callbacks=True),
        ),
    )
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: invalid url: url length longer than max length allowed of 1000
              long url
            INVALID_ARGUMENT: invalid url: unknown scheme: nothing
              no scheme
            INVALID_ARGUMENT: invalid header: header size longer than max allowed size of 8192
              large header
            UNIMPLEMENTED: unknown callback variant: <nil>
              none
            INVALID_ARGUMENT: on_conflict_options: attach_completion_callbacks requires attach_request_id to
                  be set
              attached without a request id
        """,
    )


async def test_a_standalone_operation_that_is_an_activity(s: Scenario, act: Standalone) -> None:
    """Neither needs a workflow."""
    from .nexus_operations import Operation

    op = Operation(s, await create_endpoint(s))
    await op.start("in")
    task = await poll_nexus(s)
    await act.start(completion_callbacks=[callback_of(task)])
    link = nexus.Link(
        url=f"temporal:///namespaces/default/activities/{act.id}/run/details",
        type="temporal.api.common.v1.Link.Activity",
    )
    await answer(s, task, started("token", link))
    await s.complete_activity(await s.poll_activity(), "out")
    s.expect_message(
        await op.outcome(),
        """
            run_id=run1 wait_stage=CLOSED operation_token=token result='out'
        """,
    )
