"""Changing the options of an open workflow: its priority and its versioning override."""

from typing import Any

import temporalio.api.workflowservice.v1 as ws
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import Priority, WorkflowExecution
from temporalio.api.deployment.v1 import Deployment, WorkerDeploymentVersion
from temporalio.api.enums.v1 import VersioningBehavior
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions

from . import commands as c
from .raw import Scenario

ABSENT = "00000000-0000-4000-8000-000000000000"
AUTO = VersioningOverride(auto_upgrade=True)
Pinned = VersioningOverride.PinnedOverride
PINNED = VersioningOverride.PINNED_OVERRIDE_BEHAVIOR_PINNED
VERSION = WorkerDeploymentVersion(deployment_name="dep", build_id="b1")


async def update(s: Scenario, *paths: str, **fields: Any) -> Any:
    """Change what `paths` name to `options`; a field that is None is left out of the request."""
    options = WorkflowExecutionOptions(**fields.pop("options", {}))
    usual = {
        "namespace": s.namespace,
        "workflow_execution": s.execution(),
        "workflow_execution_options": options,
        "update_mask": FieldMask(paths=paths),
        "identity": "me",
    }
    request = {name: value for name, value in (usual | fields).items() if value is not None}
    return await s.service.update_workflow_execution_options(
        ws.UpdateWorkflowExecutionOptionsRequest(**request)
    )


def priority(**fields: Any) -> dict[str, Any]:
    return {"options": {"priority": Priority(**fields)}}


async def test_priority(s: Scenario) -> None:
    await s.start(priority=Priority(priority_key=1))
    s.expect_message(
        await update(s, "priority", **priority(priority_key=2, fairness_weight=3)),
        """
        workflow_execution_options.priority.priority_key=2
              workflow_execution_options.priority.fairness_weight=3.0
    """,
    )
    s.expect_message(
        (await s.describe()).workflow_execution_info,
        """
            execution.workflow_id=wf execution.run_id=run1 type.name=demo start_time=<time> status=RUNNING
                  history_length=3 execution_time=<time> memo={} search_attributes={} auto_reset_points={}
                  task_queue=tq state_transition_count=<set> history_size_bytes=<set>
                  root_execution.workflow_id=wf root_execution.run_id=run1 first_run_id=run1
                  priority.priority_key=2 priority.fairness_weight=3.0
        """,
    )
    s.expect_message(
        await update(s, "priority.priority_key", **priority(priority_key=4)),
        """
        workflow_execution_options.priority.priority_key=4
              workflow_execution_options.priority.fairness_weight=3.0
    """,
    )
    s.expect_message(
        await update(s, "priority.fairness_weight", **priority(fairness_weight=7)),
        """
        workflow_execution_options.priority.priority_key=4
              workflow_execution_options.priority.fairness_weight=7.0
    """,
    )
    s.expect_message(
        await update(s, "priority.fairness_weight", **priority(fairness_weight=7)),
        """
        workflow_execution_options.priority.priority_key=4
              workflow_execution_options.priority.fairness_weight=7.0
    """,
    )
    s.expect_message(
        (await s.describe()).workflow_execution_info.priority,
        """
        priority_key=4 fairness_weight=7.0
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted priority.priority_key=1
        2 WorkflowTaskScheduled
        3 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me priority.priority_key=2
              priority.fairness_weight=3.0 worker_may_ignore=true
        4 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me priority.priority_key=4
              priority.fairness_weight=3.0 worker_may_ignore=true
        5 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me priority.priority_key=4
              priority.fairness_weight=7.0 worker_may_ignore=true
    """)


async def test_priority_is_not_taken_away(s: Scenario) -> None:
    await s.start(priority=Priority(priority_key=1))
    s.expect_message(
        await update(s, "priority"),
        """
        workflow_execution_options={}
    """,
    )
    s.expect_message(
        (await s.describe()).workflow_execution_info.priority,
        """
        priority_key=1
    """,
    )
    s.expect_message(
        await update(s, "priority"),
        """
        workflow_execution_options={}
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted priority.priority_key=1
        2 WorkflowTaskScheduled
        3 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me worker_may_ignore=true
        4 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me worker_may_ignore=true
    """)


