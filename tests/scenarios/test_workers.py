"""What workers tell of themselves: heartbeats, lists and counts with filters, a worker's description."""

import temporalio.api.enums.v1 as enums
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerHostInfo
from temporalio.service import RPCError

from .raw import Scenario
from .snapshots import expect, grouped

STATUS = enums.WorkerStatus


def _heartbeat(s: Scenario, name: str, **fields: object) -> WorkerHeartbeat:
    usual: dict[str, object] = {
        "worker_instance_key": s.id(name),
        "worker_identity": f"{name}@host",
        "task_queue": s.tq,
        "sdk_name": "temporal-python",
        "sdk_version": "1.0.0",
        "status": STATUS.WORKER_STATUS_RUNNING,
        "host_info": WorkerHostInfo(host_name="host", process_id="7", worker_grouping_key="group"),
        "start_time": Timestamp(seconds=1_700_000_000),
        "heartbeat_time": Timestamp(seconds=1_700_000_600),
    }
    return WorkerHeartbeat(**(usual | fields))


async def _record(s: Scenario, *heartbeats: WorkerHeartbeat) -> None:
    await s.service.record_worker_heartbeat(
        ws.RecordWorkerHeartbeatRequest(namespace=s.namespace, identity="tester", worker_heartbeat=heartbeats)
    )


async def _three(s: Scenario) -> None:
    version = WorkerDeploymentVersion(deployment_name="ship", build_id="2.0")
    await _record(
        s,
        _heartbeat(s, "a", deployment_version=version, start_time=Timestamp(seconds=1_800_000_000)),
        _heartbeat(s, "b", sdk_version="1.5.0", status=STATUS.WORKER_STATUS_SHUTTING_DOWN),
        _heartbeat(s, "c", host_info=None, heartbeat_time=None, total_sticky_cache_hit=3),
    )


async def _list(s: Scenario, query: str = "", **fields: object) -> ws.ListWorkersResponse:
    within = f"TaskQueue = '{s.tq}'"
    return await s.service.list_workers(
        ws.ListWorkersRequest(
            namespace=s.namespace, query=f"{within} AND ({query})" if query else within, **fields
        )
    )


def _keys(s: Scenario, reply: ws.ListWorkersResponse) -> str:
    keys = sorted(worker.worker_instance_key for worker in reply.workers)
    assert keys == sorted(info.worker_heartbeat.worker_instance_key for info in reply.workers_info)
    return s.names.clean(" ".join(keys)) or "none"


async def test_a_worker_is_described(s: Scenario) -> None:
    await _three(s)
    reply = await s.service.describe_worker(
        ws.DescribeWorkerRequest(namespace=s.namespace, worker_instance_key=s.id("a"))
    )
    s.expect_message(
        reply,
        """
            worker_info.worker_heartbeat.worker_instance_key=a
                  worker_info.worker_heartbeat.worker_identity=a@host
                  worker_info.worker_heartbeat.host_info.host_name=host
                  worker_info.worker_heartbeat.host_info.process_id=7
                  worker_info.worker_heartbeat.host_info.worker_grouping_key=group
                  worker_info.worker_heartbeat.task_queue=tq
                  worker_info.worker_heartbeat.deployment_version=ship:2.0
                  worker_info.worker_heartbeat.sdk_name=temporal-python
                  worker_info.worker_heartbeat.sdk_version=1.0.0 worker_info.worker_heartbeat.status=RUNNING
                  worker_info.worker_heartbeat.start_time=<time>
                  worker_info.worker_heartbeat.heartbeat_time=2023-11-14T22:23:20Z
        """,
    )
    (listed,) = (await _list(s, f"WorkerInstanceKey = '{s.id('a')}'")).workers
    s.expect_message(
        listed,
        """
            worker_instance_key=a worker_identity=a@host task_queue=tq deployment_version=ship:2.0
                  sdk_name=temporal-python sdk_version=1.0.0 status=RUNNING start_time=<time> host_name=host
                  worker_grouping_key=group process_id=7
        """,
    )


async def test_a_later_heartbeat_replaces_the_earlier(s: Scenario) -> None:
    await _three(s)
    await _record(s, _heartbeat(s, "c", total_sticky_cache_hit=4, task_queue=s.id("other")))
    expect(_keys(s, await _list(s)), "a b")
    reply = await s.service.describe_worker(
        ws.DescribeWorkerRequest(namespace=s.namespace, worker_instance_key=s.id("c"))
    )
    assert reply.worker_info.worker_heartbeat.total_sticky_cache_hit == 4


