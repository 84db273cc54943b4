"""The same things as an application sees them: the official SDK's worker and client, unmodified."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest
from temporalio import activity, workflow
from temporalio.client import (
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import (
    QueryRejectCondition,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from temporalio.exceptions import (
    TimeoutError as WorkflowTimeoutError,
)
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from .raw import Scenario
from .workers import sdk_worker

SECOND = timedelta(seconds=1)
ANY_TIME = timedelta(seconds=30)
KEYWORD = SearchAttributeKey.for_keyword("ScenarioKeyword")


@activity.defn
async def double(value: int) -> int:
    return value * 2


@activity.defn
async def fails_twice() -> int:
    if activity.info().attempt < 3:
        raise ApplicationError(f"attempt {activity.info().attempt}")
    return activity.info().attempt


@activity.defn
async def always_fails(kind: str) -> None:
    raise ApplicationError("it fails", "detail", type=kind)


@activity.defn
async def resumes_from_heartbeat() -> list[int]:
    details = list(activity.info().heartbeat_details)
    activity.heartbeat(activity.info().attempt)
    if activity.info().attempt == 1:
        raise ApplicationError("again")
    return details


@activity.defn
async def waits_for_cancel() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.05)


@activity.defn
async def completed_from_outside() -> str:
    activity.raise_complete_async()


@workflow.defn
class Doubles:
    @workflow.run
    async def run(self, value: int) -> int:
        return await workflow.execute_activity(double, value, start_to_close_timeout=ANY_TIME)


@workflow.defn
class RunsAll:
    """Runs the named activities one after the other."""

    @workflow.run
    async def run(self, names: list[str]) -> list[Any]:
        return [
            await workflow.execute_activity(
                name,
                start_to_close_timeout=ANY_TIME,
                heartbeat_timeout=10 * SECOND,
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
            )
            for name in names
        ]


@workflow.defn
class Mailbox:
    def __init__(self) -> None:
        self._got: list[str] = []
        self._closed = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self._closed)
        return self._got

    @workflow.signal
    def put(self, letter: str) -> None:
        self._got.append(letter)

    @workflow.signal
    def close(self) -> None:
        self._closed = True

    @workflow.query
    def got(self) -> list[str]:
        return self._got

    @workflow.query
    def broken(self) -> None:
        raise ApplicationError("cannot answer")


@dataclass
class Plan:
    values: Sequence[int] = field(default_factory=list)


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, plan: Plan) -> list[int]:
        handles = [
            await workflow.start_child_workflow(
                Doubles.run, value, id=f"{workflow.info().workflow_id}-{value}"
            )
            for value in plan.values
        ]
        return list(await asyncio.gather(*handles))


@workflow.defn
class FailingParent:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_child_workflow(
                Fails.run, "Inner", id=f"{workflow.info().workflow_id}-child"
            )
        except ChildWorkflowError as caught:
            cause = cast("ApplicationError", caught.cause)
            return f"{cause.type}: {cause.message}"
        return "no failure"


@workflow.defn
class Fails:
    @workflow.run
    async def run(self, kind: str) -> None:
        raise ApplicationError("it failed", type=kind, non_retryable=True)


@workflow.defn
class FailsInActivity:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            always_fails,
            "Kind",
            start_to_close_timeout=ANY_TIME,
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


@workflow.defn
class SleepsUntilCancelled:
    @workflow.run
    async def run(self, clean_up: bool) -> str:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            if not clean_up:
                raise
            return "cleaned up"
        return "slept"


@workflow.defn
class CancelsActivity:
    @workflow.run
    async def run(self) -> str:
        running = workflow.start_activity(
            waits_for_cancel,
            start_to_close_timeout=ANY_TIME,
            heartbeat_timeout=10 * SECOND,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await asyncio.sleep(0.2)
        running.cancel()
        try:
            await running
        except ActivityError as caught:
            return type(caught.cause).__name__
        return "not cancelled"


@workflow.defn
class CountsDown:
    @workflow.run
    async def run(self, left: int) -> int:
        if left:
            workflow.continue_as_new(left - 1)
        return left


@workflow.defn
class Tells:
    """Memo, search attributes, patch, local activity, side effect-like calls and external signals."""

    @workflow.run
    async def run(self, other: str) -> list[Any]:
        workflow.upsert_search_attributes([KEYWORD.value_set("told")])
        workflow.upsert_memo({"told": True})
        patched = workflow.patched("p")
        local = await workflow.execute_local_activity(double, 4, start_to_close_timeout=ANY_TIME)
        await workflow.get_external_workflow_handle_for(Mailbox.run, other).signal(
            Mailbox.put, "from outside"
        )
        await workflow.get_external_workflow_handle(other).signal("close")
        return [patched, local, workflow.memo_value("told")]


WORKFLOWS = [
    Doubles,
    RunsAll,
    Mailbox,
    Parent,
    FailingParent,
    Fails,
    FailsInActivity,
    SleepsUntilCancelled,
    CancelsActivity,
    CountsDown,
    Tells,
]
ACTIVITIES = [
    double,
    fails_twice,
    always_fails,
    resumes_from_heartbeat,
    waits_for_cancel,
    completed_from_outside,
]


@pytest.fixture(params=[1000, 0], ids=["cached", "uncached"])
async def worker(s: Scenario, request: pytest.FixtureRequest) -> AsyncIterator[Worker]:
    """With a cache of workflows (sticky queues) and with none (every task replays)."""
    async with sdk_worker(
        s, workflows=WORKFLOWS, activities=ACTIVITIES, max_cached_workflows=request.param
    ) as running:
        yield running


pytestmark = pytest.mark.usefixtures("worker")


async def _start(
    s: Scenario, run: object, *args: object, **options: object
) -> WorkflowHandle[object, object]:
    options.setdefault("id", s.wf)
    return await s.client.start_workflow(run, args=args, task_queue=s.tq, **options)


async def test_activity(s: Scenario) -> None:
    assert await (await _start(s, Doubles.run, 21)).result() == 42


async def test_many_at_once(s: Scenario) -> None:
    handles = await asyncio.gather(*(_start(s, Doubles.run, n, id=s.id(str(n))) for n in range(30)))
    assert await asyncio.gather(*(handle.result() for handle in handles)) == [2 * n for n in range(30)]


async def test_activity_is_retried_and_resumes(s: Scenario) -> None:
    handle = await _start(s, RunsAll.run, ["fails_twice", "resumes_from_heartbeat"])
    assert await handle.result() == [3, [1]]


async def test_activity_completed_from_outside(s: Scenario) -> None:
    handle = await _start(s, RunsAll.run, ["completed_from_outside"])
    for _ in range(100):
        pending = (await handle.describe()).raw_description.pending_activities
        if pending and pending[0].state == 2:
            break
        await asyncio.sleep(0.02)
    outside = s.client.get_async_activity_handle(
        workflow_id=s.wf, run_id=None, activity_id=pending[0].activity_id
    )
    await outside.heartbeat("alive")
    await outside.complete("from outside")
    assert await handle.result() == ["from outside"]


async def test_signals_and_queries(s: Scenario) -> None:
    handle = await _start(s, Mailbox.run)
    for letter in "abc":
        await handle.signal(Mailbox.put, letter)
    assert await handle.query(Mailbox.got) == ["a", "b", "c"]
    with pytest.raises(WorkflowQueryFailedError, match="cannot answer"):
        await handle.query(Mailbox.broken)
    with pytest.raises(WorkflowQueryFailedError, match="nonsense"):
        await handle.query("nonsense")
    await handle.signal(Mailbox.close)
    assert await handle.result() == ["a", "b", "c"]
    assert await handle.query(Mailbox.got) == ["a", "b", "c"]
    with pytest.raises(WorkflowQueryRejectedError):
        await handle.query(Mailbox.got, reject_condition=QueryRejectCondition.NOT_OPEN)


async def test_signal_with_start(s: Scenario) -> None:
    for letter in "ab":
        handle = await _start(s, Mailbox.run, start_signal="put", start_signal_args=[letter])
    await handle.signal(Mailbox.close)
    assert await handle.result() == ["a", "b"]


async def test_children(s: Scenario) -> None:
    assert await (await _start(s, Parent.run, Plan([1, 2, 3]))).result() == [2, 4, 6]


async def test_failure_of_a_child(s: Scenario) -> None:
    assert await (await _start(s, FailingParent.run)).result() == "Inner: it failed"


async def test_failure(s: Scenario) -> None:
    handle = await _start(s, Fails.run, "Kind")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "Kind"


async def test_failure_of_an_activity_keeps_its_details(s: Scenario) -> None:
    handle = await _start(s, FailsInActivity.run)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ActivityError)
    assert isinstance(caught.value.cause.cause, ApplicationError)
    assert (caught.value.cause.cause.type, caught.value.cause.cause.details) == ("Kind", ("detail",))


async def test_cancel(s: Scenario) -> None:
    plain = await _start(s, SleepsUntilCancelled.run, False, id=s.id("plain"))
    tidy = await _start(s, SleepsUntilCancelled.run, True, id=s.id("tidy"))
    await plain.cancel()
    await tidy.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await plain.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert await tidy.result() == "cleaned up"


async def test_cancelled_activity(s: Scenario) -> None:
    assert await (await _start(s, CancelsActivity.run)).result() == "CancelledError"


async def test_terminate(s: Scenario) -> None:
    handle = await _start(s, Mailbox.run)
    await handle.terminate("detail", reason="because")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, TerminatedError)
    assert (caught.value.cause.message, caught.value.cause.details) == ("because", ("detail",))


async def test_timeout(s: Scenario) -> None:
    handle = await _start(s, Mailbox.run, execution_timeout=SECOND)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, WorkflowTimeoutError)


async def test_continue_as_new(s: Scenario) -> None:
    handle = await _start(s, CountsDown.run, 1)
    assert await handle.result() == 0
    with pytest.raises(WorkflowContinuedAsNewError):
        await handle.result(follow_runs=False)


async def test_already_started(s: Scenario) -> None:
    handle = await _start(s, Mailbox.run)
    with pytest.raises(WorkflowAlreadyStartedError) as caught:
        await _start(s, Mailbox.run)
    assert caught.value.run_id == handle.result_run_id


async def test_memo_attributes_patches_local_activities_external_signals(s: Scenario) -> None:
    mailbox = await _start(s, Mailbox.run, id=s.id("mailbox"))
    teller = await _start(
        s,
        Tells.run,
        s.id("mailbox"),
        memo={"at start": 1},
        search_attributes=TypedSearchAttributes([SearchAttributePair(KEYWORD, "at start")]),
    )
    assert await teller.result() == [True, 8, True]
    assert await mailbox.result() == ["from outside"]
    described = await teller.describe()
    assert await described.memo() == {"at start": 1, "told": True}
    assert described.typed_search_attributes[KEYWORD] == "told"


async def test_history_replays(s: Scenario) -> None:
    handle = await _start(s, Parent.run, Plan([1, 2]))
    await handle.result()
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(await handle.fetch_history())
