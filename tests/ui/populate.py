"""Things for the pages to show: workflows in several states, a worker, a schedule, a batch operation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.api.batch.v1 import BatchOperationSignal
from temporalio.api.workflowservice.v1 import StartBatchOperationRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.common import RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    import sdk
    from codec import KeyRing, create_key_ring
    from sdk import CodecSettings, write_profile

TASK_QUEUE = "orders-queue"
SEALED_QUEUE = "sealed-queue"
STORED_BYTES = 8_000
CUSTOMER = SearchAttributeKey.for_keyword("Customer")


@activity.defn
async def charge(order: str) -> str:
    """Succeeds, or fails for good, or is tried again and again."""
    if "doomed" in order:
        raise ApplicationError("card declined", type="Declined", non_retryable=True)
    if "stuck" in order:
        raise ApplicationError("the till is closed")
    activity.heartbeat("half")
    return f"receipt for {order}"


@workflow.defn
class Order:
    def __init__(self) -> None:
        self.notes: list[str] = []

    @workflow.run
    async def run(self, order: str) -> str:
        receipt: str = await workflow.execute_activity(
            charge,
            order,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=2)
            ),
        )
        await workflow.sleep(0.05)
        if "open" in order:
            await workflow.execute_child_workflow(
                Shipment.run, order, id=f"{workflow.info().workflow_id}-shipment"
            )
            await workflow.wait_condition(lambda: "done" in self.notes)
        return receipt

    @workflow.signal
    def note(self, text: str = "from a batch operation") -> None:
        self.notes.append(text)

    @workflow.query
    def all_notes(self) -> list[str]:
        return self.notes

    @workflow.update
    async def amend(self, text: str) -> int:
        self.notes.append(text)
        return len(self.notes)


@workflow.defn
class Shipment:
    @workflow.run
    async def run(self, order: str) -> str:
        return f"{order} shipped"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What was made, for the paths of the pages."""

    open_run: str
    done_run: str
    failed_run: str
    stuck_run: str
    sealed_run: str
    stored_run: str
    job: str


@asynccontextmanager
async def populated(address: str, config: Path) -> AsyncIterator[Shown]:
    """Make all that, and keep workers polling."""
    client = await Client.connect(address)
    sealing = await sdk.connect(config_file=config)
    async with (
        Worker(client, task_queue=TASK_QUEUE, workflows=[Order, Shipment], activities=[charge]),
        Worker(sealing, task_queue=SEALED_QUEUE, workflows=[Order, Shipment], activities=[charge]),
    ):
        yield await _made(client, sealing)


def sealing_profile(folder: Path, address: str) -> Path:
    """A profile that encrypts, and puts what is large into a store; returns its file."""
    create_key_ring(folder / "ring.json", KeyRing.create("default"))
    config = folder / "temporal.toml"
    settings = CodecSettings(
        key_ring=folder / "ring.json",
        object_store=(folder / "objects").as_uri(),
        offload_threshold_bytes=STORED_BYTES,
    )
    write_profile(config, "default", address=address, namespace="default", tls=False, codec=settings)
    return config


async def _made(client: Client, sealing: Client) -> Shown:
    sealed = await sealing.start_workflow(
        Order.run,
        "sealed words, open",
        id="order-sealed",
        task_queue=SEALED_QUEUE,
        memo={"note": "made for the pages, and sealed"},
        static_summary="one sealed order",
        static_details="A sealed order that the pages show",
    )
    stored = await sealing.start_workflow(
        Order.run, os.urandom(STORED_BYTES).hex(), id="order-stored", task_queue=SEALED_QUEUE
    )
    await sealed.signal(Order.note, "sealed note")
    await stored.result()
    waiting = await _start(client, "order-open", customer="ada")
    done = await _start(client, "order-done")
    failed = await _start(client, "order-doomed")
    stuck = await _start(client, "order-stuck")
    await done.result()
    with suppress(WorkflowFailureError):
        await failed.result()
    await waiting.signal(Order.note, "from a signal")
    await waiting.execute_update(Order.amend, "from an update")
    await client.create_schedule(
        "nightly-orders",
        Schedule(
            action=ScheduleActionStartWorkflow(
                Order.run, "scheduled", id="order-scheduled", task_queue=TASK_QUEUE
            ),
            spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=12))]),
        ),
        trigger_immediately=True,
    )
    await client.workflow_service.start_batch_operation(
        StartBatchOperationRequest(
            namespace=client.namespace,
            job_id="batch-of-notes",
            visibility_query="WorkflowId = 'order-open'",
            reason="to be shown",
            signal_operation=BatchOperationSignal(signal="note", identity="tests"),
        )
    )
    while not (await stuck.describe()).raw_description.pending_activities:
        await asyncio.sleep(0.05)
    return Shown(
        open_run=_run(waiting),
        done_run=_run(done),
        failed_run=_run(failed),
        stuck_run=_run(stuck),
        sealed_run=_run(sealed),
        stored_run=_run(stored),
        job="batch-of-notes",
    )


def _run(handle: WorkflowHandle[Order, str]) -> str:
    return handle.first_execution_run_id or ""


async def _start(client: Client, order: str, customer: str = "") -> WorkflowHandle[Order, str]:
    attributes = [SearchAttributePair(CUSTOMER, customer)] if customer else []
    return await client.start_workflow(
        Order.run,
        order,
        id=order,
        task_queue=TASK_QUEUE,
        memo={"note": "made for the pages"},
        search_attributes=TypedSearchAttributes(attributes),
        static_summary="one order",
        static_details="An order that the pages show",
    )
