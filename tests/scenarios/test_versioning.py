"""Workflows on versions of their workers: pinned, upgrading, moved by hand; and what the next runs and children have of it."""

import asyncio
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.enums.v1 import ContinueAsNewVersioningBehavior
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions

from . import commands as c
from .raw import Scenario
from .snapshots import expect
from .versions import AUTO_UPGRADE, PINNED, Deployment, expect_versioning


async def update_override(s: Scenario, override: VersioningOverride | None) -> Any:
    """Change a workflow's override."""
    options = WorkflowExecutionOptions()
    if override is not None:
        options.versioning_override.CopyFrom(override)
    return await s.service.update_workflow_execution_options(
        ws.UpdateWorkflowExecutionOptionsRequest(
            namespace=s.namespace,
            workflow_execution=s.execution(),
            workflow_execution_options=options,
            update_mask=FieldMask(paths=["versioning_override"]),
            identity="me",
        )
    )


async def test_pinned_stays_where_it_began(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    await s.start()
    await d.step("v1", c.activity("a", s.tq), behavior=PINNED)
    await d.set_current("v2")
    await s.complete_activity(await d.poll_activity("v1"), "done")
    await expect_versioning(
        s,
        """
            info behavior=PINNED version=dep.v1 deployment_version=dep:v1 revision_number=1
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v1"
            TemporalWorkflowVersioningBehavior="Pinned"
            TemporalUsedWorkerDeploymentVersions=["dep:v1"]
        """,
    )
    await d.step("v1", c.complete("done"), behavior=PINNED)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted versioning_behavior=PINNED worker_deployment_name=dep
              deployment_version=dep:v1
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        7 ActivityTaskCompleted result=['done'] scheduled_event_id=5 started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted target_worker_deployment_version_changed=true
        10 WorkflowTaskCompleted versioning_behavior=PINNED worker_deployment_name=dep
              deployment_version=dep:v1
        11 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=10
    """)


async def test_auto_upgrade_moves(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    await s.start()
    await d.step("v1")
    await expect_versioning(
        s,
        """
            info behavior=AUTO_UPGRADE version=dep.v1 deployment_version=dep:v1 revision_number=1
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v1"
            TemporalWorkflowVersioningBehavior="AutoUpgrade"
            TemporalUsedWorkerDeploymentVersions=["dep:v1"]
        """,
    )
    await d.set_current("v2")
    await s.signal("go")
    task = await d.poll("v2")
    await expect_versioning(
        s,
        """
            info behavior=AUTO_UPGRADE version=dep.v1 version_transition.version=dep.v2
                  version_transition.deployment_version=dep:v2 deployment_version=dep:v1 revision_number=2
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v1"
            TemporalWorkflowVersioningBehavior="AutoUpgrade"
            TemporalUsedWorkerDeploymentVersions=["dep:v1"]
        """,
    )
    await d.complete(task, "v2")
    await expect_versioning(
        s,
        """
            info behavior=AUTO_UPGRADE version=dep.v2 deployment_version=dep:v2 revision_number=2
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v2"
            TemporalWorkflowVersioningBehavior="AutoUpgrade"
            TemporalUsedWorkerDeploymentVersions=["dep:v1","dep:v2"]
        """,
    )
    await s.signal("end")
    await d.step("v2", c.complete("done"))
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v1
        5 WorkflowExecutionSignaled signal_name=go request_id=<id>
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v2
        9 WorkflowExecutionSignaled signal_name=end request_id=<id>
        10 WorkflowTaskScheduled
        11 WorkflowTaskStarted
        12 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v2
        13 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=12
    """)