async def test_empty_mask(s: Scenario) -> None:
    await s.start(priority=Priority(priority_key=1))
    s.expect_message(
        await update(s, **priority(priority_key=2)),
        """
        workflow_execution_options.priority.priority_key=1
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted priority.priority_key=1
        2 WorkflowTaskScheduled
    """)


async def test_override_that_upgrades(s: Scenario) -> None:
    await s.start()
    await s.step()
    s.expect_message(
        await update(s, "versioning_override", options={"versioning_override": AUTO}),
        """
        workflow_execution_options.versioning_override.auto_upgrade=true
    """,
    )
    s.expect_message(
        (await s.describe()).workflow_execution_info,
        """
            type.name=demo start_time=<time> status=RUNNING history_length=5 execution_time=<time> memo={}
                  search_attributes.indexed_fields={TemporalWorkflowVersioningBehavior: 'AutoUpgrade'{type:
                  Keyword}} auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
                  create_time=<time> resettable=true}] task_queue=tq state_transition_count=<set>
                  history_size_bytes=<set> root_execution.workflow_id=wf root_execution.run_id=run1
                  first_run_id=run1 versioning_info.versioning_override.behavior=AUTO_UPGRADE
                  versioning_info.versioning_override.auto_upgrade=true
        """,
        hide=["execution"],
    )
    s.expect_message(
        await update(s, "versioning_override", options={"versioning_override": AUTO}),
        """
        workflow_execution_options.versioning_override.auto_upgrade=true
    """,
    )
    s.expect_message(
        await update(s, "priority", **priority(priority_key=4)),
        """
        workflow_execution_options.versioning_override.auto_upgrade=true
              workflow_execution_options.priority.priority_key=4
    """,
    )
    s.expect_message(
        await update(s, "versioning_override"),
        """
        workflow_execution_options.priority.priority_key=4
    """,
    )
    s.expect_message(
        (await s.describe()).workflow_execution_info,
        """
            type.name=demo start_time=<time> status=RUNNING history_length=7 execution_time=<time> memo={}
                  search_attributes.indexed_fields={BuildIds: ['unversioned']{type: KeywordList}}
                  auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4 create_time=<time>
                  resettable=true}] task_queue=tq state_transition_count=<set> history_size_bytes=<set>
                  root_execution.workflow_id=wf root_execution.run_id=run1 first_run_id=run1
                  versioning_info={} priority.priority_key=4
        """,
        hide=["execution"],
    )
    await s.signal()
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionOptionsUpdated versioning_override.auto_upgrade=true identity=me
              worker_may_ignore=true
        6 WorkflowExecutionOptionsUpdated versioning_override.auto_upgrade=true identity=me
              priority.priority_key=4 worker_may_ignore=true
        7 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me priority.priority_key=4
              worker_may_ignore=true
        8 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        9 WorkflowTaskScheduled
        10 WorkflowTaskStarted
        11 WorkflowTaskCompleted
        12 WorkflowExecutionCompleted workflow_task_completed_event_id=11
    """)


async def test_override_given_at_the_start(s: Scenario) -> None:
    await s.start(versioning_override=AUTO)
    s.expect_message(
        (await s.describe()).workflow_execution_info,
        """
            type.name=demo start_time=<time> status=RUNNING history_length=2 execution_time=<time> memo={}
                  search_attributes.indexed_fields={TemporalWorkflowVersioningBehavior: 'AutoUpgrade'{type:
                  Keyword}} auto_reset_points={} task_queue=tq state_transition_count=<set>
                  history_size_bytes=<set> root_execution.workflow_id=wf root_execution.run_id=run1
                  first_run_id=run1 versioning_info.versioning_override.behavior=AUTO_UPGRADE
                  versioning_info.versioning_override.auto_upgrade=true
        """,
        hide=["execution"],
    )
    s.expect_message(
        await update(s, "priority", **priority(priority_key=4)),
        """
        workflow_execution_options.versioning_override.auto_upgrade=true
              workflow_execution_options.priority.priority_key=4
    """,
    )
    await s.step(c.continue_as_new())
    s.expect_message(
        (await s.describe()).workflow_execution_info,
        """
            type.name=demo start_time=<time> status=RUNNING history_length=1 execution_time=<time> memo={}
                  search_attributes={} auto_reset_points.points=[{run_id=run1
                  first_workflow_task_completed_id=5 create_time=<time> expire_time=<time> resettable=true}]
                  task_queue=tq state_transition_count=<set> history_size_bytes=<set> priority.priority_key=4
        """,
        hide=["execution", "first_run_id", "root_execution"],
    )
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1 initiator=WORKFLOW
              original_execution_run_id=run2 first_execution_run_id=run1
              prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=5
              create_time=<time> expire_time=<time> resettable=true}] priority.priority_key=4 identity=unset
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionCompleted workflow_task_completed_event_id=4
    """)


