"""Which payloads go to the object store: by size, by the type of workflow or activity, and by a program's own choice."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    StorageDriverActivityInfo,
    StorageDriverSelectContext,
    StorageDriverWorkflowInfo,
)
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import sdk
import sdk.testing
from tests.sdk.offloading import Child, Listener, large

PAYLOAD = Payload(data=b"x" * 1000)


def options(folder: Path, **more: object) -> sdk.DataConverterOptions:
    return sdk.DataConverterOptions(
        namespace="default",
        key_ring=None,
        compression=False,
        object_store=folder.as_uri(),
        offload_threshold_bytes=1000,
        **more,  # type: ignore[arg-type]
    )


def chosen(given: sdk.DataConverterOptions, kind: str | None, payload: Payload = PAYLOAD) -> bool:
    storage = sdk.data_converter(given).external_storage
    assert storage is not None
    if storage.driver_selector is None:
        return True
    targets = {
        None: None,
        "workflow": StorageDriverWorkflowInfo(namespace="default", type="ImportOrders"),
        "activity": StorageDriverActivityInfo(namespace="default", type="resize"),
    }
    driver = storage.driver_selector(StorageDriverSelectContext(targets[kind]), payload)
    assert driver in (None, *storage.drivers)
    return driver is not None


@pytest.mark.parametrize(
    ("types", "workflow", "activity", "nobody"),
    [
        ((), True, True, True),
        (("Import*",), True, False, False),
        (("Import*", "resize"), True, True, False),
        (("import*",), False, False, False),
        (("*",), True, True, True),
    ],
)
def test_by_type(
    tmp_path: Path, types: tuple[str, ...], workflow: bool, activity: bool, nobody: bool
) -> None:
    given = options(tmp_path, offload_types=types)
    assert [chosen(given, kind) for kind in ("workflow", "activity", None)] == [workflow, activity, nobody]


def test_by_a_program_s_own_choice(tmp_path: Path) -> None:
    def small(context: StorageDriverSelectContext, payload: Payload) -> bool:
        return len(payload.data) < 2000

    given = options(tmp_path, offload_types=("Import*",), offload_selector=small)
    assert chosen(given, "workflow")
    assert not chosen(given, "workflow", Payload(data=b"x" * 2000))
    assert not chosen(given, "activity")


async def test_in_a_worker(tmp_path: Path) -> None:
    converter = sdk.data_converter(options(tmp_path, offload_types=("Child",)))
    async with sdk.testing.local(data_converter=converter) as client:
        queue = uuid.uuid4().hex
        runner = UnsandboxedWorkflowRunner()
        async with Worker(client, task_queue=queue, workflows=[Child, Listener], workflow_runner=runner):
            child = await client.start_workflow(
                Child.run, large("input"), id=queue, task_queue=queue, execution_timeout=timedelta(seconds=30)
            )
            assert await child.result() == large("result")
            listener = await client.start_workflow(Listener.run, id=f"{queue}-2", task_queue=queue)
            await listener.signal(Listener.tell, large("signal"))
            assert await listener.result() == large("signal")
    # The child's input and result; nothing of the listener's.
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2