async def test_unversioned_workflows_move_to_the_current_version_and_back(s: Scenario) -> None:
    d = Deployment(s)
    await s.start()
    await s.step()
    await d.register("v1")
    await d.set_current("v1")
    await s.signal("go")
    await d.step("v1")
    await expect_versioning(
        s,
        """
            info behavior=AUTO_UPGRADE version=dep.v1 deployment_version=dep:v1 revision_number=1
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v1"
            TemporalWorkflowVersioningBehavior="AutoUpgrade"
            TemporalUsedWorkerDeploymentVersions=["dep:v1"]
        """,
    )
    await d.set_current("")
    await s.signal("back")
    await s.step()
    await expect_versioning(
        s,
        """
        info
        TemporalUsedWorkerDeploymentVersions=["dep:v1"]
    """,
    )


async def test_a_backlog_goes_to_the_version_that_becomes_current(s: Scenario) -> None:
    d = Deployment(s)
    await s.start()
    await d.register("v1", "v2")
    await d.set_current("v1")
    await d.set_current("v2")
    await d.step("v2", c.complete("done"), behavior=PINNED)
    await s.closed()
    await expect_versioning(
        s,
        """
            info behavior=PINNED version=dep.v2 deployment_version=dep:v2 revision_number=2
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v2"
            TemporalWorkflowVersioningBehavior="Pinned"
            TemporalUsedWorkerDeploymentVersions=["dep:v2"]
        """,
    )


