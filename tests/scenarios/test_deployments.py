"""Worker deployments: versions come by polling, become current, ramp, drain and go."""

from typing import Any

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.enums.v1 import TaskQueueType, WorkerDeploymentVersionStatus
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario
from .rendering import error
from .snapshots import expect, grouped
from .versions import PINNED, VERSIONED, Deployment

DRAINED = WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED
DRAINING = WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING


def statuses(info: Any) -> str:
    """The versions of a deployment, the newest first, with their statuses."""
    return "\n".join(
        f"{found.deployment_version.build_id} {WorkerDeploymentVersionStatus.Name(found.status)[33:]}"
        for found in info.version_summaries
    )


async def test_versions_come_by_polling(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1")
    await d.register("v2")
    await d.register("v2", activities=True)
    info = await d.describe()
    expect(
        statuses(info),
        """
            v2 INACTIVE
            v1 INACTIVE
        """,
    )
    s.expect_message(
        info,
        """
            name=dep create_time=<time> routing_config.current_version=__unversioned__
                  routing_config_update_state=COMPLETED
        """,
        hide=["version_summaries"],
    )
    s.expect_message(
        await d.describe_version("v2"),
        """
            version=dep.v2 create_time=<time> task_queue_infos=[{name=tq type=WORKFLOW}, {name=tq
                  type=ACTIVITY}] deployment_version=dep:v2 status=INACTIVE
        """,
    )


async def test_current_and_ramping(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1")
    await d.register("v2")
    s.expect_message(
        await d.set_current("v1"),
        """
            previous_version=__unversioned__
        """,
        hide=["conflict_token"],
    )
    s.expect_message(
        await d.set_ramping("v2", 20),
        """
    """,
        hide=["conflict_token"],
    )
    s.expect_message(
        (await d.describe()).routing_config,
        """
            current_version=dep.v1 ramping_version=dep.v2 ramping_version_percentage=20.0
                  current_version_changed_time=<time> ramping_version_changed_time=<time>
                  ramping_version_percentage_changed_time=<time> current_deployment_version=dep:v1
                  ramping_deployment_version=dep:v2 revision_number=2
        """,
    )
    expect(
        statuses(await d.describe()),
        """
            v2 RAMPING
            v1 CURRENT
        """,
    )
    s.expect_message(
        await s.service.describe_task_queue(
            ws.DescribeTaskQueueRequest(
                namespace=s.namespace,
                task_queue=TaskQueue(name=s.tq),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
        ),
        """
            versioning_info.current_version=dep.v1 versioning_info.ramping_version=dep.v2
                  versioning_info.ramping_version_percentage=20.0 versioning_info.update_time=<time>
                  versioning_info.current_deployment_version=dep:v1
                  versioning_info.ramping_deployment_version=dep:v2
        """,
        hide=["effective_rate_limit", "pollers"],
    )
    s.expect_message(
        await d.set_current("v2"),
        """
            previous_version=dep.v1 previous_deployment_version=dep:v1
        """,
        hide=["conflict_token"],
    )
    s.expect_message(
        (await d.describe()).routing_config,
        """
            current_version=dep.v2 current_version_changed_time=<time> ramping_version_changed_time=<time>
                  ramping_version_percentage_changed_time=<time> current_deployment_version=dep:v2
                  revision_number=3
        """,
    )
    await d.until_status("v1", DRAINED)
    expect(
        statuses(await d.describe()),
        """
            v2 CURRENT
            v1 DRAINED
        """,
    )
    s.expect_message(
        await d.set_ramping("", 30),
        """
    """,
        hide=["conflict_token"],
    )
    s.expect_message(
        await d.set_ramping("", 0),
        """
            previous_version=__unversioned__ previous_percentage=30.0
        """,
        hide=["conflict_token"],
    )
    s.expect_message(
        await d.set_current(""),
        """
            previous_version=dep.v2 previous_deployment_version=dep:v2
        """,
        hide=["conflict_token"],
    )
    s.expect_message(
        (await d.describe()).routing_config,
        """
            current_version=__unversioned__ current_version_changed_time=<time>
                  ramping_version_changed_time=<time> ramping_version_percentage_changed_time=<time>
                  revision_number=6
        """,
    )


async def test_conflict_tokens(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1")
    await d.register("v2")
    first = (await d.set_current("v1")).conflict_token
    await s.expect_refusal(
        d.set_current("v2", conflict_token=b"x"),
        """
            FAILED_PRECONDITION: conflict token mismatch
        """,
    )
    second = (await d.set_current("v2", conflict_token=first)).conflict_token
    await s.expect_refusal(
        d.set_ramping("v1", 5, conflict_token=first),
        """
            FAILED_PRECONDITION: conflict token mismatch
        """,
    )
    again = await d.set_current("v2", conflict_token=first)
    assert again.conflict_token == second


async def test_refusals(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1")
    await d.set_current("v1")
    absent = f"{s.prefix}-absent"
    s.names.aliases[absent] = "absent"

    async def said(call: Any) -> str:
        try:
            await call
        except RPCError as caught:
            return error(caught, s.names)
        return "accepted"

    def current(**fields: Any) -> Any:
        usual = {"namespace": s.namespace, "deployment_name": d.name, "identity": "me"}
        return s.service.set_worker_deployment_current_version(
            ws.SetWorkerDeploymentCurrentVersionRequest(**(usual | fields))
        )

    def ramping(**fields: Any) -> Any:
        usual = {"namespace": s.namespace, "deployment_name": d.name, "identity": "me"}
        return s.service.set_worker_deployment_ramping_version(
            ws.SetWorkerDeploymentRampingVersionRequest(**(usual | fields))
        )

    def describe_version(version: str) -> Any:
        return s.service.describe_worker_deployment_version(
            ws.DescribeWorkerDeploymentVersionRequest(namespace=s.namespace, version=version)
        )

    def poll(**options: Any) -> Any:
        return s.service.poll_workflow_task_queue(
            ws.PollWorkflowTaskQueueRequest(
                namespace=s.namespace,
                task_queue=TaskQueue(name=s.tq),
                deployment_options=WorkerDeploymentOptions(worker_versioning_mode=VERSIONED, **options),
            )
        )

    def describe(name: str) -> Any:
        return s.service.describe_worker_deployment(
            ws.DescribeWorkerDeploymentRequest(namespace=s.namespace, deployment_name=name)
        )

    outcomes = {
        "current: unknown build": await said(current(build_id="v9")),
        "current: unknown deployment": await said(current(deployment_name=absent, build_id="v1")),
        "current: no name": await said(current(deployment_name="", build_id="v1")),
        "current: other deployment": await said(current(version="other.v1")),
        "current: no version": await said(current(version="v1")),
        "current: no deployment in version": await said(current(version=".v1")),
        "current: no build in version": await said(current(version="dep.")),
        "ramping: current": await said(ramping(build_id="v1", percentage=5)),
        "ramping: unknown build": await said(ramping(build_id="v9", percentage=5)),
        "ramping: unknown deployment": await said(ramping(deployment_name=absent, build_id="v1")),
        "ramping: 101": await said(ramping(build_id="v1", percentage=101)),
        "ramping: -1": await said(ramping(build_id="v1", percentage=-1)),
        "describe: unknown": await said(describe(absent)),
        "describe: no name": await said(describe("")),
        "describe: long": await said(describe("d" * 481)),
        "version: none": await said(describe_version("")),
        "version: no delimiter": await said(describe_version("dep")),
        "version: unknown": await said(describe_version(f"{absent}.v1")),
        "version: reserved": await said(describe_version("dep.__v1")),
        "poll: no build": await said(poll(deployment_name=d.name)),
        "poll: no name": await said(poll(build_id="v1")),
        "poll: dot": await said(poll(deployment_name="a.b", build_id="v1")),
        "poll: colon": await said(poll(deployment_name="a:b", build_id="v1")),
        "poll: reserved": await said(poll(deployment_name="__a", build_id="v1")),
        "poll: long build": await said(poll(deployment_name="a", build_id="v" * 481)),
    }
    expect(
        grouped(outcomes),
        """
            NOT_FOUND: build ID 'v9' not found in Worker Deployment 'dep' | NotFoundFailure
              current: unknown build, ramping: unknown build
            NOT_FOUND: no Worker Deployment found with name 'absent'; does your Worker Deployment have
                  pollers? | NotFoundFailure
              current: unknown deployment, ramping: unknown deployment, describe: unknown
            INVALID_ARGUMENT: deployment name cannot be empty
              current: no name
            INVALID_ARGUMENT: invalid version string 'other.v1' does not match deployment name 'dep'
              current: other deployment
            INVALID_ARGUMENT: invalid version string: expected delimiter ':' or '.' not found in version
                  string v1
              current: no version
            INVALID_ARGUMENT: invalid version string: deployment name is empty in version string .v1
              current: no deployment in version
            INVALID_ARGUMENT: invalid version string: build id is empty in version string dep.
              current: no build in version
            FAILED_PRECONDITION: requested ramping version dep.v1 is already current
              ramping: current
            INVALID_ARGUMENT: Percentage must be between 0 and 100 (inclusive)
              ramping: 101, ramping: -1
            INVALID_ARGUMENT: WorkerDeploymentName cannot be empty
              describe: no name
            INVALID_ARGUMENT: size of WorkerDeploymentName larger than the maximum allowed
              describe: long
            INVALID_ARGUMENT: deployment version cannot be empty
              version: none
            INVALID_ARGUMENT: invalid version string "dep", expected format is "<deployment_name>.<build_id>"
              version: no delimiter
            NOT_FOUND: Worker Deployment Version not found | NotFoundFailure
              version: unknown
            INVALID_ARGUMENT: BuildID cannot start with '__'
              version: reserved
            INVALID_ARGUMENT: Deployment name and build id must be set together.
              poll: no build, poll: no name
            INVALID_ARGUMENT: worker deployment name cannot contain '.'
              poll: dot
            INVALID_ARGUMENT: worker deployment name cannot contain ':'
              poll: colon
            INVALID_ARGUMENT: WorkerDeploymentName cannot start with '__'
              poll: reserved
            INVALID_ARGUMENT: size of BuildID larger than the maximum allowed
              poll: long build
        """,
    )


async def test_manager(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1")

    def manager(**fields: Any) -> Any:
        usual = {"namespace": s.namespace, "deployment_name": d.name, "identity": "me"}
        return s.service.set_worker_deployment_manager(
            ws.SetWorkerDeploymentManagerRequest(**(usual | fields))
        )

    s.expect_message(
        await manager(manager_identity="boss"),
        """
    """,
        hide=["conflict_token"],
    )
    await s.expect_refusal(
        d.set_current("v1"),
        """
            FAILED_PRECONDITION: ManagerIdentity 'boss' is set and does not match user identity 'tester'; to
                  proceed, set your own identity as the ManagerIdentity, remove the ManagerIdentity, or wait
                  for the other client to do so
        """,
    )
    await d.set_current("v1", identity="boss")
    s.expect_message(
        await manager(self=True),
        """
            previous_manager_identity=boss
        """,
        hide=["conflict_token"],
    )
    await s.expect_refusal(
        manager(manager_identity="x", conflict_token=b"x"),
        """
            FAILED_PRECONDITION: conflict token mismatch
        """,
    )
    await s.expect_refusal(
        manager(identity="", self=True),
        """
            INVALID_ARGUMENT: Identity is required
        """,
    )
    s.expect_message(
        await manager(manager_identity=""),
        """
            previous_manager_identity=me
        """,
        hide=["conflict_token"],
    )
    s.expect_message(
        await d.describe(),
        """
            name=dep create_time=<time> last_modifier_identity=me routing_config_update_state=COMPLETED
        """,
        hide=["version_summaries", "routing_config"],
    )


async def test_metadata(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1")

    def metadata(**fields: Any) -> Any:
        usual = {"namespace": s.namespace, "deployment_version": d.version("v1"), "identity": "me"}
        return s.service.update_worker_deployment_version_metadata(
            ws.UpdateWorkerDeploymentVersionMetadataRequest(**(usual | fields))
        )

    s.expect_message(
        await metadata(upsert_entries={"a": c.payload(1), "b": c.payload("x")}),
        """
            metadata.entries={a: 1, b: 'x'}
        """,
    )
    s.expect_message(
        await metadata(upsert_entries={"c": c.payload(2)}, remove_entries=["a", "z"]),
        """
            metadata.entries={b: 'x', c: 2}
        """,
    )
    s.expect_message(
        await d.describe_version("v1"),
        """
            version=dep.v1 create_time=<time> task_queue_infos=[{name=tq type=WORKFLOW}] metadata.entries={b:
                  'x', c: 2} deployment_version=dep:v1 status=INACTIVE last_modifier_identity=me
        """,
    )
    await s.expect_refusal(
        metadata(),
        """
            INVALID_ARGUMENT: At least one of remove_entries or upsert_entries must be provided
        """,
    )


async def test_drainage(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1")
    await d.register("v2")
    await d.set_current("v1")
    await s.start()
    await d.step("v1", behavior=PINNED)
    await d.set_current("v2")
    s.expect_message(
        await d.until_status("v1", DRAINING),
        """
            version=dep.v1 create_time=<time> routing_changed_time=<time> task_queue_infos=[{name=tq
                  type=WORKFLOW}] drainage_info.status=DRAINING drainage_info.last_changed_time=<time>
                  drainage_info.last_checked_time=<time> deployment_version=dep:v1 status=DRAINING
        """,
    )
    await s.signal("end")
    await d.step("v1", c.complete(), behavior=PINNED)
    s.expect_message(
        await d.until_status("v1", DRAINED),
        """
            version=dep.v1 create_time=<time> routing_changed_time=<time> task_queue_infos=[{name=tq
                  type=WORKFLOW}] drainage_info.status=DRAINED drainage_info.last_changed_time=<time>
                  drainage_info.last_checked_time=<time> deployment_version=dep:v1 status=DRAINED
        """,
    )
    # Somebody pins a workflow to it: it is in use again.
    await s.start(workflow_id=s.id("late"), versioning_override=d.pinned("v1"))
    s.expect_message(
        await d.until_status("v1", DRAINING),
        """
            version=dep.v1 create_time=<time> routing_changed_time=<time> task_queue_infos=[{name=tq
                  type=WORKFLOW}] drainage_info.status=DRAINING drainage_info.last_changed_time=<time>
                  drainage_info.last_checked_time=<time> deployment_version=dep:v1 status=DRAINING
        """,
    )
    await d.set_current("v1")
    s.expect_message(
        await d.describe_version("v1"),
        """
            version=dep.v1 create_time=<time> routing_changed_time=<time> current_since_time=<time>
                  task_queue_infos=[{name=tq type=WORKFLOW}] deployment_version=dep:v1 status=CURRENT
        """,
    )


async def test_removal(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1")
    await d.register("v2")
    await d.set_current("v1")
    await d.set_current("v2")

    def delete(build_id: str, **fields: Any) -> Any:
        return s.service.delete_worker_deployment_version(
            ws.DeleteWorkerDeploymentVersionRequest(
                namespace=s.namespace, deployment_version=d.version(build_id), identity="me", **fields
            )
        )

    def delete_deployment() -> Any:
        return s.service.delete_worker_deployment(
            ws.DeleteWorkerDeploymentRequest(namespace=s.namespace, deployment_name=d.name)
        )

    await s.expect_refusal(
        delete("v2"),
        """
            FAILED_PRECONDITION: version 'dep:v2' cannot be deleted since it is current or ramping
        """,
    )
    await s.expect_refusal(
        delete("v1"),
        """
            FAILED_PRECONDITION: version 'dep:v1' cannot be deleted since it has active pollers
        """,
    )
    await s.expect_refusal(
        delete("v1", skip_drainage=True),
        """
            FAILED_PRECONDITION: version 'dep:v1' cannot be deleted since it has active pollers
        """,
    )
    await s.expect_refusal(
        delete("v9"),
        """
            accepted
        """,
    )
    await s.expect_refusal(
        delete_deployment(),
        """
            FAILED_PRECONDITION: deployment has versions, can't be deleted
        """,
    )


async def test_made_before_a_worker_comes(s: Scenario) -> None:
    d = Deployment(s)

    def create(request_id: str) -> Any:
        return s.service.create_worker_deployment(
            ws.CreateWorkerDeploymentRequest(
                namespace=s.namespace, deployment_name=d.name, identity="me", request_id=request_id
            )
        )

    def create_version(request_id: str) -> Any:
        return s.service.create_worker_deployment_version(
            ws.CreateWorkerDeploymentVersionRequest(
                namespace=s.namespace,
                deployment_version=d.version("v1"),
                identity="me",
                request_id=request_id,
            )
        )

    await s.expect_refusal(
        create_version("r"),
        """
            NOT_FOUND: no Worker Deployment found with name 'dep'; does your Worker Deployment have pollers?
              NotFoundFailure
        """,
    )
    assert (await create("r1")).conflict_token == (await create("r1")).conflict_token
    await s.expect_refusal(
        create("r2"),
        """
            ALREADY_EXISTS: Worker Deployment with name "dep" already exists
        """,
    )
    await create_version("r3")
    await create_version("r3")
    await s.expect_refusal(
        create_version("r4"),
        """
            ALREADY_EXISTS: Worker Deployment Version "dep.v1" already exists
        """,
    )
    s.expect_message(
        await d.describe_version("v1"),
        """
            version=dep.v1 create_time=<time> deployment_version=dep:v1 status=CREATED
                  last_modifier_identity=me
        """,
    )
    await d.register("v1")
    s.expect_message(
        await d.describe_version("v1"),
        """
            version=dep.v1 create_time=<time> task_queue_infos=[{name=tq type=WORKFLOW}]
                  deployment_version=dep:v1 status=INACTIVE last_modifier_identity=me
        """,
    )
    other = Deployment(s, "polled")
    await other.register("v1", queue=s.id("q"))
    await s.expect_refusal(
        s.service.create_worker_deployment(
            ws.CreateWorkerDeploymentRequest(
                namespace=s.namespace, deployment_name=other.name, request_id="x"
            )
        ),
        """
            ALREADY_EXISTS: Worker Deployment with name "polled" already exists (auto-created from worker
                  polls)
        """,
    )
    empty = Deployment(s, "empty")
    await s.service.create_worker_deployment(
        ws.CreateWorkerDeploymentRequest(namespace=s.namespace, deployment_name=empty.name)
    )
    await s.service.delete_worker_deployment(
        ws.DeleteWorkerDeploymentRequest(namespace=s.namespace, deployment_name=empty.name)
    )
    await s.expect_refusal(
        empty.describe(),
        """
            NOT_FOUND: no Worker Deployment found with name 'empty'; does your Worker Deployment have pollers?
              NotFoundFailure
        """,
    )


async def test_current_before_a_worker_comes(s: Scenario) -> None:
    d = Deployment(s)
    await d.set_current("v1", allow_no_pollers=True)
    expect(
        statuses(await d.describe()),
        """
            v1 CURRENT
        """,
    )
    await s.start()
    await d.step("v1", c.complete("done"))
    await s.closed()


async def test_a_queue_that_the_new_version_lacks(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1")
    await d.register("v2", queue=s.id("other"))
    await d.set_current("v1")
    await s.start()
    await s.start(workflow_id=s.id("two"))
    await s.expect_refusal(
        d.set_current("v2"),
        """
            FAILED_PRECONDITION: proposed current version 'dep:v2' is missing active task queues from the
                  current version; these would become unversioned if it is set as the current version
        """,
    )
    await s.expect_refusal(
        d.set_ramping("v2", 10),
        """
            FAILED_PRECONDITION: proposed ramping version 'dep:v2' is missing active task queues from the
                  current version; these would become unversioned if it is set as the ramping version
        """,
    )
    await d.set_current("v2", ignore_missing_task_queues=True)


async def test_limits(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2", "v3")
    await s.expect_refusal(
        s.service.create_worker_deployment_version(
            ws.CreateWorkerDeploymentVersionRequest(
                namespace=s.namespace, deployment_version=d.version("v4"), request_id="r"
            )
        ),
        """
            RESOURCE_EXHAUSTED: cannot add version dep.v4 since maximum number of versions (3) have been
                  registered in the deployment
              ResourceExhaustedFailure cause=WORKER_DEPLOYMENT_LIMITS scope=NAMESPACE
        """,
    )
    for queue in ("two", "three"):
        await d.register("v1", queue=s.id(queue))
    await s.expect_refusal(
        d._poll("v1", s.id("four"), timeout=10),
        """
            RESOURCE_EXHAUSTED: cannot add task queue four since maximum number of task queues (3) have been
                  registered in deployment
              ResourceExhaustedFailure cause=WORKER_DEPLOYMENT_LIMITS scope=NAMESPACE
        """,
    )


async def test_the_first_form_is_refused(s: Scenario) -> None:
    await s.expect_refusal(
        s.service.list_deployments(ws.ListDeploymentsRequest(namespace=s.namespace)),
        """
            UNIMPLEMENTED: Deployments are deprecated and no longer supported, use Worker Deployments instead
        """,
    )


async def test_no_version_of_a_deployment_that_is_not_there(s: Scenario) -> None:
    """It changes nothing, which is no error."""
    outcomes: dict[str, str] = {}
    for label, call in {
        "current": s.service.set_worker_deployment_current_version(
            ws.SetWorkerDeploymentCurrentVersionRequest(
                namespace=s.namespace, deployment_name=f"{s.prefix}-none", allow_no_pollers=True
            )
        ),
        "ramping": s.service.set_worker_deployment_ramping_version(
            ws.SetWorkerDeploymentRampingVersionRequest(
                namespace=s.namespace, deployment_name=f"{s.prefix}-neither", allow_no_pollers=True
            )
        ),
    }.items():
        try:
            await call
            outcomes[label] = "OK"
        except RPCError as refusal:
            outcomes[label] = error(refusal, s.names)
    expect(
        grouped(outcomes),
        """
            OK
              current, ramping
        """,
    )
