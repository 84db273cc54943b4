"""A pause outlives the process, and an operator can switch pauses off."""

from __future__ import annotations

import pytest
from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
)

from cloud.engine.runtime.dynamic_config import WORKFLOW_PAUSE, DynamicConfig
from cloud.engine.store.database import Database
from cloud.rpc import Unimplemented
from tests.engine.runtime.harness import NAMESPACE, Engine, engine

PAUSED = 8


async def pause(found: Engine) -> None:
    await found.call(
        "PauseWorkflowExecution", PauseWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id="wf")
    )


async def test_a_pause_outlives_the_process(database: Database) -> None:
    async with engine(database) as found:
        await found.start("wf")
        await pause(found)
    off = DynamicConfig({WORKFLOW_PAUSE: False})
    async with engine(database, dynamic_config=off) as found:
        assert await found.status("wf") == PAUSED
        with pytest.raises(Unimplemented, match=r"^workflow pause is not enabled for namespace: ns$"):
            await pause(found)
        await found.call(
            "UnpauseWorkflowExecution", UnpauseWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id="wf")
        )
        task = await found.poll()
        await found.complete(task)
        assert await found.status("wf") == 1
