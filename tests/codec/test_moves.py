"""Payloads that are bound to workflows go along every way that Temporal has, and along no other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes

from codec import MovedPayload
from codec.encryption.moves import MOVES, Move
from tests.codec.moves_app import Echo, Service
from tests.codec.moves_driver import (
    QUEUE,
    Recorder,
    activity_context,
    by_hand,
    codec,
    connected,
    everything,
    mover_context,
    readable,
    worker,
)
from tests.processes import tacit_dev

# Whose payloads the rows are about, where that is not the workflow "mover".
IDS = {
    "child": ("child", "child-input", "child-result", "child-memo", "child-signal", "child-summary"),
    "failing-child": ("child-failure", "external-signal"),
    "continued": ("continued-input", "continued-memo"),
    "cron": ("cron-result",),
    "retried": ("retry-input", "retry-failure"),
    "reset": ("reset-input", "reset-activity-result"),
    "scheduled": ("schedule-input", "schedule-memo", "schedule-summary", "schedule-result"),
    "signalled": ("signal-with-start-input", "signal-with-start-signal"),
    "updated": ("update-with-start-input", "update-with-start-update"),
    "failing": ("workflow-failure",),
    "nexus-handler": ("nexus-async-result",),
    "started-by-signal": ("workflow-signal-with-start-input", "workflow-signal-with-start-signal"),
    "by-hand": ("typed-by-hand",),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = tacit_dev(tmp_path_factory.mktemp("moves"))
    server.start()
    yield server.address
    server.stop()


@pytest.fixture(scope="module", params=[100, 0], ids=["cached", "replayed"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """What was written and read when a payload went every way; workers without a cache read all of it again and again."""
    recording = codec()

    async def go(address: str) -> None:
        client = await connected(address, recording)
        async with worker(client, cached=request.param):
            async with asyncio.timeout(120):
                await everything(client)
                await by_hand(recording, client)
                recording.recorder.readable = await readable(client)

    server = tacit_dev(tmp_path_factory.mktemp("moves"))
    server.start()
    try:
        asyncio.run(go(server.address))
    finally:
        server.stop()
    return recording.recorder


def filled(template: str, row: Move) -> str:
    of = next((name for name, rows in IDS.items() if row.name in rows), "mover")
    operation = "by_workflow" if row.name == "nexus-async-result" else "at_once"
    return template.format(
        id=of, parent="mover", activity="alone", operation=f"{Service.__name__}/{operation}"
    )


@pytest.mark.parametrize("row", [row for row in MOVES if row.run], ids=lambda row: row.name)
def test_way(seen: Recorder, row: Move) -> None:
    assert seen.written.get(row.name) == {filled(row.writer, row)}
    assert seen.read.get(row.name) == {filled(row.reader, row)}


def test_the_service_has_read_nothing(seen: Recorder) -> None:
    assert seen.readable == set()


async def test_no_way_leads_into_another_workflow(seen: Recorder) -> None:
    """What the table calls protected does not decrypt in the place of another workflow's payload."""
    protected = [row for row in MOVES if row.protected and row.run]
    assert len(protected) > 40
    for row in protected:
        sealed = seen.sealed[row.name]
        for elsewhere in (
            mover_context("another"),
            activity_context("alone").__class__(
                **{**vars(activity_context("x")), "workflow_id": None, "activity_id": "other"}
            ),
        ):
            with pytest.raises(MovedPayload):
                await codec().with_context(elsewhere).decode([sealed])
        await codec().decode([sealed])


def test_every_way_that_is_not_protected_says_why() -> None:
    assert all(row.protected or row.note for row in MOVES)
    assert len({row.name for row in MOVES}) == len(MOVES)


async def failed_tasks(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """The messages of a workflow's failed tasks."""
    client = DataConverter(
        payload_codec=codec().with_context(mover_context(handle.id)),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
    return [
        str(await client.decode_failure(event.workflow_task_failed_event_attributes.failure))
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ]


async def test_a_service_that_exchanges_payloads_fails_the_task_and_not_the_workflow(address: str) -> None:
    """The signal of one workflow is sent to another, as a hostile service could; mended, the other one goes on."""
    recording = codec()
    client = await connected(address, recording)
    async with worker(client, cached=100):
        first = await client.start_workflow(Echo.run, "wait", id="first", task_queue=QUEUE)
        second = await client.start_workflow(Echo.run, "wait", id="second", task_queue=QUEUE)
        await first.signal(Echo.tell, "<signal-input>")
        await first.result()
        request = SignalWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id="second"),
            signal_name="tell",
            input=Payloads(payloads=[recording.recorder.sealed["signal-input"]]),
        )
        await client.workflow_service.signal_workflow_execution(request)
        async with asyncio.timeout(30):
            while not (causes := await failed_tasks(second)):
                await asyncio.sleep(0.1)
        assert "second" in causes[0]
        assert (await second.describe()).status == WorkflowExecutionStatus.RUNNING
