"""Update-with-start: one call that starts a workflow unless it runs, and updates it."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.workflowservice import v1 as ws
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario
from .rendering import error
from .snapshots import expect
from .updates import ACCEPTED, accept, at, brought, reject, respond, told, update_request

FAIL = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL
USE_EXISTING = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
TERMINATE = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
REJECT_DUPLICATE = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
Operation = ws.ExecuteMultiOperationRequest.Operation


def both(
    s: Scenario, update_id: str = "u", *, update: dict[str, Any] | None = None, **start: Any
) -> "asyncio.Task[ws.ExecuteMultiOperationResponse]":
    """The call on its way; a conflict uses the run that is there."""
    start = {"workflow_id_conflict_policy": USE_EXISTING} | start
    request = ws.ExecuteMultiOperationRequest(
        namespace=s.namespace,
        operations=[
            Operation(start_workflow=s.start_request(**start)),
            Operation(update_workflow=update_request(s, update_id, **(update or {}))),
        ],
    )
    return asyncio.create_task(
        s.service.execute_multi_operation(request, timeout=timedelta(seconds=15))  # type: ignore[arg-type]
    )


async def answer(s: Scenario, call: "asyncio.Task[ws.ExecuteMultiOperationResponse]") -> str:
    """What the caller is told of both operations."""
    try:
        reply = await call
    except RPCError as caught:
        return error(caught, s.names)
    started = reply.responses[0].start_workflow

    async def update() -> ws.UpdateWorkflowExecutionResponse:
        return reply.responses[1].update_workflow

    return f"started={started.started} status={started.status}\n{await told(s, update())}"


async def test_starts_and_updates(s: Scenario) -> None:
    call = both(s)
    task = await s.poll()
    expect(
        brought(s, task),
        """
        u/request of u at 2
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
    """,
    )
    a, r = accept(task), respond()
    await s.complete(task, at(a), at(r), c.complete("done"), messages=[a, r])
    expect(
        await answer(s, call),
        """
        started=True status=1
        COMPLETED: ['"changed"']
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionUpdateAccepted protocol_instance_id=u accepted_request_message_id=u/request
              accepted_request_sequencing_event_id=2 accepted_request.meta.update_id=u
              accepted_request.meta.identity=caller accepted_request.input.name=change
              accepted_request.input.args=['argument']
        6 WorkflowExecutionUpdateCompleted meta.update_id=u outcome.success=['changed'] accepted_event_id=5
        7 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=4
    """)
    # The same update again, of the closed run: its outcome, and no new run.
    expect(
        await answer(s, both(s)),
        """
        started=False status=2
        COMPLETED: ['"changed"']
    """,
    )


async def test_updates_the_run_that_is_there(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    call = both(s, update={"stage": ACCEPTED})
    task = await s.poll()
    a = accept(task)
    await s.complete(task, at(a), messages=[a])
    expect(
        await answer(s, call),
        """
        started=False status=1
        ACCEPTED
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 WorkflowExecutionUpdateAccepted protocol_instance_id=u accepted_request_message_id=u/request
              accepted_request_sequencing_event_id=6 accepted_request.meta.update_id=u
              accepted_request.meta.identity=caller accepted_request.input.name=change
              accepted_request.input.args=['argument']
    """)


async def test_a_new_run_after_a_closed_one(s: Scenario) -> None:
    await s.start()
    await s.step(c.complete("first"))
    call = both(s)
    task = await s.poll()
    a, r = accept(task), respond()
    await s.complete(task, at(a), at(r), messages=[a, r])
    expect(
        await answer(s, call),
        """
        started=True status=1
        COMPLETED: ['"changed"']
    """,
    )


async def test_a_rejection(s: Scenario) -> None:
    call = both(s)
    task = await s.poll()
    await s.complete(task, c.timer("t", 600), messages=[reject(task)])
    expect(
        await answer(s, call),
        """
        started=True status=1
        COMPLETED: failed: no (Boom, )
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
    """)


async def test_conflicts(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    expect(
        await answer(s, both(s, workflow_id_conflict_policy=FAIL)),
        """
        ALREADY_EXISTS: Update-with-Start could not be executed.
          MultiOperationExecutionFailure statuses=[{code=6 message="Workflow execution is already running.
              WorkflowId: wf, RunId: run1."
              details=[{type_url=type.googleapis.com/temporal.api.errordetails.v1.WorkflowExecutionAlreadyStartedFailure
              value=<114 bytes>}]}, {code=10 message="Operation was aborted."
              details=[{type_url=type.googleapis.com/temporal.api.failure.v1.MultiOperationExecutionAborted}]}]
    """,
    )
    call = both(s, workflow_id_conflict_policy=TERMINATE)
    task = await s.poll()
    a, r = accept(task), respond()
    await s.complete(task, at(a), at(r), c.complete(), messages=[a, r])
    expect(
        await answer(s, call),
        """
        started=True status=1
        COMPLETED: ['"changed"']
    """,
    )
    expect(
        await answer(s, both(s, "other", workflow_id_reuse_policy=REJECT_DUPLICATE)),
        """
        ALREADY_EXISTS: Update-with-Start could not be executed.
          MultiOperationExecutionFailure statuses=[{code=6 message="Workflow execution already finished.
              WorkflowId: wf, RunId: run2. Workflow Id reuse policy: reject duplicate workflow Id."
              details=[{type_url=type.googleapis.com/temporal.api.errordetails.v1.WorkflowExecutionAlreadyStartedFailure
              value=<114 bytes>}]}, {code=10 message="Operation was aborted."
              details=[{type_url=type.googleapis.com/temporal.api.failure.v1.MultiOperationExecutionAborted}]}]
    """,
    )


async def test_closed_before_it_reached_a_worker(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600))
    call = both(s)
    await asyncio.sleep(0.3)
    await s.terminate()
    task = await s.poll()
    expect(
        brought(s, task),
        """
        u/request of u at 2
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
    """,
    )
    a, r = accept(task), respond()
    await s.complete(task, at(a), at(r), messages=[a, r])
    expect(
        await answer(s, call),
        """
        started=True status=1
        COMPLETED: ['"changed"']
    """,
    )


async def test_faults(s: Scenario) -> None:
    async def refused(*operations: Operation) -> str:
        request = ws.ExecuteMultiOperationRequest(namespace=s.namespace, operations=operations)
        try:
            await s.service.execute_multi_operation(request)
        except RPCError as caught:
            return error(caught, s.names)
        return "accepted"

    def start(**fields: Any) -> Operation:
        return Operation(start_workflow=s.start_request(**fields))

    def update(**fields: Any) -> Operation:
        return Operation(update_workflow=update_request(s, **fields))

    cases = {
        "nothing": (),
        "only a start": (start(),),
        "two starts": (start(), start()),
        "the other order": (update(), start()),
        "cron": (start(cron_schedule="* * * * *"), update()),
        "eager": (start(request_eager_execution=True), update()),
        "delay": (start(workflow_start_delay=c.seconds(1)), update()),
        "first run": (start(), update(first_execution_run_id="5d5d5d5d-5d5d-5d5d-5d5d-5d5d5d5d5d5d")),
        "run": (start(), update(run_id="5d5d5d5d-5d5d-5d5d-5d5d-5d5d5d5d5d5d")),
        "another workflow": (start(), update(workflow_id=s.id("other"))),
        "no type": (start(workflow_type=None), update(request=None)),
    }
    lines = [f"{name}: {await refused(*operations)}" for name, operations in cases.items()]
    expect(
        "\n".join(lines),
        """
        nothing: INVALID_ARGUMENT: Operations have to be exactly [Start, Update].
        only a start: INVALID_ARGUMENT: Operations have to be exactly [Start, Update].
        two starts: INVALID_ARGUMENT: Operations have to be exactly [Start, Update].
        the other order: INVALID_ARGUMENT: Operations have to be exactly [Start, Update].
        cron: INVALID_ARGUMENT: Update-with-Start could not be executed.
          MultiOperationExecutionFailure statuses=[{code=3 message="CronSchedule is not allowed."}, {code=10
              message="Operation was aborted."
              details=[{type_url=type.googleapis.com/temporal.api.failure.v1.MultiOperationExecutionAborted}]}]
        eager: INVALID_ARGUMENT: Update-with-Start could not be executed.
          MultiOperationExecutionFailure statuses=[{code=3 message="RequestEagerExecution is not supported."},
              {code=10 message="Operation was aborted."
              details=[{type_url=type.googleapis.com/temporal.api.failure.v1.MultiOperationExecutionAborted}]}]
        delay: INVALID_ARGUMENT: Update-with-Start could not be executed.
          MultiOperationExecutionFailure statuses=[{code=3 message="WorkflowStartDelay is not supported."},
              {code=10 message="Operation was aborted."
              details=[{type_url=type.googleapis.com/temporal.api.failure.v1.MultiOperationExecutionAborted}]}]
        first run: INVALID_ARGUMENT: Update-with-Start could not be executed.
          MultiOperationExecutionFailure statuses=[{code=10 message="Operation was aborted."
              details=[{type_url=type.googleapis.com/temporal.api.failure.v1.MultiOperationExecutionAborted}]},
              {code=3 message="FirstExecutionRunId is not allowed."}]
        run: INVALID_ARGUMENT: Update-with-Start could not be executed.
          MultiOperationExecutionFailure statuses=[{code=10 message="Operation was aborted."
              details=[{type_url=type.googleapis.com/temporal.api.failure.v1.MultiOperationExecutionAborted}]},
              {code=3 message="RunId is not allowed."}]
        another workflow: INVALID_ARGUMENT: Update-with-Start could not be executed.
          MultiOperationExecutionFailure statuses=[{code=10 message="Operation was aborted."
              details=[{type_url=type.googleapis.com/temporal.api.failure.v1.MultiOperationExecutionAborted}]},
              {code=3 message="WorkflowId is not consistent with previous operation(s)."}]
        no type: INVALID_ARGUMENT: Update-with-Start could not be executed.
          MultiOperationExecutionFailure statuses=[{code=3 message="WorkflowType is not set on request."},
              {code=3 message="Update meta is not set on request."}]
    """,
    )
