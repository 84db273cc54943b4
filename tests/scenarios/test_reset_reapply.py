"""What comes again in a run that was reset: signals, updates, options, and what children did."""

import asyncio
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import Priority
from temporalio.api.enums.v1 import ResetReapplyExcludeType, ResetReapplyType
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Acceptance, Meta, Rejection, Request
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionOptionsRequest

from . import commands as c
from .raw import Scenario
from .resets import completed_tasks, newest, reset
from .snapshots import expect
from .updates import ADMITTED, accept, at, brought, message, polled, respond, sent, told

_X = ResetReapplyExcludeType
_SIGNAL = _X.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL
_UPDATE = _X.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE
_NEXUS = _X.RESET_REAPPLY_EXCLUDE_TYPE_NEXUS
_CANCEL = _X.RESET_REAPPLY_EXCLUDE_TYPE_CANCEL_REQUEST


async def updated(s: Scenario, update_id: str) -> None:
    """An update that a worker accepts and completes."""
    update = sent(s, update_id)
    task = await s.poll()
    a, r = accept(task, update_id), respond(update_id)
    await s.complete(task, at(a), at(r), messages=[a, r])
    await update


def accept_admitted(update_id: str, event_id: int) -> Message:
    """The worker accepts an update that an event told it of."""
    return message(
        update_id,
        "accept",
        Acceptance(
            accepted_request_message_id=f"{update_id}/request", accepted_request_sequencing_event_id=event_id
        ),
    )


def reject_admitted(update_id: str, event_id: int) -> Message:
    """The worker rejects such an update."""
    return message(
        update_id,
        "reject",
        Rejection(
            rejected_request_message_id=f"{update_id}/request",
            rejected_request_sequencing_event_id=event_id,
            rejected_request=Request(meta=Meta(update_id=update_id)),
            failure=c.failure("no"),
        ),
    )


CASES: dict[str, dict[str, Any]] = {
    "signals": {"reset_reapply_type": ResetReapplyType.RESET_REAPPLY_TYPE_SIGNAL},
    "none": {"reset_reapply_type": ResetReapplyType.RESET_REAPPLY_TYPE_NONE},
    "all": {"reset_reapply_type": ResetReapplyType.RESET_REAPPLY_TYPE_ALL_ELIGIBLE},
    "no signals": {"reset_reapply_exclude_types": [_SIGNAL]},
    "no updates": {"reset_reapply_exclude_types": [_UPDATE]},
    "no cancel requests": {"reset_reapply_exclude_types": [_CANCEL]},
    "no signals, all the same": {
        "reset_reapply_type": ResetReapplyType.RESET_REAPPLY_TYPE_SIGNAL,
        "reset_reapply_exclude_types": [_SIGNAL],
    },
    "nothing": {"reset_reapply_exclude_types": [_SIGNAL, _UPDATE, _NEXUS, _CANCEL]},
}


async def test_kinds(s: Scenario) -> None:
    queue, lines = s.tq, []
    for case, wanted in CASES.items():
        s.wf, s.tq = s.id(case), f"{queue}-{case}"
        await s.start()
        await s.step(c.timer("t", 600))
        await updated(s, "u1")
        await s.signal("one")
        await s.request_cancel(reason="c")
        await s.service.update_workflow_execution_options(
            UpdateWorkflowExecutionOptionsRequest(
                namespace=s.namespace,
                workflow_execution=s.execution(),
                workflow_execution_options=WorkflowExecutionOptions(priority=Priority(priority_key=3)),
                update_mask=FieldMask(paths=["priority"]),
                identity="someone",
            )
        )
        await reset(s, 4, **wanted)
        came_again = [line.split()[1] for line in s.history_lines(await s.history())[4:-1]]
        lines.append(f"{case}: {', '.join(came_again) or '-'}")
    expect(
        "\n".join(lines),
        """
        signals: WorkflowExecutionSignaled, WorkflowExecutionOptionsUpdated
        none: WorkflowExecutionOptionsUpdated
        all: WorkflowExecutionUpdateAdmitted, WorkflowExecutionSignaled, WorkflowExecutionOptionsUpdated
        no signals: WorkflowExecutionUpdateAdmitted, WorkflowExecutionOptionsUpdated
        no updates: WorkflowExecutionSignaled, WorkflowExecutionOptionsUpdated
        no cancel requests: WorkflowExecutionUpdateAdmitted, WorkflowExecutionSignaled,
              WorkflowExecutionOptionsUpdated
        no signals, all the same: WorkflowExecutionOptionsUpdated
        nothing: -
    """,
    )


