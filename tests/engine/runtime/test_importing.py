"""An imported run is stored whole or not at all, survives a restart, and goes on."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import RetryPolicy, WorkflowExecution
from temporalio.api.enums.v1 import CommandType, EventType, WorkflowExecutionStatus
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    PollActivityTaskQueueRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
)

from cloud.engine.api.history_imports import (
    IMPORT_HISTORY,
    RUN_BYTES_MAX,
    UPLOADS_MAX,
    ExportedRun,
    HistoryImports,
    decode_run,
    encode_run,
)
from cloud.engine.core import importing
from cloud.engine.core.state import RunKey
from cloud.engine.runtime import commits
from cloud.engine.runtime.importing import Importing
from cloud.engine.store.database import Database, open_database
from cloud.rpc import AlreadyExists, FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from tests.engine.runtime.harness import CONTEXT, NAMESPACE, Engine, FaultyDatabase, engine

COMPLETED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING


def schedule_activity() -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
    wanted = command.schedule_activity_task_command_attributes
    wanted.activity_id = "act"
    wanted.activity_type.name = "act"
    wanted.task_queue.name = "tq"
    wanted.start_to_close_timeout.seconds = 30
    wanted.retry_policy.CopyFrom(RetryPolicy(initial_interval=Duration(nanos=1_000_000)))
    return command


def start_timer(seconds: int) -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_START_TIMER)
    command.start_timer_command_attributes.timer_id = f"t{seconds}"
    command.start_timer_command_attributes.start_to_fire_timeout.seconds = seconds
    return command


COMPLETE = Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
COMPLETE.complete_workflow_execution_command_attributes.SetInParent()


async def export(found: Engine, workflow_id: str, run_id: str = "") -> ExportedRun:
    execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
    described = await found.call(
        "DescribeWorkflowExecution",
        DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=execution),
    )
    history = await found.call(
        "GetWorkflowExecutionHistory",
        GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE, execution=execution),
    )
    return ExportedRun(described.workflow_execution_info.execution, list(history.history.events), described)


def request(data: bytes, *, upload: str = "u", more: bool = False, namespace: str = NAMESPACE) -> Struct:
    found = Struct()
    found.update(
        {"namespace": namespace, "upload": upload, "part": base64.b64encode(data).decode(), "more": more}
    )
    return found


async def take(found: Engine, run: ExportedRun) -> Struct:
    reply: Struct = await found._service.call(IMPORT_HISTORY, request(encode_run(run)), CONTEXT)  # type: ignore[assignment]
    return reply


async def poll_activity(found: Engine) -> Any:
    return await found.call(
        "PollActivityTaskQueue",
        PollActivityTaskQueueRequest(namespace=NAMESPACE, task_queue=TaskQueue(name="tq")),
        10,
    )


async def half_way(found: Engine) -> ExportedRun:
    """A run with a timer, a signal that it has seen, and an activity that has failed once."""
    await found.start("wf")
    task = await found.poll()
    await found.complete(task, start_timer(3600), schedule_activity())
    attempt = await poll_activity(found)
    failure = Failure(message="first")
    failure.application_failure_info.type = "NotYet"
    await found.call(
        "RespondActivityTaskFailed",
        RespondActivityTaskFailedRequest(namespace=NAMESPACE, task_token=attempt.task_token, failure=failure),
    )
    await found.signal("wf")
    await found.complete(await found.poll())
    return await export(found, "wf")


def without_stamps(run: DescribeWorkflowExecutionResponse) -> DescribeWorkflowExecutionResponse:
    found = DescribeWorkflowExecutionResponse()
    found.CopyFrom(run)
    for pending in found.pending_activities:
        # Whether its backoff is over depends on when it is looked at.
        for name in ("next_attempt_schedule_time", "current_retry_interval", "scheduled_time"):
            pending.ClearField(name)  # type: ignore[arg-type]
    return found


async def test_a_run_goes_on_where_it_was(database: Database) -> None:
    other = open_database(":memory:")
    async with engine(other) as source:
        run = await half_way(source)
    await other.close()
    async with engine(database) as target:
        reply = await take(target, run)
        assert reply["run_id"] == run.execution.run_id
        assert reply["open"] is True
        there = await export(target, "wf")
        assert without_stamps(there.description) == without_stamps(run.description)  # type: ignore[arg-type]
        assert there.events == run.events
    async with engine(database) as again:  # a restart changes nothing
        there = await export(again, "wf")
        assert without_stamps(there.description) == without_stamps(run.description)  # type: ignore[arg-type]
        assert there.events == run.events
        attempt = await poll_activity(again)
        assert attempt.attempt == 2
        await again.call(
            "RespondActivityTaskCompleted",
            RespondActivityTaskCompletedRequest(namespace=NAMESPACE, task_token=attempt.task_token),
        )
        task = await again.poll()
        assert [event.event_id for event in task.history.events] == list(
            range(1, len(task.history.events) + 1)
        )
        await again.complete(task, COMPLETE)
        assert await again.status("wf") == COMPLETED


async def test_a_waiting_task_is_offered_to_a_worker_who_waits(database: Database) -> None:
    other = open_database(":memory:")
    async with engine(other) as source:
        await source.start("wf")
        run = await export(source, "wf")
    await other.close()
    async with engine(database) as target:
        polling = asyncio.create_task(target.poll())
        await asyncio.sleep(0.05)
        await take(target, run)
        task = await polling
        await target.complete(task, COMPLETE)
        assert await target.status("wf") == COMPLETED


async def test_all_of_it_is_one_transaction(database: Database) -> None:
    other = open_database(":memory:")
    async with engine(other) as source:
        run = await half_way(source)
    await other.close()
    faulty = FaultyDatabase(database)
    async with engine(faulty) as target:
        faulty.fail_next = 1
        with pytest.raises(Unavailable):
            await take(target, run)
        assert not (await target.poll(timeout_s=3)).task_token
        await take(target, run)  # nothing of the first is in the way
        assert await target.status("wf") == RUNNING


async def test_what_is_here_already_is_not_taken_again(database: Database) -> None:
    async with engine(database) as found:
        run = await half_way(found)
        with pytest.raises(AlreadyExists, match="is here already"):
            await take(found, run)
        other = ExportedRun(
            WorkflowExecution(workflow_id="wf", run_id="01a21571-7cfe-7e96-8031-60a9061278ef"),
            run.events,
            _of(run, "01a21571-7cfe-7e96-8031-60a9061278ef"),
        )
        with pytest.raises(AlreadyExists, match="is running here"):
            await take(found, other)


def _of(run: ExportedRun, run_id: str) -> DescribeWorkflowExecutionResponse:
    found = DescribeWorkflowExecutionResponse()
    assert run.description is not None
    found.CopyFrom(run.description)
    found.workflow_execution_info.execution.run_id = run_id
    return found


async def test_closed_runs_keep_their_place_behind_newer_ones(database: Database) -> None:
    other = open_database(":memory:")
    runs = []
    async with engine(other) as source:
        for _ in range(2):
            await source.start("wf")
            await source.terminate("wf")
            runs.append(await export(source, "wf"))
    await other.close()
    async with engine(database) as target:
        await take(target, runs[1])
        await take(target, replace(runs[0], description=None))  # closed: its history is enough
        assert (await export(target, "wf")).execution == runs[1].execution
        assert (await export(target, "wf", runs[0].execution.run_id)).events == runs[0].events
        await target.start("wf")  # and the id is free


async def test_a_long_history_is_several_rows(database: Database) -> None:
    other = open_database(":memory:")
    count = 3 * commits.HISTORY_ROW_EVENTS_MAX
    async with engine(other) as source:
        await source.start("wf")
        await source.complete(await source.poll())
        for number in range(count):
            await source.signal("wf", f"s{number}")
        key = RunKey("ns-id", "wf", (await export(source, "wf")).execution.run_id)
        events: list[HistoryEvent] = []
        token = b""
        while token or not events:
            page = GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE, next_page_token=token)
            page.execution.workflow_id = "wf"
            reply = await source.call("GetWorkflowExecutionHistory", page)
            events.extend(reply.history.events)
            token = reply.next_page_token
        described = (await export(source, "wf")).description
    await other.close()
    async with engine(database) as target:
        namespace = target.runtime.namespaces.by_name(NAMESPACE)
        found = importing.read(key, events, described, target.runtime.limits)
        await Importing(target.runtime).store(namespace, found)
    async with engine(database) as again:
        hot = await again.runtime.runs.get(key.run_id)
        assert hot.execution == found.execution
        assert (await export(again, "wf")).events == events[:1000]


async def test_uploads_are_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engine(database) as found:
        run = await half_way(found)
        imports, now = HistoryImports(found.runtime, lambda: now), 0.0
        data = encode_run(run)
        assert decode_run(data).events == run.events
        for number in range(UPLOADS_MAX):
            await imports.import_history(request(data[:10], upload=f"u{number}", more=True), CONTEXT)
        with pytest.raises(ResourceExhausted, match="under way"):
            await imports.import_history(request(data[:10], upload="one more", more=True), CONTEXT)
        now = 1000.0  # the others were left behind
        with pytest.raises(InvalidArgument, match="no exported run"):
            await imports.import_history(request(b"\xff\xff"), CONTEXT)
        wrong = request(b"")
        wrong.update({"part": "!"})
        with pytest.raises(InvalidArgument, match="base64"):
            await imports.import_history(wrong, CONTEXT)
        monkeypatch.setattr("cloud.engine.api.history_imports.RUN_BYTES_MAX", 100)
        with pytest.raises(ResourceExhausted, match="larger"):
            await imports.import_history(request(data), CONTEXT)
        assert len(data) < RUN_BYTES_MAX
        # Nothing is left of an upload that was refused: it can be begun anew.
        monkeypatch.undo()
        for start in range(0, len(data), 100):
            more = start + 100 < len(data)
            part = request(data[start : start + 100], more=more)
            if more:
                await imports.import_history(part, CONTEXT)
            else:
                with pytest.raises(AlreadyExists):
                    await imports.import_history(part, CONTEXT)


async def test_a_run_that_is_not_settled_is_refused_in_words(database: Database) -> None:
    async with engine(database) as found:
        await found.start("wf")
        await found.poll()
        run = await export(found, "wf")
        with pytest.raises(FailedPrecondition, match="a worker holds the workflow task"):
            await take(found, run)
        run.events[0].event_type = EventType.EVENT_TYPE_TIMER_FIRED
        with pytest.raises(InvalidArgument, match="wf can't be imported"):
            await take(found, run)
