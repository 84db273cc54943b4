"""Workflow rules: what may be one, and which activities they pause.

The real server needs `--dynamic-config-value frontend.workflowRulesAPIsEnabled=true`, and takes up to ten seconds to heed a change.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.rules.v1 import WorkflowRule, WorkflowRuleAction, WorkflowRuleSpec
from temporalio.service import RPCError

from . import commands as c
from .conftest import Server
from .raw import Scenario
from .snapshots import expect

PAUSE = WorkflowRuleAction(activity_pause=WorkflowRuleAction.ActionActivityPause())
HEEDED_SECONDS = 12.0


# A namespace's rules are of all its workflows: other scenarios have no activities of this type.
def spec(rule_id: str, predicate: str = "ActivityType = 'ruled'", **fields: Any) -> WorkflowRuleSpec:
    usual: dict[str, Any] = {
        "id": rule_id,
        "activity_start": WorkflowRuleSpec.ActivityStartingTrigger(predicate=predicate),
        "actions": [PAUSE],
    }
    return WorkflowRuleSpec(**(usual | fields))


async def create(s: Scenario, rule: WorkflowRuleSpec | None, **fields: Any) -> ws.CreateWorkflowRuleResponse:
    usual = {"namespace": s.namespace, "spec": rule, "identity": "me", "description": "why"}
    return await s.service.create_workflow_rule(ws.CreateWorkflowRuleRequest(**(usual | fields)))  # type: ignore[arg-type]


async def delete(s: Scenario, rule_id: str) -> None:
    await s.service.delete_workflow_rule(ws.DeleteWorkflowRuleRequest(namespace=s.namespace, rule_id=rule_id))


async def rules(s: Scenario) -> list[WorkflowRule]:
    reply = await s.service.list_workflow_rules(ws.ListWorkflowRulesRequest(namespace=s.namespace))
    return sorted(reply.rules, key=lambda rule: rule.spec.id)


@pytest.fixture(autouse=True)
async def no_rules(s: Scenario) -> AsyncIterator[None]:
    for _ in range(2):
        for rule in await rules(s):
            await delete(s, rule.spec.id)
        if _ == 0:
            yield


async def heeded(server: Server) -> None:
    if server.real:
        await asyncio.sleep(HEEDED_SECONDS)


async def state(s: Scenario) -> str:
    """The pending activities."""
    lines = []
    for each in (await s.describe()).pending_activities:
        by = each.pause_info.rule
        lines.append(
            f"{each.activity_id} attempt {each.attempt} paused {each.paused} by {by.rule_id} {by.identity} {by.reason}"
        )
    return s.names.clean("\n".join(sorted(lines)))


async def none_comes(s: Scenario, queue: str = "") -> bool:
    try:
        await s.poll_activity(queue, timeout=2.5)
    except (RPCError, AssertionError):
        return True
    return False


async def test_kept(s: Scenario) -> None:
    s.expect_message(
        await create(s, spec(s.id("r1"))),
        """
            rule.create_time=<time> rule.spec.id=r1 rule.spec.activity_start.predicate="ActivityType = 'ruled'"
                  rule.spec.actions=[{activity_pause={}}] rule.created_by_identity=me rule.description=why
        """,
    )
    await create(s, spec(s.id("r2"), visibility_query="WorkflowType = 'demo'"))
    expect(
        s.names.clean(", ".join(rule.spec.id for rule in await rules(s))),
        """
        r1, r2
    """,
    )
    described = await s.service.describe_workflow_rule(
        ws.DescribeWorkflowRuleRequest(namespace=s.namespace, rule_id=s.id("r2"))
    )
    s.expect_message(
        described,
        """
            rule.create_time=<time> rule.spec.id=r2 rule.spec.activity_start.predicate="ActivityType = 'ruled'"
                  rule.spec.visibility_query="WorkflowType = 'demo'" rule.spec.actions=[{activity_pause={}}]
                  rule.created_by_identity=me rule.description=why
        """,
    )
    await delete(s, s.id("r1"))
    expect(
        s.names.clean(", ".join(rule.spec.id for rule in await rules(s))),
        """
        r2
    """,
    )


async def test_refusals(s: Scenario) -> None:
    await create(s, spec(s.id("r1")))
    await s.expect_refusal(
        create(s, spec(s.id("r1"))),
        """
        INVALID_ARGUMENT: Workflow Rule with this ID already exists.
    """,
    )
    await s.expect_refusal(
        create(s, None),
        """
        INVALID_ARGUMENT: Rule Specification is not set.
    """,
    )
    await s.expect_refusal(
        create(s, spec("")),
        """
        INVALID_ARGUMENT: Workflow Rule ID is not set.
    """,
    )
    await s.expect_refusal(
        create(s, spec("x" * 1001)),
        """
        INVALID_ARGUMENT: Workflow Rule Id length exceeds limit.
    """,
    )
    await s.expect_refusal(
        create(s, spec("r"), namespace=""),
        """
        INVALID_ARGUMENT: Namespace is empty.
    """,
    )
    await s.expect_refusal(
        create(s, spec("r"), namespace="nowhere"),
        """
        NOT_FOUND: Namespace nowhere is not found.
          NamespaceNotFoundFailure namespace=nowhere
    """,
    )
    describe = s.service.describe_workflow_rule
    await s.expect_refusal(
        describe(ws.DescribeWorkflowRuleRequest(namespace=s.namespace, rule_id="absent")),
        """
            INVALID_ARGUMENT: Workflow Rule with this ID not Found.
        """,
    )
    await s.expect_refusal(
        describe(ws.DescribeWorkflowRuleRequest(namespace=s.namespace)),
        """
        INVALID_ARGUMENT: Workflow Rule ID is not set.
    """,
    )
    await s.expect_refusal(
        delete(s, "absent"),
        """
        INVALID_ARGUMENT: Workflow Rule with this ID not Found.
    """,
    )
    await s.expect_refusal(
        delete(s, ""),
        """
        INVALID_ARGUMENT: Workflow Rule ID is not set.
    """,
    )
    await s.expect_refusal(
        s.service.trigger_workflow_rule(ws.TriggerWorkflowRuleRequest(namespace=s.namespace)),
        """
            UNIMPLEMENTED: method TriggerWorkflowRule not supported
        """,
    )


async def test_as_many_as_may_be(s: Scenario) -> None:
    for number in range(9):
        await create(s, spec(s.id(f"r{number}")))
    past = Timestamp()
    past.FromSeconds(int(time.time()) - 10)
    await create(s, spec(s.id("past"), expiration_time=past))
    await create(s, spec(s.id("in its place")))
    await s.expect_refusal(
        create(s, spec(s.id("one more"))),
        """
        INVALID_ARGUMENT: Workflow Rule limit exceeded. Max: 10
    """,
    )
    assert len(await rules(s)) == 10


async def test_activity_that_is_about_to_start(s: Scenario, server: Server) -> None:
    await create(s, spec(s.id("r1")))
    await heeded(server)
    await s.start()
    await s.step(
        c.activity("a", s.tq, activity_type="ruled"),
        c.activity("b", s.tq, activity_type="other", start_to_close_timeout=100),
    )
    assert (await s.poll_activity()).activity_id == "b"
    assert await none_comes(s)
    expect(
        await state(s),
        """
        a attempt 1 paused True by r1 me why
        b attempt 1 paused False by
    """,
    )
    await s.service.unpause_activity(
        ws.UnpauseActivityRequest(namespace=s.namespace, execution=s.execution(), id="a")
    )
    assert await none_comes(s)
    await delete(s, s.id("r1"))
    await heeded(server)
    await s.service.unpause_activity(
        ws.UnpauseActivityRequest(namespace=s.namespace, execution=s.execution(), id="a")
    )
    task = await s.poll_activity()
    expect(
        f"{task.activity_id} attempt {task.attempt}",
        """
            a attempt 1
        """,
    )


async def test_activity_that_is_to_be_tried_again(s: Scenario, server: Server) -> None:
    await s.start()
    await s.step(
        c.activity(
            "a", s.tq, activity_type="ruled", start_to_close_timeout=60, retry_policy=c.retry(initial=1)
        ),
        c.activity(
            "b", s.id("bq"), activity_type="ruled", start_to_close_timeout=60, retry_policy=c.retry(initial=1)
        ),
    )
    first, second = await s.poll_activity(), await s.poll_activity(s.id("bq"))
    await create(s, spec(s.id("r1"), "ActivityType = 'ruled' AND ActivityId STARTS_WITH 'a'"))
    await heeded(server)
    await s.fail_activity(first)
    await s.fail_activity(second)
    assert (await s.poll_activity(s.id("bq"))).attempt == 2
    assert await none_comes(s)
    expect(
        await state(s),
        """
        a attempt 2 paused True by r1 me why
        b attempt 2 paused False by
    """,
    )


async def test_rules_that_do_not_hold(s: Scenario, server: Server) -> None:
    past = Timestamp()
    past.FromSeconds(int(time.time()) - 10)
    await create(s, spec(s.id("expired"), expiration_time=past))
    await create(s, spec(s.id("without action"), actions=[]))
    await create(s, spec(s.id("without trigger"), activity_start=None))
    await create(s, spec(s.id("of others"), visibility_query="WorkflowType = 'another'"))
    await create(s, spec(s.id("of later attempts"), "Attempts > 1"))
    await heeded(server)
    await s.start()
    await s.step(c.activity("a", s.tq, activity_type="ruled"))
    assert (await s.poll_activity()).activity_id == "a"


async def test_rule_for_some_workflows(s: Scenario, server: Server) -> None:
    query = f"WorkflowId = '{s.wf}' AND StartTime > '2020-01-01T00:00:00Z'"
    await create(s, spec(s.id("r1"), f"TaskQueue = '{s.tq}'", visibility_query=query))
    await heeded(server)
    await s.start()
    await s.step(c.activity("a", s.tq, activity_type="ruled"))
    assert await none_comes(s)
    expect(
        await state(s),
        """
        a attempt 1 paused True by r1 me why
    """,
    )


async def test_eager_activities_pass(s: Scenario, server: Server) -> None:
    await create(s, spec(s.id("r1")))
    await heeded(server)
    await s.start()
    answer = await s.complete(
        await s.poll(), c.activity("a", s.tq, activity_type="ruled", request_eager_execution=True)
    )
    assert len(answer.activity_tasks) == 1
