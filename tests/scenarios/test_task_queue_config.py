"""What is configured of a task queue: rate limits and weights, how they are told, and that they hold."""

import asyncio
import time

import temporalio.api.enums.v1 as enums
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.wrappers_pb2 import DoubleValue
from temporalio.api.taskqueue.v1 import RateLimit, TaskQueue, TaskQueueMetadata
from temporalio.service import RPCError

from . import commands as c
from .conftest import Server
from .raw import POLL_SECONDS, Scenario
from .snapshots import expect, grouped

KIND = enums.TaskQueueType
Update = ws.UpdateTaskQueueConfigRequest.RateLimitUpdate


def _rate(per_second: float, reason: str = "") -> Update:
    return Update(rate_limit=RateLimit(requests_per_second=per_second), reason=reason)


async def _configure(s: Scenario, **fields: object) -> ws.UpdateTaskQueueConfigResponse:
    usual: dict[str, object] = {
        "namespace": s.namespace,
        "identity": "operator",
        "task_queue": s.tq,
        "task_queue_type": KIND.TASK_QUEUE_TYPE_ACTIVITY,
    }
    return await s.service.update_task_queue_config(ws.UpdateTaskQueueConfigRequest(**(usual | fields)))


async def _describe(s: Scenario, kind: int = KIND.TASK_QUEUE_TYPE_ACTIVITY) -> ws.DescribeTaskQueueResponse:
    reply = await s.service.describe_task_queue(
        ws.DescribeTaskQueueRequest(
            namespace=s.namespace,
            task_queue=TaskQueue(name=s.tq),
            task_queue_type=kind,
            report_config=True,
        )
    )
    if reply.effective_rate_limit.rate_limit_source == enums.RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM:
        assert reply.effective_rate_limit.requests_per_second >= 1_000
        reply.effective_rate_limit.ClearField("requests_per_second")  # as the server was set up
    return reply


async def test_a_configuration_is_kept_and_told(s: Scenario) -> None:
    s.expect_message(
        await _describe(s),
        """
            versioning_info.current_version=__unversioned__ versioning_info.update_time=<zero>
                  effective_rate_limit.rate_limit_source=SYSTEM
        """,
    )
    s.expect_message(
        await _configure(
            s,
            update_queue_rate_limit=_rate(20, "busy"),
            update_fairness_key_rate_limit_default=_rate(5),
            set_fairness_weight_overrides={"vip": 10, "slow": 0.5},
        ),
        """
            config.queue_rate_limit.rate_limit.requests_per_second=20.0
                  config.queue_rate_limit.metadata.reason=busy
                  config.queue_rate_limit.metadata.update_identity=operator
                  config.queue_rate_limit.metadata.update_time=<time>
                  config.fairness_keys_rate_limit_default.rate_limit.requests_per_second=5.0
                  config.fairness_keys_rate_limit_default.metadata.update_identity=operator
                  config.fairness_keys_rate_limit_default.metadata.update_time=<time>
                  config.fairness_weight_overrides={slow: 0.5, vip: 10.0}
        """,
    )
    s.expect_message(
        await _describe(s),
        """
            versioning_info.current_version=__unversioned__ versioning_info.update_time=<zero>
                  config.queue_rate_limit.rate_limit.requests_per_second=20.0
                  config.queue_rate_limit.metadata.reason=busy
                  config.queue_rate_limit.metadata.update_identity=operator
                  config.queue_rate_limit.metadata.update_time=<time>
                  config.fairness_keys_rate_limit_default.rate_limit.requests_per_second=5.0
                  config.fairness_keys_rate_limit_default.metadata.update_identity=operator
                  config.fairness_keys_rate_limit_default.metadata.update_time=<time>
                  config.fairness_weight_overrides={slow: 0.5, vip: 10.0}
                  effective_rate_limit.requests_per_second=20.0 effective_rate_limit.rate_limit_source=API
        """,
    )
    s.expect_message(
        await _configure(
            s,
            update_queue_rate_limit=Update(reason="calm"),
            set_fairness_weight_overrides={"vip": 3},
            unset_fairness_weight_overrides=["slow", "unknown"],
        ),
        """
            config.queue_rate_limit.metadata.reason=calm
                  config.queue_rate_limit.metadata.update_identity=operator
                  config.queue_rate_limit.metadata.update_time=<time>
                  config.fairness_keys_rate_limit_default.rate_limit.requests_per_second=5.0
                  config.fairness_keys_rate_limit_default.metadata.update_identity=operator
                  config.fairness_keys_rate_limit_default.metadata.update_time=<time>
                  config.fairness_weight_overrides={vip: 3.0}
        """,
    )
    s.expect_message(
        (await _describe(s)).effective_rate_limit,
        """
            rate_limit_source=SYSTEM
        """,
    )
    s.expect_message(
        await _describe(s, KIND.TASK_QUEUE_TYPE_WORKFLOW),
        """
            versioning_info.current_version=__unversioned__ versioning_info.update_time=<zero>
                  effective_rate_limit.rate_limit_source=SYSTEM
        """,
    )