async def test_ramping(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    await d.set_ramping("v2", 100)
    await s.start()
    await d.step("v2")
    await d.set_ramping("v2", 0)
    await s.signal("back")
    await d.step("v1")
    await expect_versioning(
        s,
        """
            info behavior=AUTO_UPGRADE version=dep.v1 deployment_version=dep:v1 revision_number=3
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v1"
            TemporalWorkflowVersioningBehavior="AutoUpgrade"
            TemporalUsedWorkerDeploymentVersions=["dep:v2","dep:v1"]
        """,
    )


async def test_ramping_to_workers_without_a_version(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1")
    await d.set_current("v1")
    await d.set_ramping("", 100)
    await s.start()
    await s.step(c.complete("done"))
    await s.closed()


async def test_sticky(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    sticky = s.id("sticky")
    sticky_poll = asyncio.create_task(d.poll_sticky("v1", sticky))
    await s.start()
    await d.step("v1", sticky=sticky)
    await s.signal("one")
    await d.complete(await sticky_poll, "v1", sticky=sticky)
    await d.set_current("v2")
    await s.signal("two")
    await d.step("v2", c.complete("done"))
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v1
        5 WorkflowExecutionSignaled signal_name=one request_id=<id>
        6 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v1
        9 WorkflowExecutionSignaled signal_name=two request_id=<id>
        10 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
        11 WorkflowTaskStarted
        12 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v2
        13 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=12
    """)


async def test_an_activity_moves_its_workflow(s: Scenario) -> None:
    """A worker of the new version asks for an activity: the workflow moves first."""
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.register("v1", "v2", activities=True)
    await d.set_current("v1")
    await s.start()
    await d.step("v1", c.activity("a", s.tq))
    await d.set_current("v2")
    polled = asyncio.create_task(d.poll_activity("v2"))
    await d.step("v2")
    await s.complete_activity(await polled, "done")
    await d.step("v2", c.complete("done"))
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v1
        5 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v2
        9 ActivityTaskStarted scheduled_event_id=5 request_id=<id>
        10 ActivityTaskCompleted result=['done'] scheduled_event_id=5 started_event_id=9
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v2
        14 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=13
    """)


async def test_an_activity_on_a_queue_of_its_own(s: Scenario) -> None:
    d, other = Deployment(s), Deployment(s, "other")
    queue = s.id("queue")
    await d.register("v1")
    await other.register("w1", queue=queue, activities=True)
    await d.set_current("v1")
    await other.set_current("w1")
    await s.start()
    await d.step("v1", c.activity("a", queue), behavior=PINNED)
    await s.complete_activity(await other.poll_activity("w1", queue), "done")
    await d.step("v1", c.complete("done"), behavior=PINNED)
    await expect_versioning(
        s,
        """
            info behavior=PINNED version=dep.v1 deployment_version=dep:v1 revision_number=1
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v1"
            TemporalWorkflowVersioningBehavior="Pinned"
            TemporalUsedWorkerDeploymentVersions=["dep:v1"]
        """,
    )


async def test_pinned_by_the_start(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    await s.expect_refusal(
        s.start(versioning_override=d.pinned("v9")),
        """
        FAILED_PRECONDITION: Pinned version 'dep:v9' is not present in task queue 'tq' of type 'Workflow'
    """,
    )
    await s.start(versioning_override=d.pinned("v2"))
    await expect_versioning(
        s,
        """
            info versioning_override.behavior=PINNED versioning_override.pinned.behavior=PINNED
                  versioning_override.pinned.version=dep:v2
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v2"
            TemporalWorkflowVersioningBehavior="Pinned"
        """,
    )
    await d.step("v2")
    await expect_versioning(
        s,
        """
            info behavior=AUTO_UPGRADE versioning_override.behavior=PINNED
                  versioning_override.pinned.behavior=PINNED versioning_override.pinned.version=dep:v2
                  version=dep.v2 deployment_version=dep:v2
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v2"
            TemporalWorkflowVersioningBehavior="Pinned"
            TemporalUsedWorkerDeploymentVersions=["dep:v2"]
        """,
    )
    await s.signal("go")
    await d.step("v2", c.complete("done"))
    await s.expect_history("""
        1 WorkflowExecutionStarted versioning_override.pinned.behavior=PINNED
              versioning_override.pinned.version=dep:v2
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v2
        5 WorkflowExecutionSignaled signal_name=go request_id=<id>
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v2
        9 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=8
    """)


async def test_an_override_moves_a_workflow(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    await s.start()
    await d.step("v1")
    await s.signal("waits")
    s.expect_message(
        await update_override(s, d.pinned("v2")),
        """
            workflow_execution_options.versioning_override.pinned.behavior=PINNED
                  workflow_execution_options.versioning_override.pinned.version=dep:v2
        """,
    )
    await expect_versioning(
        s,
        """
            info behavior=AUTO_UPGRADE versioning_override.behavior=PINNED
                  versioning_override.pinned.behavior=PINNED versioning_override.pinned.version=dep:v2
                  version=dep.v1 deployment_version=dep:v1 revision_number=1
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v2"
            TemporalWorkflowVersioningBehavior="Pinned"
            TemporalUsedWorkerDeploymentVersions=["dep:v1"]
        """,
    )
    await d.step("v2")
    await expect_versioning(
        s,
        """
            info behavior=AUTO_UPGRADE versioning_override.behavior=PINNED
                  versioning_override.pinned.behavior=PINNED versioning_override.pinned.version=dep:v2
                  version=dep.v2 deployment_version=dep:v2 revision_number=1
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v2"
            TemporalWorkflowVersioningBehavior="Pinned"
            TemporalUsedWorkerDeploymentVersions=["dep:v1","dep:v2"]
        """,
    )
    await update_override(s, None)
    await expect_versioning(
        s,
        """
            info behavior=AUTO_UPGRADE version=dep.v2 deployment_version=dep:v2 revision_number=1
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v2"
            TemporalWorkflowVersioningBehavior="AutoUpgrade"
            TemporalUsedWorkerDeploymentVersions=["dep:v1","dep:v2"]
        """,
    )
    await s.signal("back")
    await d.step("v1", c.complete("done"))
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v1
        5 WorkflowExecutionSignaled signal_name=waits request_id=<id>
        6 WorkflowTaskScheduled
        7 WorkflowExecutionOptionsUpdated versioning_override.pinned.behavior=PINNED
              versioning_override.pinned.version=dep:v2 identity=me worker_may_ignore=true
        8 WorkflowTaskStarted scheduled_event_id=6
        9 WorkflowTaskCompleted scheduled_event_id=6 versioning_behavior=AUTO_UPGRADE
              worker_deployment_name=dep deployment_version=dep:v2
        10 WorkflowExecutionOptionsUpdated unset_versioning_override=true identity=me worker_may_ignore=true
        11 WorkflowExecutionSignaled signal_name=back request_id=<id>
        12 WorkflowTaskScheduled
        13 WorkflowTaskStarted
        14 WorkflowTaskCompleted versioning_behavior=AUTO_UPGRADE worker_deployment_name=dep
              deployment_version=dep:v1
        15 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=14
    """)


async def test_one_time_override(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    await s.start()
    await d.step("v1", behavior=PINNED)
    once = VersioningOverride.OneTimeOverride(target_deployment_version=d.version("v2"))
    await update_override(s, VersioningOverride(one_time=once))
    await expect_versioning(
        s,
        """
            info behavior=PINNED versioning_override.one_time.target_deployment_version=dep:v2 version=dep.v1
                  deployment_version=dep:v1 revision_number=1
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v2"
            TemporalWorkflowVersioningBehavior="Pinned"
            TemporalUsedWorkerDeploymentVersions=["dep:v1"]
        """,
    )
    await s.signal("go")
    await d.step("v2", behavior=PINNED)
    await expect_versioning(
        s,
        """
            info behavior=PINNED version=dep.v2 deployment_version=dep:v2 revision_number=1
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v2"
            TemporalWorkflowVersioningBehavior="Pinned"
            TemporalUsedWorkerDeploymentVersions=["dep:v1","dep:v2"]
        """,
    )


async def test_continue_as_new_inherits_a_pin(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    started = await s.start()
    await d.step("v1", behavior=PINNED)
    await d.set_current("v2")
    await s.signal("go")
    task = await d.step("v1", c.continue_as_new(), behavior=PINNED)
    expect(
        str(
            task.history.events[
                -1
            ].workflow_task_started_event_attributes.target_worker_deployment_version_changed
        ),
        """
            True
        """,
    )
    task = await d.poll("v1")
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1
                  initiator=WORKFLOW original_execution_run_id=run2 first_execution_run_id=run1
                  prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
                  create_time=<time> expire_time=<time> resettable=true build_id=v1}]
                  inherited_pinned_version=dep:v1 declined_target_version_upgrade.deployment_version=dep:v2
                  declined_target_version_upgrade.revision_number=2 identity=unset
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
        """,
    )
    await d.complete(task, "v1", behavior=PINNED)
    await expect_versioning(
        s,
        """
            info behavior=PINNED version=dep.v1 deployment_version=dep:v1
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v1"
            TemporalWorkflowVersioningBehavior="Pinned"
            TemporalUsedWorkerDeploymentVersions=["dep:v1"]
        """,
    )
    assert started.run_id != task.workflow_execution.run_id


async def test_continue_as_new_goes_to_the_ramping_version_on_demand(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    await d.set_ramping("v2", 0.001)  # next to nothing: chance must not send the first task there
    await s.start()
    await d.step("v1", behavior=PINNED)
    await s.signal("go")
    ramping = ContinueAsNewVersioningBehavior.CONTINUE_AS_NEW_VERSIONING_BEHAVIOR_USE_RAMPING_VERSION
    await d.step("v1", c.continue_as_new(initial_versioning_behavior=ramping), behavior=PINNED)
    task = await d.poll("v2")
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1
                  initiator=WORKFLOW original_execution_run_id=run2 first_execution_run_id=run1
                  prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
                  create_time=<time> expire_time=<time> resettable=true build_id=v1}]
                  inherited_auto_upgrade_info.source_deployment_version=dep:v1
                  inherited_auto_upgrade_info.source_deployment_revision_number=2
                  inherited_auto_upgrade_info.continue_as_new_initial_versioning_behavior=USE_RAMPING_VERSION
                  identity=unset
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
        """,
    )
    await d.complete(task, "v2", c.complete(), behavior=PINNED)


async def test_continue_as_new_upgrades_on_demand(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    await s.start()
    await d.step("v1", behavior=PINNED)
    await d.set_current("v2")
    await s.signal("go")
    upgrade = ContinueAsNewVersioningBehavior.CONTINUE_AS_NEW_VERSIONING_BEHAVIOR_AUTO_UPGRADE
    await d.step("v1", c.continue_as_new(initial_versioning_behavior=upgrade), behavior=PINNED)
    task = await d.poll("v2")
    s.expect_events(
        task.history.events,
        """
            1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1
                  initiator=WORKFLOW original_execution_run_id=run2 first_execution_run_id=run1
                  prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
                  create_time=<time> expire_time=<time> resettable=true build_id=v1}]
                  inherited_auto_upgrade_info.source_deployment_version=dep:v1
                  inherited_auto_upgrade_info.source_deployment_revision_number=1
                  inherited_auto_upgrade_info.continue_as_new_initial_versioning_behavior=AUTO_UPGRADE
                  identity=unset
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
        """,
    )
    await d.complete(task, "v2", behavior=PINNED)
    await expect_versioning(
        s,
        """
            info behavior=PINNED version=dep.v2 deployment_version=dep:v2 revision_number=2
                  continue_as_new_initial_versioning_behavior=AUTO_UPGRADE
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v2"
            TemporalWorkflowVersioningBehavior="Pinned"
            TemporalUsedWorkerDeploymentVersions=["dep:v2"]
        """,
    )


async def test_children_inherit(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    await s.start()
    child = s.id("child")
    await d.step("v1", c.child(child, s.tq), behavior=PINNED)
    await d.set_current("v2")
    tasks = [await d.poll("v1"), await d.poll("v1")]
    task = next(task for task in tasks if task.workflow_execution.workflow_id == child)
    s.expect_events(
        task.history.events[:1],
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=5 workflow_run_timeout=0s parent_workflow_namespace_id=run3
                  workflow_id=child root_workflow_execution.workflow_id=wf root_workflow_execution.run_id=run1
                  inherited_pinned_version=dep:v1 identity=unset
        """,
    )
    await d.complete(task, "v1", behavior=PINNED)
    await expect_versioning(
        s,
        """
            info behavior=PINNED version=dep.v1 deployment_version=dep:v1
            TemporalWorkerDeployment="dep"
            TemporalWorkerDeploymentVersion="dep:v1"
            TemporalWorkflowVersioningBehavior="Pinned"
            TemporalUsedWorkerDeploymentVersions=["dep:v1"]
        """,
        workflow_id=child,
    )


