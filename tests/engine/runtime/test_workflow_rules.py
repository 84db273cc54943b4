"""Workflow rules outlive the process, are a namespace's own, and what can't be read is no rule."""

from __future__ import annotations

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType
from temporalio.api.rules.v1 import WorkflowRuleAction, WorkflowRuleSpec
from temporalio.api.workflowservice.v1 import (
    CreateWorkflowRuleRequest,
    DescribeWorkflowExecutionRequest,
    ListWorkflowRulesRequest,
    PollActivityTaskQueueRequest,
)

from cloud.engine.runtime.dynamic_config import WORKFLOW_RULES, DynamicConfig
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.store.database import Database
from cloud.rpc import InvalidArgument, Unimplemented
from tests.engine.runtime.harness import NAMESPACE, Engine, engine

PAUSE = WorkflowRuleAction(activity_pause=WorkflowRuleAction.ActionActivityPause())


def request(predicate: str, **fields: object) -> CreateWorkflowRuleRequest:
    spec = WorkflowRuleSpec(
        id="r",
        activity_start=WorkflowRuleSpec.ActivityStartingTrigger(predicate=predicate),
        actions=[PAUSE],
        **fields,  # type: ignore[arg-type]
    )
    return CreateWorkflowRuleRequest(namespace=NAMESPACE, spec=spec)


def schedule(activity_id: str) -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
    wanted = command.schedule_activity_task_command_attributes
    wanted.activity_id = activity_id
    wanted.activity_type.name = "act"
    wanted.task_queue.name = "tq"
    wanted.start_to_close_timeout.seconds = 60
    return command


async def activity_comes(found: Engine, timeout_s: float) -> bool:
    poll = PollActivityTaskQueueRequest(namespace=NAMESPACE, identity="test")
    poll.task_queue.name = "tq"
    return bool((await found.call("PollActivityTaskQueue", poll, timeout_s)).task_token)


async def paused(found: Engine) -> list[bool]:
    describe = DescribeWorkflowExecutionRequest(namespace=NAMESPACE)
    describe.execution.workflow_id = "wf"
    reply = await found.call("DescribeWorkflowExecution", describe)
    return [each.paused for each in reply.pending_activities]


async def test_a_rule_outlives_the_process(database: Database) -> None:
    async with engine(database) as found:
        await found.call("CreateWorkflowRule", request("ActivityType = 'act'"))
    off = DynamicConfig({WORKFLOW_RULES: False})
    async with engine(database, dynamic_config=off) as found:
        with pytest.raises(Unimplemented, match=r"^method ListWorkflowRules not supported$"):
            await found.call("ListWorkflowRules", ListWorkflowRulesRequest(namespace=NAMESPACE))
        await found.start("wf")
        await found.complete(await found.poll(), schedule("a"))
        assert not await activity_comes(found, 2.5)
        assert await paused(found) == [True]


async def test_a_rule_is_its_namespace_s_own(database: Database) -> None:
    async with engine(database) as found:
        other = Namespace(namespace_id="other-id", name="other", created_at=1)
        await found.runtime.namespaces.create(other, found.runtime.lease.epoch)
        wanted = request("ActivityType = 'act'")
        wanted.namespace = "other"
        await found.call("CreateWorkflowRule", wanted)
        listed = await found.call("ListWorkflowRules", ListWorkflowRulesRequest(namespace=NAMESPACE))
        assert not listed.rules
        await found.start("wf")
        await found.complete(await found.poll(), schedule("a"))
        assert await activity_comes(found, 5)


@pytest.mark.parametrize(
    ("predicate", "fields"),
    [
        ("", {}),
        ("(((", {}),
        ("Bogus = 1", {}),
        ("Attempts = 'many'", {}),
        ("ActivityType = 'act' ORDER BY ActivityType", {}),
        ("ActivityType = 'act'", {"visibility_query": "CloseTime IS NULL"}),
    ],
)
async def test_predicates_that_can_not_be_read(
    database: Database, predicate: str, fields: dict[str, object]
) -> None:
    async with engine(database) as found:
        with pytest.raises(InvalidArgument, match=r"^Workflow Rule's predicate can't be read: "):
            await found.call("CreateWorkflowRule", request(predicate, **fields))
        too_large = request("ActivityType = 'act'")
        too_large.description = "x" * 65_536
        with pytest.raises(InvalidArgument, match="larger"):
            await found.call("CreateWorkflowRule", too_large)
