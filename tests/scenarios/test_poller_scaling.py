"""What a worker is told of the number of its polls, and that the SDK's autoscaling pollers work with it."""

import asyncio
from datetime import timedelta

import temporalio.api.enums.v1 as enums
import temporalio.api.workflowservice.v1 as ws
from temporalio import activity, workflow
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.worker import PollerBehaviorAutoscaling

from . import commands as c
from .raw import Scenario
from .workers import sdk_worker


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=timedelta(seconds=30))


async def test_a_poll_that_waited_long_was_not_needed(s: Scenario) -> None:
    polling = asyncio.create_task(s.poll())
    await asyncio.sleep(1.5)
    await s.start()
    assert (await polling).poller_scaling_decision.poll_request_delta_suggestion == -1


async def test_waiting_tasks_want_more_polls(s: Scenario) -> None:
    await s.start()
    await s.step(*(c.activity(f"a{number}", s.tq) for number in range(5)))
    await asyncio.sleep(1.5)
    first = await s.poll_activity()
    assert first.poller_scaling_decision.poll_request_delta_suggestion == 1


async def test_what_moves_is_counted(s: Scenario) -> None:
    for number in range(4):
        await s.start(workflow_id=s.id(str(number)))
    for _ in range(3):
        await s.poll()
    for _ in range(100):
        reply = await s.service.describe_task_queue(
            ws.DescribeTaskQueueRequest(
                namespace=s.namespace,
                task_queue=TaskQueue(name=s.tq),
                task_queue_type=enums.TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
                report_stats=True,
            )
        )
        if reply.stats.tasks_add_rate and reply.stats.tasks_dispatch_rate:
            break
        await asyncio.sleep(0.1)
    assert min(reply.stats.tasks_add_rate, reply.stats.tasks_dispatch_rate) > 0
    assert set(reply.stats_by_priority_key) == {3}
    assert not reply.stats.rate_limiting_active


async def test_autoscaling_pollers(s: Scenario) -> None:
    async with sdk_worker(
        s,
        workflows=[Greeting],
        activities=[greet],
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(minimum=1, initial=2, maximum=10),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(minimum=1, initial=2, maximum=10),
    ):
        answers = await asyncio.wait_for(
            asyncio.gather(
                *(
                    s.client.execute_workflow(
                        Greeting.run,
                        f"n{number}",
                        id=s.id(f"wf{number}"),
                        task_queue=s.tq,
                        execution_timeout=timedelta(seconds=60),
                    )
                    for number in range(50)
                )
            ),
            90,
        )
    assert len(answers) == 50