async def test_children_of_an_upgrading_parent(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1")
    await d.set_current("v1")
    await s.start()
    child = s.id("child")
    await d.step("v1", c.child(child, s.tq), behavior=AUTO_UPGRADE)
    tasks = [await d.poll("v1"), await d.poll("v1")]
    task = next(task for task in tasks if task.workflow_execution.workflow_id == child)
    s.expect_events(
        task.history.events[:1],
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=5 workflow_run_timeout=0s parent_workflow_namespace_id=run3
                  workflow_id=child root_workflow_execution.workflow_id=wf root_workflow_execution.run_id=run1
                  inherited_auto_upgrade_info.source_deployment_version=dep:v1
                  inherited_auto_upgrade_info.source_deployment_revision_number=1 identity=unset
        """,
    )


async def test_behavior_needs_a_version(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, versioning_behavior=PINNED),
        """
        INVALID_ARGUMENT: versioning behavior cannot be specified without deployment options being set with
              versioned mode
    """,
    )


async def test_queries_go_to_the_version(s: Scenario) -> None:
    d = Deployment(s)
    await d.register("v1", "v2")
    await d.set_current("v1")
    await s.start()
    await d.step("v1", behavior=PINNED)
    await d.set_current("v2")
    asked = asyncio.create_task(s.query())
    await s.answer_query(await d.poll("v1"), 42)
    s.expect_message(
        await asked,
        """
        query_result=[42]
    """,
    )
