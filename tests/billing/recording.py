"""Records the histories under histories/ from a running Temporal server: `python -m tests.billing.recording
HOST:PORT [NAME…]`.

Each scenario is a handful of workflows through the official SDK; what it keeps is one run's history a file,
as the SDK's JSON form, without what tells of the recording machine. The counts expected of each stand in
test_recount.py.
"""

import asyncio
import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import RetryPolicy, SearchAttributeKey, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

FOLDER = Path(__file__).parent / "histories"
KEYWORD = SearchAttributeKey.for_keyword("RecountKeyword")
UNTOLD = {"identity", "taskQueue", "stackTrace", "binaryChecksum", "buildId"}
SHORT = timedelta(seconds=10)


@activity.defn
async def flaky(fails: int) -> int:
    attempt = activity.info().attempt
    if attempt <= fails:
        raise ApplicationError("not yet")
    activity.heartbeat(attempt)
    return attempt


@activity.defn
async def local(value: int) -> int:
    return value


@workflow.defn
class Everything:
    """Activities with retries, timers, local activities in two tasks, a patch, upserts, a query."""

    @workflow.run
    async def run(self) -> int:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=5)
        if workflow.patched("a-patch"):
            await workflow.sleep(0.01)
        await asyncio.gather(
            *(workflow.execute_local_activity(local, n, start_to_close_timeout=SHORT) for n in range(3))
        )
        await workflow.sleep(0.01)
        await workflow.execute_local_activity(local, 4, start_to_close_timeout=SHORT)
        workflow.upsert_search_attributes([KEYWORD.value_set("a")])
        workflow.upsert_memo({"note": "b"})
        total = 0
        for fails in (0, 2):
            total += await workflow.execute_activity(
                flaky, fails, start_to_close_timeout=SHORT, retry_policy=policy
            )
        return total


@workflow.defn
class Signalled:
    """Waits for signals."""

    def __init__(self) -> None:
        self.seen = 0

    @workflow.signal
    def poke(self) -> None:
        self.seen += 1

    @workflow.update
    def change(self, good: bool) -> int:
        return self.seen

    @change.validator
    def check(self, good: bool) -> None:
        if not good:
            raise ValueError("refused")

    @workflow.run
    async def run(self, wanted: int) -> None:
        await workflow.wait_condition(lambda: self.seen >= wanted)


@workflow.defn
class Parent:
    """Starts two children and signals one of them."""

    @workflow.run
    async def run(self) -> None:
        name = workflow.info().workflow_id
        first = await workflow.start_child_workflow(Signalled.run, 1, id=f"{name}-1")
        await workflow.execute_child_workflow(Signalled.run, 0, id=f"{name}-2")
        await first.signal(Signalled.poke)
        await first


@workflow.defn
class Again:
    """Continues as new until `left` is 0."""

    @workflow.run
    async def run(self, left: int) -> None:
        if left:
            workflow.continue_as_new(left - 1)


@workflow.defn
class Failing:
    """Fails but for its second attempt."""

    @workflow.run
    async def run(self) -> None:
        if workflow.info().attempt < 2:
            raise ApplicationError("again")


@workflow.defn
class Stuck:
    """Schedules an activity that nobody runs to its end."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            flaky,
            99,
            start_to_close_timeout=SHORT,
            schedule_to_close_timeout=timedelta(seconds=1),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=400), backoff_coefficient=1),
        )


WORKFLOWS = [Everything, Signalled, Parent, Again, Failing, Stuck]


def scrubbed(value: Any) -> Any:
    """Without what tells of the machine that recorded it."""
    if isinstance(value, dict):
        return {key: scrubbed(item) for key, item in value.items() if key not in UNTOLD}
    return [scrubbed(item) for item in value] if isinstance(value, list) else value


class Recorder:
    """One client, one queue, and where histories go."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.queue = f"recount-{uuid.uuid4()}"

    def id(self, name: str) -> str:
        return f"recount-{name}-{uuid.uuid4().hex[:8]}"

    async def keep(self, name: str, handle: WorkflowHandle) -> None:
        raw = scrubbed((await handle.fetch_history()).to_json_dict())
        (FOLDER / f"{name}.json").write_text(json.dumps(raw, indent=1) + "\n")

    async def chain(self, workflow_id: str, length: int) -> list[WorkflowHandle]:
        """The runs of an id, the oldest first, once lists show `length` of them."""
        while True:
            runs = [run async for run in self.client.list_workflows(f"WorkflowId = '{workflow_id}'")]
            if len(runs) >= length:
                break
            await asyncio.sleep(0.1)
        runs.sort(key=lambda run: run.start_time)
        return [self.client.get_workflow_handle(run.id, run_id=run.run_id) for run in runs]


async def everything(r: Recorder) -> None:
    handle = await r.client.start_workflow(Everything.run, id=r.id("everything"), task_queue=r.queue)
    await handle.result()
    await r.keep("everything", handle)