async def test_filters(s: Scenario) -> None:
    await _three(s)
    outcomes = {}
    for query in (
        f"WorkerInstanceKey = '{s.id('a')}'",
        "WorkerIdentity = 'b@host'",
        "WorkerIdentity != 'b@host'",
        "WorkerIdentity STARTS_WITH 'a'",
        "HostName = 'host'",
        "HostName IS NULL",
        "HostName IS NOT NULL",
        "DeploymentName = 'ship' AND BuildId = '2.0'",
        "BuildId IS NULL",
        "SdkName = 'temporal-python'",
        "SdkVersion = '1.5.0' OR BuildId = '2.0'",
        "WorkerStatus = 'Running'",
        "WorkerStatus = 'ShuttingDown'",
        "Status = 'ShuttingDown'",
        "StartTime > '2025-01-01T00:00:00Z'",
        "StartTime BETWEEN '2020-01-01T00:00:00Z' AND '2025-01-01T00:00:00Z'",
        "HeartbeatTime IS NULL",
        "HeartbeatTime >= '2020-01-01T00:00:00Z'",
    ):
        outcomes[s.names.clean(query)] = _keys(s, await _list(s, query))
    expect(
        grouped(outcomes),
        """
            a
              WorkerInstanceKey = 'a', WorkerIdentity STARTS_WITH 'a', DeploymentName = 'ship' AND BuildId =
                  '2.0', StartTime > '2025-01-01T00:00:00Z'
            b
              WorkerIdentity = 'b@host', WorkerStatus = 'ShuttingDown', Status = 'ShuttingDown'
            a c
              WorkerIdentity != 'b@host', WorkerStatus = 'Running'
            a b
              HostName = 'host', HostName IS NOT NULL, SdkVersion = '1.5.0' OR BuildId = '2.0', HeartbeatTime
                  >= '2020-01-01T00:00:00Z'
            c
              HostName IS NULL, HeartbeatTime IS NULL
            b c
              BuildId IS NULL, StartTime BETWEEN '2020-01-01T00:00:00Z' AND '2025-01-01T00:00:00Z'
            a b c
              SdkName = 'temporal-python'
        """,
    )


async def test_counts(s: Scenario) -> None:
    await _three(s)
    for query, count in (("", 3), (" AND HostName = 'host'", 2), (" AND HostName = 'elsewhere'", 0)):
        reply = await s.service.count_workers(
            ws.CountWorkersRequest(namespace=s.namespace, query=f"TaskQueue = '{s.tq}'{query}")
        )
        assert reply.count == count


async def test_pages(s: Scenario) -> None:
    await _three(s)
    first = await _list(s, page_size=2)
    expect(_keys(s, first), "a b")
    second = await _list(s, page_size=2, next_page_token=first.next_page_token)
    expect(_keys(s, second), "c")
    assert not second.next_page_token


async def test_system_workers_are_left_out(s: Scenario) -> None:
    queue = f"temporal-sys-{s.tq}"
    await _record(s, _heartbeat(s, "sys", task_queue=queue))
    for with_system in (False, True):
        listed = await s.service.list_workers(
            ws.ListWorkersRequest(
                namespace=s.namespace, query=f"TaskQueue = '{queue}'", include_system_workers=with_system
            )
        )
        counted = await s.service.count_workers(
            ws.CountWorkersRequest(
                namespace=s.namespace, query=f"TaskQueue = '{queue}'", include_system_workers=with_system
            )
        )
        assert (len(listed.workers), counted.count) == (int(with_system), int(with_system))


async def test_a_worker_that_stops_is_forgotten(s: Scenario) -> None:
    await _three(s)
    await _record(s, _heartbeat(s, "a", status=STATUS.WORKER_STATUS_SHUTDOWN))
    await s.service.shutdown_worker(
        ws.ShutdownWorkerRequest(
            namespace=s.namespace,
            sticky_task_queue=s.id("sticky"),
            worker_heartbeat=_heartbeat(s, "b", status=STATUS.WORKER_STATUS_SHUTDOWN),
        )
    )
    expect(_keys(s, await _list(s)), "c")


async def test_refusals(s: Scenario) -> None:
    await _three(s)
    key, outcomes = s.id("nobody"), {}
    for case, call in {
        "describe nobody": s.service.describe_worker(
            ws.DescribeWorkerRequest(namespace=s.namespace, worker_instance_key=key)
        ),
        "describe in no namespace": s.service.describe_worker(
            ws.DescribeWorkerRequest(namespace="nowhere", worker_instance_key=key)
        ),
        "record in no namespace": s.service.record_worker_heartbeat(
            ws.RecordWorkerHeartbeatRequest(namespace="nowhere")
        ),
        "list with a bad token": s.service.list_workers(
            ws.ListWorkersRequest(namespace=s.namespace, next_page_token=b"bad")
        ),
        "update config": s.service.update_worker_config(ws.UpdateWorkerConfigRequest(namespace=s.namespace)),
        "fetch config": s.service.fetch_worker_config(ws.FetchWorkerConfigRequest(namespace=s.namespace)),
    }.items():
        try:
            await call
            outcomes[case] = "accepted"
        except RPCError as caught:
            outcomes[case] = s.names.clean(f"{caught.status.name}: {caught.message}")
    expect(
        grouped(outcomes),
        """
            NOT_FOUND: Worker nobody not found
              describe nobody
            NOT_FOUND: Namespace nowhere is not found.
              describe in no namespace, record in no namespace
            INVALID_ARGUMENT: invalid next_page_token
              list with a bad token
            INVALID_ARGUMENT: WorkerConfig is not set
              update config
            UNIMPLEMENTED: FetchWorkerConfig command is not enabled.
              fetch config
        """,
    )
