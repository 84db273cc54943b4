"""An update is in no store until a worker accepted it: what its caller is told when memory is lost meanwhile."""

from __future__ import annotations

import asyncio
import contextlib

from google.protobuf.any_pb2 import Any as AnyMessage
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Acceptance, Input, Meta, Request, Response, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueResponse,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from cloud.engine.store.database import Database
from cloud.rpc import Unavailable
from tests.engine.runtime.harness import NAMESPACE, Engine, FaultyDatabase, engine
from tests.scenarios import commands as c

COMPLETED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


def update(found: Engine, update_id: str) -> asyncio.Task[UpdateWorkflowExecutionResponse]:
    return asyncio.create_task(
        found.call(
            "UpdateWorkflowExecution",
            UpdateWorkflowExecutionRequest(
                namespace=NAMESPACE,
                workflow_execution=WorkflowExecution(workflow_id="wf"),
                request=Request(meta=Meta(update_id=update_id), input=Input(name="change")),
                wait_policy=WaitPolicy(lifecycle_stage=COMPLETED),
            ),
            timeout_s=15,
        )
    )


def done(task: PollWorkflowTaskQueueResponse) -> list[Message]:
    """Accepts and completes what the task brought."""
    messages = []
    for brought in task.messages:
        update_id = brought.protocol_instance_id
        response = Response(meta=Meta(update_id=update_id))
        response.outcome.success.CopyFrom(c.payloads("done"))
        for kind, body in (
            (
                "accept",
                Acceptance(
                    accepted_request_message_id=brought.id,
                    accepted_request_sequencing_event_id=brought.event_id,
                ),
            ),
            ("complete", response),
        ):
            packed = AnyMessage()
            packed.Pack(body)  # type: ignore[arg-type]
            messages.append(Message(id=f"{update_id}/{kind}", protocol_instance_id=update_id, body=packed))
    return messages


async def begun(found: Engine) -> None:
    await found.start("wf")
    await found.complete(await found.poll(), c.timer("t", 600))


async def test_an_update_survives_that_its_run_leaves_memory(database: Database) -> None:
    async with engine(database) as found:
        await begun(found)
        waiting = update(found, "u")
        lost = await found.poll()
        assert lost.messages
        found.runtime._forget_all()
        task = await found.poll()
        assert [message.protocol_instance_id for message in task.messages] == ["u"]
        await found.complete(task, messages=done(task))
        assert (await waiting).outcome.success.payloads[0].data == b'"done"'


async def test_a_failed_flush_of_its_task_does_not_lose_it(database: Database) -> None:
    faulty = FaultyDatabase(database)
    async with engine(faulty) as found:
        await begun(found)
        faulty.fail_next = 1
        waiting = update(found, "u")
        with contextlib.suppress(Unavailable):  # the fault may hit this poll: its worker polls again
            await found.poll(timeout_s=3)
        task = await found.poll()
        await found.complete(task, messages=done(task))
        assert (await waiting).stage == COMPLETED


async def test_a_task_that_only_brought_updates_does_not_outlive_the_process(database: Database) -> None:
    async with engine(database) as found:
        await begun(found)
        waiting = update(found, "u")
        held = await found.poll()
        await found.runtime.durable(
            await found.runtime.find(found.runtime.namespaces.by_name(NAMESPACE), "wf")
        )
        waiting.cancel()
    async with engine(database) as again:
        await again.signal("wf", "after")
        task = await again.poll()
        assert not task.messages
        assert task.task_token != held.task_token
        await again.complete(task, c.complete())
        assert await again.status("wf") == 2


async def test_an_accepted_update_is_waited_for_across_a_restart(database: Database) -> None:
    async with engine(database) as found:
        await begun(found)
        waiting = update(found, "u")
        task = await found.poll()
        await found.complete(task, messages=done(task)[:1])
        waiting.cancel()
    async with engine(database) as again:
        waiting = update(again, "u")
        await again.signal("wf", "go on")
        task = await again.poll()
        assert not task.messages
        response = Response(meta=Meta(update_id="u"))
        response.outcome.success.CopyFrom(c.payloads("late"))
        message = Message(id="u/complete", protocol_instance_id="u")
        message.body.Pack(response)
        await again.complete(task, messages=[message])
        assert (await waiting).outcome.success.payloads[0].data == b'"late"'


async def test_an_accepted_update_that_nobody_waits_for_keeps_no_run_in_memory(database: Database) -> None:
    async with engine(database) as found:
        await begun(found)
        waiting = update(found, "u")
        task = await found.poll()
        hot = await found.runtime.find(found.runtime.namespaces.by_name(NAMESPACE), "wf")
        assert hot.busy, "a worker has it, and no history"
        await found.complete(task, messages=done(task)[:1])
        assert hot.busy, "its caller waits"
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert len(hot.updates) == 1
        assert not hot.busy
        found.runtime.runs.remove(hot)
        again = update(found, "u")
        await asyncio.sleep(0.1)
        await found.signal("wf", "go on")
        task = await found.poll()
        completed = Response(meta=Meta(update_id="u"))
        completed.outcome.success.CopyFrom(c.payloads("done"))
        packed = AnyMessage()
        packed.Pack(completed)
        await found.complete(task, messages=[Message(id="m", protocol_instance_id="u", body=packed)])
        assert (await again).outcome.success.payloads[0].data == b'"done"'


async def test_updates_count_in_what_a_run_weighs(database: Database) -> None:
    async with engine(database) as found:
        await begun(found)
        hot = await found.runtime.find(found.runtime.namespaces.by_name(NAMESPACE), "wf")
        before = hot.weight
        waiting = update(found, "u" * 900)
        task = await found.poll()
        assert hot.weight == hot.weigh() > before + 900
        await found.complete(task, messages=done(task))
        await waiting
        assert hot.weight == hot.weigh()
        assert not hot.updates.size()