async def test_refusals(s: Scenario) -> None:
    workflow = KIND.TASK_QUEUE_TYPE_WORKFLOW
    outcomes = {}
    for case, fields in {
        "no namespace": {"namespace": ""},
        "unknown namespace": {"namespace": "nowhere"},
        "a rate for workflows": {"task_queue_type": workflow, "update_queue_rate_limit": _rate(1)},
        "a key's rate for workflows": {
            "task_queue_type": workflow,
            "update_fairness_key_rate_limit_default": _rate(1),
        },
        "no rate for workflows": {"task_queue_type": workflow, "update_queue_rate_limit": Update()},
        "weights for workflows": {
            "task_queue_type": workflow,
            "set_fairness_weight_overrides": {"a": 2},
        },
        "negative": {"update_queue_rate_limit": _rate(-1)},
        "negative for keys": {"update_fairness_key_rate_limit_default": _rate(-1)},
        "long reason": {"update_queue_rate_limit": _rate(1, "x" * 1001)},
        "long identity": {"identity": "x" * 1001},
        "weight of nothing": {"set_fairness_weight_overrides": {"": 1}},
        "weight zero": {"set_fairness_weight_overrides": {"a": 0}},
        "negative weight": {"set_fairness_weight_overrides": {"a": -1}},
        "long key": {"set_fairness_weight_overrides": {"x" * 65: 1}},
        "unset nothing": {"unset_fairness_weight_overrides": [""]},
        "set and unset": {
            "set_fairness_weight_overrides": {"a": 1},
            "unset_fairness_weight_overrides": ["a"],
        },
        "many weights": {"set_fairness_weight_overrides": {str(number): 1 for number in range(1001)}},
    }.items():
        try:
            await _configure(s, **fields)
            outcomes[case] = "accepted"
        except RPCError as caught:
            outcomes[case] = s.names.clean(f"{caught.status.name}: {caught.message}")
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: Namespace is empty.
              no namespace
            NOT_FOUND: Namespace nowhere is not found.
              unknown namespace
            INVALID_ARGUMENT: Setting rate limit on workflow task queues is not allowed.
              a rate for workflows
            INVALID_ARGUMENT: Setting fairness key rate limit on workflow task queues is not allowed.
              a key's rate for workflows
            accepted
              no rate for workflows, weights for workflows
            INVALID_ARGUMENT: RequestsPerSecond for UpdateQueueRateLimit rate limit must be non-negative.
              negative
            INVALID_ARGUMENT: RequestsPerSecond for UpdateFairnessKeyRateLimitDefault rate limit must be
                  non-negative.
              negative for keys
            INVALID_ARGUMENT: UpdateQueueRateLimit.Reason field too long (max 1000 characters).
              long reason
            INVALID_ARGUMENT: Identity field too long (max 1000 characters).
              long identity
            INVALID_ARGUMENT: fairness weight override key must not be empty
              weight of nothing, unset nothing
            INVALID_ARGUMENT: invalid fairness weight weight for key "a": must be greater than zero
              weight zero, negative weight
            INVALID_ARGUMENT: fairness key length exceeds limit
              long key
            INVALID_ARGUMENT: fairness weight override key "a" present in both set and unset lists
              set and unset
            INVALID_ARGUMENT: too many fairness weight overrides in request: got 1001, maximum 1000
              many weights
        """,
    )


async def _activities(s: Scenario, count: int) -> None:
    await s.start()
    await s.step(*(c.activity(f"a{number}", s.tq) for number in range(count)))


async def test_a_limit_holds(s: Scenario, server: Server) -> None:
    """Two a second: some at once, then one every half second; the real server's partitions share the limit unevenly."""
    await _configure(s, update_queue_rate_limit=_rate(2))
    await _activities(s, 6)
    began = time.monotonic()
    for _ in range(6):
        await s.poll_activity()
    assert 1.2 < time.monotonic() - began < (20 if server.real else 3)


async def _poll_with_rate(s: Scenario, rate: float | None) -> ws.PollActivityTaskQueueResponse:
    metadata = None if rate is None else TaskQueueMetadata(max_tasks_per_second=DoubleValue(value=rate))
    return await s.service.poll_activity_task_queue(
        ws.PollActivityTaskQueueRequest(
            namespace=s.namespace,
            task_queue=TaskQueue(name=s.tq),
            identity="tester",
            task_queue_metadata=metadata,
        )
    )


async def test_a_workers_own_limit(s: Scenario) -> None:
    await _activities(s, 3)
    lines = []
    for rate in (7.5, None, 9):
        assert (await asyncio.wait_for(_poll_with_rate(s, rate), POLL_SECONDS)).task_token
        lines.append(s.names.clean(_effective(await _describe(s))))
    await _configure(s, update_queue_rate_limit=_rate(20))
    lines.append(_effective(await _describe(s)))
    expect(
        "\n".join(lines),
        """
            7.5 RATE_LIMIT_SOURCE_WORKER
            0 RATE_LIMIT_SOURCE_SYSTEM
            9 RATE_LIMIT_SOURCE_WORKER
            20 RATE_LIMIT_SOURCE_API
        """,
    )


def _effective(reply: ws.DescribeTaskQueueResponse) -> str:
    limit = reply.effective_rate_limit
    return f"{limit.requests_per_second:g} {enums.RateLimitSource.Name(limit.rate_limit_source)}"