async def test_override_of_the_older_form(s: Scenario) -> None:
    await s.start()
    behavior = VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE
    old = {"versioning_override": VersioningOverride(behavior=behavior)}
    s.expect_message(
        await update(s, "versioning_override", options=old),
        """
        workflow_execution_options.versioning_override.behavior=AUTO_UPGRADE
    """,
    )
    s.expect_message(
        (await s.describe()).workflow_execution_info.versioning_info,
        """
        versioning_override.behavior=AUTO_UPGRADE versioning_override.auto_upgrade=true
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionOptionsUpdated versioning_override.auto_upgrade=true identity=me
              worker_may_ignore=true
    """)


async def test_while_a_workflow_task_is_in_flight(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await update(s, "priority", **priority(priority_key=2))
    s.expect_message(
        await update(s, "priority", **priority(priority_key=2)),
        """
        workflow_execution_options.priority.priority_key=2
    """,
    )
    s.expect_message(
        (await s.describe()).workflow_execution_info.priority,
        """
        priority_key=2
    """,
    )
    await s.complete(task)
    await s.signal()
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me priority.priority_key=2
              worker_may_ignore=true
        6 WorkflowTaskScheduled
        7 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        8 WorkflowTaskStarted scheduled_event_id=6
        9 WorkflowTaskCompleted scheduled_event_id=6
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_sticky_queue_is_left(s: Scenario) -> None:
    await s.start()
    await s.step(sticky=s.id("sticky"), sticky_timeout=60)
    await update(s, "versioning_override", options={"versioning_override": AUTO})
    await s.signal()
    await s.step(c.complete())
    await s.closed()


async def test_masks_are_checked(s: Scenario) -> None:
    await s.start()
    auto = {"options": {"versioning_override": AUTO}}
    await s.expect_refusal(
        update(s, update_mask=None),
        """
        INVALID_ARGUMENT: UpdateMask is required
    """,
    )
    await s.expect_refusal(
        update(s, "priority", workflow_execution_options=None),
        """
        INVALID_ARGUMENT: WorkflowExecutionOptions is required
    """,
    )
    await s.expect_refusal(
        update(s, "nonsense", **auto),
        """
        INVALID_ARGUMENT: error parsing UpdateMask: proto: invalid path "nonsense" for message
              "temporal.api.workflow.v1.WorkflowExecutionOptions"
    """,
    )
    await s.expect_refusal(
        update(s, "priority.nonsense", **auto),
        """
        INVALID_ARGUMENT: error parsing UpdateMask: proto: invalid path "priority.nonsense" for message
              "temporal.api.workflow.v1.WorkflowExecutionOptions"
    """,
    )
    await s.expect_refusal(
        update(s, "priority.fairnessKey.x", **auto),
        """
        INVALID_ARGUMENT: error parsing UpdateMask: proto: invalid path "priority.fairnessKey.x" for message
              "temporal.api.workflow.v1.WorkflowExecutionOptions"
    """,
    )
    await s.expect_refusal(
        update(s, "versioning_override.behavior", **auto),
        """
        INVALID_ARGUMENT: error applying update_options: versioning_override fields must be updated together
    """,
    )
    await s.expect_refusal(
        update(s, "versioning_override.deployment", **auto),
        """
        INVALID_ARGUMENT: error applying update_options: versioning_override fields must be updated together
    """,
    )
    await s.expect_refusal(
        update(s, "versioning_override.auto_upgrade", **auto),
        """
        INVALID_ARGUMENT: error applying update_options: versioning_override doesn't support partial updates
    """,
    )
    await s.expect_refusal(
        update(s, "versioning_override.pinned", **auto),
        """
        INVALID_ARGUMENT: error applying update_options: versioning_override doesn't support partial updates
    """,
    )
    await s.expect_refusal(
        update(s, "", **auto),
        """
        INVALID_ARGUMENT: error parsing UpdateMask: proto: invalid path "" for message
              "temporal.api.workflow.v1.WorkflowExecutionOptions"
    """,
    )
    await s.expect_refusal(
        update(s, "priority", **priority(priority_key=-1)),
        """
        INVALID_ARGUMENT: priority key can't be negative
    """,
    )
    await s.expect_refusal(
        update(s, "priority", **priority(fairness_key="x" * 65)),
        """
        INVALID_ARGUMENT: fairness key length exceeds limit
    """,
    )
    await s.expect_refusal(
        update(s, "priority", **priority(fairness_weight=-1)),
        """
        INVALID_ARGUMENT: must be greater than zero
    """,
    )


async def test_overrides_are_checked(s: Scenario) -> None:
    await s.start()
    pinned = VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
    upgrade = VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE

    async def override(value: VersioningOverride) -> Any:
        return await update(s, "versioning_override", options={"versioning_override": value})

    await s.expect_refusal(
        override(VersioningOverride()),
        """
        INVALID_ARGUMENT: override behavior is required
    """,
    )
    await s.expect_refusal(
        override(VersioningOverride(auto_upgrade=False)),
        """
        INVALID_ARGUMENT: auto-upgrade override must be true
    """,
    )
    await s.expect_refusal(
        override(VersioningOverride(pinned=Pinned())),
        """
        INVALID_ARGUMENT: must provide version if override is pinned.
    """,
    )
    await s.expect_refusal(
        override(VersioningOverride(pinned=Pinned(behavior=PINNED))),
        """
        FAILED_PRECONDITION: must specify a specific pinned override version because workflow with id wf has
              behavior Unspecified and is not yet pinned to any version
    """,
    )
    await s.expect_refusal(
        override(VersioningOverride(pinned=Pinned(version=VERSION))),
        """
        INVALID_ARGUMENT: must specify pinned override behavior if override is pinned.
    """,
    )
    await s.expect_refusal(
        override(VersioningOverride(pinned=Pinned(behavior=PINNED, version=VERSION))),
        """
        FAILED_PRECONDITION: Pinned version 'dep:b1' is not present in task queue 'tq' of type 'Workflow'
    """,
    )
    await s.expect_refusal(
        override(VersioningOverride(one_time=VersioningOverride.OneTimeOverride())),
        """
        INVALID_ARGUMENT: must provide target deployment version if override is one-time.
    """,
    )
    await s.expect_refusal(
        override(
            VersioningOverride(one_time=VersioningOverride.OneTimeOverride(target_deployment_version=VERSION))
        ),
        """
            FAILED_PRECONDITION: Pinned version 'dep:b1' is not present in task queue 'tq' of type 'Workflow'
        """,
    )
    await s.expect_refusal(
        override(VersioningOverride(behavior=pinned)),
        """
        INVALID_ARGUMENT: must provide deployment (deprecated) or pinned version if behavior is 'PINNED'
    """,
    )
    await s.expect_refusal(
        override(VersioningOverride(behavior=pinned, pinned_version="dep.b1")),
        """
        FAILED_PRECONDITION: Pinned version 'dep:b1' is not present in task queue 'tq' of type 'Workflow'
    """,
    )
    await s.expect_refusal(
        override(VersioningOverride(behavior=pinned, pinned_version="nonsense")),
        """
        INVALID_ARGUMENT: invalid version string "nonsense", expected format is "<deployment_name>.<build_id>"
    """,
    )
    await s.expect_refusal(
        override(VersioningOverride(behavior=pinned, deployment=Deployment())),
        """
        INVALID_ARGUMENT: deployment name cannot be empty
    """,
    )
    await s.expect_refusal(
        override(VersioningOverride(behavior=upgrade, pinned_version="dep.b1")),
        """
        INVALID_ARGUMENT: only provide pinned version if behavior is 'PINNED'
    """,
    )
    await s.expect_refusal(
        override(VersioningOverride(behavior=upgrade, deployment=Deployment(series_name="a", build_id="b"))),
        """
            INVALID_ARGUMENT: only provide deployment if behavior is 'PINNED'
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
    """)


async def test_what_is_not_there(s: Scenario) -> None:
    wanted = priority(priority_key=2)
    await s.expect_refusal(
        update(s, "priority", **wanted),
        """
        NOT_FOUND: workflow not found for ID: wf
          NotFoundFailure
    """,
    )
    await s.start()
    await s.expect_refusal(
        update(s, "priority", workflow_execution=None, **wanted),
        """
        INVALID_ARGUMENT: WorkflowId is not set on request.
    """,
    )
    bad = WorkflowExecution(workflow_id=s.wf, run_id="nonsense")
    await s.expect_refusal(
        update(s, "priority", workflow_execution=bad, **wanted),
        """
        INVALID_ARGUMENT: RunId is not valid UUID.
    """,
    )
    absent = s.execution(run_id=ABSENT)
    await s.expect_refusal(
        update(s, "priority", workflow_execution=absent, **wanted),
        """
        NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
          NotFoundFailure
    """,
    )
    await s.expect_refusal(
        update(s, "priority", namespace="nowhere", **wanted),
        """
        NOT_FOUND: Namespace nowhere is not found.
          NamespaceNotFoundFailure namespace=nowhere
    """,
    )
    await s.terminate()
    await s.expect_refusal(
        update(s, "priority", **wanted),
        """
        NOT_FOUND: workflow execution already completed
          NotFoundFailure
    """,
    )


async def test_override_at_the_start_is_checked(s: Scenario) -> None:
    def pinned(**fields: Any) -> VersioningOverride:
        return VersioningOverride(pinned=Pinned(**fields))

    known = pinned(behavior=PINNED, version=VERSION)
    await s.expect_refusal(
        s.start(versioning_override=known),
        """
        FAILED_PRECONDITION: Pinned version 'dep:b1' is not present in task queue 'tq' of type 'Workflow'
    """,
    )
    await s.expect_refusal(
        s.start(versioning_override=pinned(behavior=PINNED)),
        """
        INVALID_ARGUMENT: must provide version if override is pinned.
    """,
    )
    await s.expect_refusal(
        s.start(versioning_override=VersioningOverride()),
        """
        INVALID_ARGUMENT: override behavior is required
    """,
    )
    await s.expect_refusal(
        s.start(versioning_override=VersioningOverride(auto_upgrade=False)),
        """
        INVALID_ARGUMENT: auto-upgrade override must be true
    """,
    )
    await s.expect_refusal(
        s.signal_with_start(versioning_override=known),
        """
        FAILED_PRECONDITION: Pinned version 'dep:b1' is not present in task queue 'tq' of type 'Workflow'
    """,
    )
    await s.expect_refusal(
        s.start(priority=Priority(priority_key=-1)),
        """
        INVALID_ARGUMENT: priority key can't be negative
    """,
    )