async def signal_with_start(r: Recorder) -> None:
    name = r.id("signal-with-start")
    for _ in range(2):
        handle = await r.client.start_workflow(
            Signalled.run,
            3,
            id=name,
            task_queue=r.queue,
            start_signal="poke",
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
    await handle.signal(Signalled.poke)
    await handle.result()
    await r.keep("signal-with-start", handle)


async def delayed(r: Recorder) -> None:
    delay = timedelta(seconds=1)
    plain = await r.client.start_workflow(
        Signalled.run, 1, id=r.id("delayed"), task_queue=r.queue, start_delay=delay
    )
    await plain.signal(Signalled.poke)
    with_start = await r.client.start_workflow(
        Signalled.run, 1, id=r.id("delayed"), task_queue=r.queue, start_delay=delay, start_signal="poke"
    )
    await plain.result()
    await with_start.result()
    await r.keep("delayed-then-signal", plain)
    await r.keep("delayed-signal-with-start", with_start)


async def parent(r: Recorder) -> None:
    name = r.id("parent")
    handle = await r.client.start_workflow(Parent.run, id=name, task_queue=r.queue)
    await handle.result()
    await r.keep("parent", handle)
    await r.keep("child-signalled", r.client.get_workflow_handle(f"{name}-1"))


async def update(r: Recorder) -> None:
    handle = await r.client.start_workflow(Signalled.run, 1, id=r.id("update"), task_queue=r.queue)
    await handle.execute_update(Signalled.change, True)
    try:
        await handle.execute_update(Signalled.change, False)
    except Exception as refused:
        print("refused, as it should be:", refused)
    await handle.execute_update(Signalled.change, True)
    await handle.signal(Signalled.poke)
    await handle.result()
    await r.keep("update", handle)


async def continue_as_new(r: Recorder) -> None:
    name = r.id("again")
    await r.client.execute_workflow(Again.run, 1, id=name, task_queue=r.queue)
    first, second = await r.chain(name, 2)
    await r.keep("continued-first", first)
    await r.keep("continued-second", second)


async def retried(r: Recorder) -> None:
    name = r.id("retried")
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=10))
    await r.client.execute_workflow(Failing.run, id=name, task_queue=r.queue, retry_policy=policy)
    first, second = await r.chain(name, 2)
    await r.keep("retried-first", first)
    await r.keep("retried-second", second)


async def cron(r: Recorder) -> None:
    name = r.id("cron")
    await r.client.start_workflow(Again.run, 0, id=name, task_queue=r.queue, cron_schedule="@every 1s")
    runs = await r.chain(name, 3)
    await r.client.get_workflow_handle(name).terminate()
    await r.keep("cron-first", runs[0])
    await r.keep("cron-second", runs[1])


async def scheduled(r: Recorder) -> None:
    name = r.id("scheduled")
    action = ScheduleActionStartWorkflow(Again.run, 0, id=name, task_queue=r.queue)
    handle = await r.client.create_schedule(name, Schedule(action=action, spec=ScheduleSpec()))
    await handle.trigger()
    while not (recent := (await handle.describe()).info.recent_actions):
        await asyncio.sleep(0.2)
    run = r.client.get_workflow_handle(recent[0].action.workflow_id)
    await run.result()
    await handle.delete()
    await r.keep("scheduled", run)


async def reset(r: Recorder) -> None:
    name = r.id("reset")
    handle = await r.client.start_workflow(Signalled.run, 2, id=name, task_queue=r.queue)
    await handle.signal(Signalled.poke)
    await handle.signal(Signalled.poke)
    await handle.result()
    await r.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=r.client.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=name, run_id=handle.first_execution_run_id or ""
            ),
            reason="recording",
            workflow_task_finish_event_id=4,
            request_id=str(uuid.uuid4()),
        )
    )
    await r.client.get_workflow_handle(name).result()
    await r.keep("reset", r.client.get_workflow_handle(name))


async def stuck(r: Recorder) -> None:
    handle = await r.client.start_workflow(Stuck.run, id=r.id("stuck"), task_queue=r.queue)
    try:
        await handle.result()
    except WorkflowFailureError as failed:
        print("failed, as it should:", failed.cause)
    await r.keep("retries-unseen", handle)


SCENARIOS: dict[str, Callable[[Recorder], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        everything,
        signal_with_start,
        delayed,
        parent,
        update,
        continue_as_new,
        retried,
        cron,
        scheduled,
        reset,
        stuck,
    )
}


async def main(address: str, wanted: list[str]) -> None:
    client = await Client.connect(address)
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace="default")
    )
    if KEYWORD.name not in known.custom_attributes:
        kind = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace="default", search_attributes={KEYWORD.name: kind})
        )
    recorder = Recorder(client)
    async with Worker(
        client,
        task_queue=recorder.queue,
        workflows=WORKFLOWS,
        activities=[flaky, local],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        for name in wanted or SCENARIOS:
            await asyncio.wait_for(SCENARIOS[name](recorder), 60)
            print("recorded", name)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