async def test_along_the_chain(s: Scenario) -> None:
    await s.start()
    first = await newest(s)
    await s.step(c.timer("t", 600))
    await s.signal("one")
    await s.step(c.continue_as_new())
    await asyncio.sleep(1.2)
    await s.signal("two")
    await s.step(c.continue_as_new())
    await asyncio.sleep(1.2)
    await s.signal("three")
    await s.poll()
    await s.signal("four")
    made = await reset(s, 4, run_id=first)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run2
            5 WorkflowExecutionSignaled signal_name=one request_id=<id>
            6 WorkflowExecutionSignaled signal_name=two request_id=<id>
            7 WorkflowExecutionSignaled signal_name=three request_id=<id>
            8 WorkflowExecutionSignaled signal_name=four request_id=<id>
            9 WorkflowTaskScheduled
        """,
        run_id=made,
    )


async def test_updates(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    for update_id in ("u1", "u2", "u3"):
        await updated(s, update_id)
    await reset(s, 4)
    expect(
        await told(s, polled(s, "u1", stage=ADMITTED)),
        """
        ADMITTED
    """,
    )
    waiting = [
        asyncio.create_task(told(s, polled(s, "u1"))),
        asyncio.create_task(told(s, sent(s, "u2"))),
        asyncio.create_task(told(s, sent(s, "u3"))),
    ]
    await asyncio.sleep(0.5)
    task = await s.poll()
    expect(
        brought(s, task),
        """
        7 WorkflowExecutionUpdateAdmitted request.meta.update_id=u3 request.meta.identity=caller
              request.input.name=change request.input.args=['argument'] origin=REAPPLY
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
    """,
    )
    a, r = accept_admitted("u1", 7), respond("u1", "again")
    await s.complete(task, at(a), at(r), messages=[a, r, reject_admitted("u2", 7)])
    expect(
        "\n".join([await each for each in waiting]),
        """
        COMPLETED: ['"again"']
        COMPLETED: failed: no (Boom, )
        COMPLETED: failed: Workflow Update is rejected because it wasn't processed by worker. Probably,
              Workflow Update is not supported by the worker. (UnprocessedUpdate, Server)
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why failure.reset_workflow_failure_info={}
              identity=history-service base_run_id=run1 new_run_id=run2
        5 WorkflowExecutionUpdateAdmitted request.meta.update_id=u1 request.meta.identity=caller
              request.input.name=change request.input.args=['argument'] origin=REAPPLY
        6 WorkflowExecutionUpdateAdmitted request.meta.update_id=u2 request.meta.identity=caller
              request.input.name=change request.input.args=['argument'] origin=REAPPLY
        7 WorkflowExecutionUpdateAdmitted request.meta.update_id=u3 request.meta.identity=caller
              request.input.name=change request.input.args=['argument'] origin=REAPPLY
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 WorkflowExecutionUpdateAccepted protocol_instance_id=u1 accepted_request_message_id=u1/request
              accepted_request_sequencing_event_id=7
        12 WorkflowExecutionUpdateCompleted meta.update_id=u1 outcome.success=['again'] accepted_event_id=11
    """)
    expect(
        await told(s, polled(s, "u1")),
        """
        COMPLETED: ['"again"']
    """,
    )


async def test_updates_on_their_way(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    accepted = sent(s, "u1")
    task = await s.poll()
    a = accept(task, "u1")
    await s.complete(task, at(a), messages=[a])
    made = await reset(s, 4)
    expect(
        await told(s, accepted),
        """
        COMPLETED: failed: Workflow Update failed because the Workflow completed before the Update completed.
              (AcceptedUpdateCompletedWorkflow, Server)
    """,
    )
    await s.expect_history(
        """
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why failure.reset_workflow_failure_info={}
              identity=history-service base_run_id=run1 new_run_id=run2
        5 WorkflowExecutionUpdateAdmitted request.meta.update_id=u1 request.meta.identity=caller
              request.input.name=change request.input.args=['argument'] origin=REAPPLY
        6 WorkflowTaskScheduled
    """,
        run_id=made,
    )
    again = await reset(s, 4)
    await s.expect_history(
        """
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why failure.reset_workflow_failure_info={}
              identity=history-service base_run_id=run2 new_run_id=run3
        5 WorkflowExecutionUpdateAdmitted request.meta.update_id=u1 request.meta.identity=caller
              request.input.name=change request.input.args=['argument'] origin=REAPPLY
        6 WorkflowTaskScheduled
    """,
        run_id=again,
    )


async def test_children(s: Scenario) -> None:
    queue = s.id("cq")
    s.started += [s.id("c1"), s.id("c2"), s.id("c3")]
    await s.start()
    await s.step(c.child(s.id("c1"), queue))
    first = await s.poll(queue)
    await s.step(c.child(s.id("c2"), queue))
    second = await s.poll(queue)
    await s.step(c.child(s.id("c3"), queue, parent_close_policy=1))
    await s.complete(second, c.complete("two"))
    await s.poll()
    base = await newest(s)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=c1 workflow_type.name=demo
                  task_queue=cq workflow_run_timeout=0s workflow_task_timeout=10s
                  parent_close_policy=TERMINATE workflow_task_completed_event_id=4
                  workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
            6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
                  workflow_execution.workflow_id=c1 workflow_execution.run_id=run2 workflow_type.name=demo
                  namespace_id=<id>
            7 WorkflowTaskScheduled
            8 WorkflowTaskStarted
            9 WorkflowTaskCompleted
            10 StartChildWorkflowExecutionInitiated namespace=default workflow_id=c2 workflow_type.name=demo
                  task_queue=cq workflow_run_timeout=0s workflow_task_timeout=10s
                  parent_close_policy=TERMINATE workflow_task_completed_event_id=9
                  workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
            11 ChildWorkflowExecutionStarted namespace=default initiated_event_id=10
                  workflow_execution.workflow_id=c2 workflow_execution.run_id=run3 workflow_type.name=demo
                  namespace_id=<id>
            12 WorkflowTaskScheduled
            13 WorkflowTaskStarted
            14 WorkflowTaskCompleted
            15 StartChildWorkflowExecutionInitiated namespace=default workflow_id=c3 workflow_type.name=demo
                  task_queue=cq workflow_run_timeout=0s workflow_task_timeout=10s
                  parent_close_policy=TERMINATE workflow_task_completed_event_id=14
                  workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
            16 ChildWorkflowExecutionStarted namespace=default initiated_event_id=15
                  workflow_execution.workflow_id=c3 workflow_execution.run_id=run4 workflow_type.name=demo
                  namespace_id=<id>
            17 WorkflowTaskScheduled
            18 ChildWorkflowExecutionCompleted result=['two'] namespace=default
                  workflow_execution.workflow_id=c2 workflow_execution.run_id=run3 workflow_type.name=demo
                  initiated_event_id=10 started_event_id=11 namespace_id=<id>
            19 WorkflowTaskStarted scheduled_event_id=17
        """,
        run_id=base,
    )
    made = await reset(s, (await completed_tasks(s, base))[2])
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=c1 workflow_type.name=demo
                  task_queue=cq workflow_run_timeout=0s workflow_task_timeout=10s
                  parent_close_policy=TERMINATE workflow_task_completed_event_id=4
                  workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
            6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
                  workflow_execution.workflow_id=c1 workflow_execution.run_id=run2 workflow_type.name=demo
                  namespace_id=<id>
            7 WorkflowTaskScheduled
            8 WorkflowTaskStarted
            9 WorkflowTaskCompleted
            10 StartChildWorkflowExecutionInitiated namespace=default workflow_id=c2 workflow_type.name=demo
                  task_queue=cq workflow_run_timeout=0s workflow_task_timeout=10s
                  parent_close_policy=TERMINATE workflow_task_completed_event_id=9
                  workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
            11 ChildWorkflowExecutionStarted namespace=default initiated_event_id=10
                  workflow_execution.workflow_id=c2 workflow_execution.run_id=run3 workflow_type.name=demo
                  namespace_id=<id>
            12 WorkflowTaskScheduled
            13 WorkflowTaskStarted
            14 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run5
            15 ChildWorkflowExecutionCompleted result=['two'] namespace=default
                  workflow_execution.workflow_id=c2 workflow_execution.run_id=run3 workflow_type.name=demo
                  initiated_event_id=10 started_event_id=11 namespace_id=<id>
            16 WorkflowTaskScheduled
        """,
        run_id=made,
    )
    # The child that was wanted before the reset point goes on, and tells the new run of its end.
    described = await s.describe()
    expect(
        s.names.clean(" ".join(child.workflow_id for child in described.pending_children)),
        """
        c1
    """,
    )
    await s.step(c.child(s.id("c3"), queue))
    await s.poll()
    await s.complete(first, c.complete("one"))
    await asyncio.sleep(0.5)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=c1 workflow_type.name=demo
                  task_queue=cq workflow_run_timeout=0s workflow_task_timeout=10s
                  parent_close_policy=TERMINATE workflow_task_completed_event_id=4
                  workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
            6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
                  workflow_execution.workflow_id=c1 workflow_execution.run_id=run2 workflow_type.name=demo
                  namespace_id=<id>
            7 WorkflowTaskScheduled
            8 WorkflowTaskStarted
            9 WorkflowTaskCompleted
            10 StartChildWorkflowExecutionInitiated namespace=default workflow_id=c2 workflow_type.name=demo
                  task_queue=cq workflow_run_timeout=0s workflow_task_timeout=10s
                  parent_close_policy=TERMINATE workflow_task_completed_event_id=9
                  workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
            11 ChildWorkflowExecutionStarted namespace=default initiated_event_id=10
                  workflow_execution.workflow_id=c2 workflow_execution.run_id=run3 workflow_type.name=demo
                  namespace_id=<id>
            12 WorkflowTaskScheduled
            13 WorkflowTaskStarted
            14 WorkflowTaskFailed cause=RESET_WORKFLOW failure.message=why
                  failure.reset_workflow_failure_info={} identity=history-service base_run_id=run1
                  new_run_id=run5
            15 ChildWorkflowExecutionCompleted result=['two'] namespace=default
                  workflow_execution.workflow_id=c2 workflow_execution.run_id=run3 workflow_type.name=demo
                  initiated_event_id=10 started_event_id=11 namespace_id=<id>
            16 WorkflowTaskScheduled
            17 WorkflowTaskStarted
            18 WorkflowTaskCompleted
            19 StartChildWorkflowExecutionInitiated namespace=default workflow_id=c3 workflow_type.name=demo
                  task_queue=cq workflow_run_timeout=0s workflow_task_timeout=10s
                  parent_close_policy=TERMINATE workflow_task_completed_event_id=18
                  workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
            20 StartChildWorkflowExecutionFailed namespace=default workflow_id=c3 workflow_type.name=demo
                  cause=WORKFLOW_ALREADY_EXISTS initiated_event_id=19 namespace_id=<id>
            21 WorkflowTaskScheduled
            22 WorkflowTaskStarted
        """,
        run_id=made,
    )


async def test_child_that_is_reset(s: Scenario) -> None:
    queue = s.id("cq")
    s.started.append(s.id("c1"))
    await s.start()
    await s.step(c.child(s.id("c1"), queue))
    await s.complete(await s.poll(queue), c.timer("t", 600))
    await s.step()
    made = await reset(s, 4, workflow_id=s.id("c1"))
    await asyncio.sleep(0.5)
    task = await s.poll(queue)
    assert task.workflow_execution.run_id == made
    await s.complete(task, c.complete("again"))
    await s.poll()
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=c1 workflow_type.name=demo
              task_queue=cq workflow_run_timeout=0s workflow_task_timeout=10s parent_close_policy=TERMINATE
              workflow_task_completed_event_id=4 workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=c1 workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 ChildWorkflowExecutionCompleted result=['again'] namespace=default
              workflow_execution.workflow_id=c1 workflow_execution.run_id=run3 workflow_type.name=demo
              initiated_event_id=5 started_event_id=6 namespace_id=<id>
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
    """)
