"""What an operator has not switched on is refused as the real server does by default."""

from __future__ import annotations

import pytest
import temporalio.api.workflowservice.v1 as ws
from temporalio.api.common.v1 import TimeSkippingConfig, WorkflowExecution

from cloud.engine.store.database import Database
from cloud.rpc import Unimplemented
from tests.engine.runtime.harness import NAMESPACE, engine


async def test_time_skipping_is_off(database: Database) -> None:
    async with engine(database) as found:
        await found.start("wf")
        request = ws.UpdateWorkflowExecutionOptionsRequest(
            namespace=NAMESPACE, workflow_execution=WorkflowExecution(workflow_id="wf")
        )
        request.workflow_execution_options.time_skipping_config.CopyFrom(TimeSkippingConfig(enabled=True))
        request.update_mask.paths.append("time_skipping_config")
        with pytest.raises(
            Unimplemented, match=r"^The Time-Skipping feature is not enabled for namespace\.$"
        ):
            await found.call("UpdateWorkflowExecutionOptions", request)


async def test_worker_commands_are_off(database: Database) -> None:
    async with engine(database) as found:
        with pytest.raises(Unimplemented, match=r"^UpdateWorkerConfig command is not enabled\.$"):
            await found.call("UpdateWorkerConfig", ws.UpdateWorkerConfigRequest(namespace=NAMESPACE))
