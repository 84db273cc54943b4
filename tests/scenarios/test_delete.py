import asyncio
import uuid

import pytest
from temporalio.service import RPCError, RPCStatusCode

from . import commands as c
from .raw import Scenario


async def _gone(s: Scenario, run_id: str) -> None:
    for _ in range(240):
        try:
            await s.describe(run_id=run_id)
        except RPCError as caught:
            if caught.status == RPCStatusCode.NOT_FOUND:
                return
            raise
        await asyncio.sleep(0.25)
    raise AssertionError("the run was not deleted")


@pytest.mark.slow
async def test_closed_run(s: Scenario) -> None:
    run = await s.start()
    await s.step(c.complete())
    await s.delete(run_id=run.run_id)
    await _gone(s, run.run_id)
    await s.expect_refusal(
        s.history(run_id=run.run_id),
        """
            NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.describe(),
        """
            NOT_FOUND: workflow not found for ID: wf
              NotFoundFailure
        """,
    )


@pytest.mark.slow
async def test_running_run(s: Scenario) -> None:
    run = await s.start()
    task = await s.poll()
    await s.delete()
    await _gone(s, run.run_id)
    await s.expect_refusal(
        s.complete(task, c.complete()),
        """
            NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
              NotFoundFailure
        """,
    )
    assert (await s.start()).run_id != run.run_id


async def test_refusals(s: Scenario) -> None:
    await s.expect_refusal(
        s.delete(s.id("missing")),
        """
            NOT_FOUND: workflow not found for ID: missing
              NotFoundFailure
        """,
    )
    await s.start()
    await s.expect_refusal(
        s.delete(run_id=str(uuid.uuid4())),
        """
            NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.delete(run_id="no uuid"),
        """
            INVALID_ARGUMENT: Invalid RunId.
        """,
    )
