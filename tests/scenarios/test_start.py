import re
import uuid

import pytest
import temporalio.api.enums.v1 as enums
from temporalio.api.common.v1 import Memo, WorkflowType
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import OnConflictOptions
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario
from .rendering import error, render
from .snapshots import expect, grouped

REUSE = enums.WorkflowIdReusePolicy
CONFLICT = enums.WorkflowIdConflictPolicy


async def test_reply_and_first_events(s: Scenario) -> None:
    reply = await s.start(input=c.payloads("in", 2), workflow_run_timeout=60, workflow_execution_timeout=90)
    s.expect_message(
        reply,
        """
            run_id=run1 started=true link.workflow_event.namespace=default link.workflow_event.workflow_id=wf
                  link.workflow_event.run_id=run1 link.workflow_event.event_ref.event_id=1
                  link.workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED status=RUNNING
                  first_execution_run_id=run1
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted input=['in', 2] workflow_execution_timeout=90s workflow_run_timeout=60s
              workflow_execution_expiration_time=<time>
        2 WorkflowTaskScheduled
    """)


async def test_all_options_are_in_the_started_event(s: Scenario) -> None:
    await s.start(
        input=c.payloads({"a": 1}),
        workflow_execution_timeout=300,
        workflow_run_timeout=200,
        workflow_task_timeout=7,
        retry_policy=c.retry(maximum_attempts=3),
        memo=Memo(fields={"m": c.payload("memo")}),
        user_metadata=UserMetadata(summary=c.payload("what it is"), details=c.payload("in detail")),
        identity="somebody",
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted input=[{'a': 1}] workflow_execution_timeout=300s workflow_run_timeout=200s
              workflow_task_timeout=7s identity=somebody retry_policy.initial_interval=1s
              retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=100s
              retry_policy.maximum_attempts=3 workflow_execution_expiration_time=<time> memo.fields={m:
              'memo'} user_metadata.summary='what it is' user_metadata.details='in detail'
        2 WorkflowTaskScheduled start_to_close_timeout=7s
    """)
    info = await s.describe()
    s.expect_message(
        info.execution_config,
        """
            task_queue=tq workflow_execution_timeout=300s workflow_run_timeout=200s
                  default_workflow_task_timeout=7s user_metadata.summary='what it is'
                  user_metadata.details='in detail'
        """,
    )
    s.expect_message(
        info.workflow_execution_info,
        """
            execution.workflow_id=wf execution.run_id=run1 type.name=demo start_time=<time> status=RUNNING
                  history_length=2 execution_time=<time> memo.fields={m: 'memo'} search_attributes={}
                  auto_reset_points={} task_queue=tq state_transition_count=<set> history_size_bytes=<set>
                  root_execution.workflow_id=wf root_execution.run_id=run1 first_run_id=run1
        """,
    )


async def test_timeouts_are_capped_by_the_execution_timeout(s: Scenario) -> None:
    await s.start(workflow_execution_timeout=5, workflow_run_timeout=50, workflow_task_timeout=30)
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_execution_timeout=5s workflow_run_timeout=5s
              workflow_task_timeout=5s workflow_execution_expiration_time=<time>
        2 WorkflowTaskScheduled start_to_close_timeout=5s
    """)
    s.expect_message(
        (await s.describe()).execution_config,
        """
            task_queue=tq workflow_execution_timeout=5s workflow_run_timeout=5s
                  default_workflow_task_timeout=5s
        """,
    )


async def test_workflow_task_timeout_above_the_maximum_is_cut(s: Scenario) -> None:
    await s.start(workflow_task_timeout=1000)
    s.expect_message(
        (await s.describe()).execution_config,
        """
            task_queue=tq default_workflow_task_timeout=120s
        """,
    )


async def test_same_request_id_gives_the_same_run(s: Scenario) -> None:
    request_id = str(uuid.uuid4())
    first = await s.start(request_id=request_id)
    second = await s.start(request_id=request_id)
    assert first.run_id == second.run_id
    s.expect_message(
        second,
        """
            run_id=run1 started=true link.workflow_event.namespace=default link.workflow_event.workflow_id=wf
                  link.workflow_event.run_id=run1 link.workflow_event.event_ref.event_id=1
                  link.workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED status=RUNNING
                  first_execution_run_id=run1
        """,
    )
    await s.step(c.complete())
    third = await s.start(request_id=request_id)
    assert third.run_id == first.run_id
    s.expect_message(
        third,
        """
            run_id=run1 started=true link.workflow_event.namespace=default link.workflow_event.workflow_id=wf
                  link.workflow_event.run_id=run1 link.workflow_event.event_ref.event_id=1
                  link.workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED status=COMPLETED
                  first_execution_run_id=run1
        """,
    )


async def test_second_start_is_refused_with_the_open_run(s: Scenario) -> None:
    request_id = str(uuid.uuid4())
    first = await s.start(request_id=request_id)
    try:
        await s.start()
    except RPCError as caught:
        detail = WorkflowExecutionAlreadyStartedFailure()
        caught.grpc_status.details[0].Unpack(detail)
        assert (detail.run_id, detail.start_request_id) == (first.run_id, request_id)
        expect(
            error(caught, s.names),
            """
                ALREADY_EXISTS: Workflow execution is already running. WorkflowId: wf, RunId: run1.
                  WorkflowExecutionAlreadyStartedFailure run_id=run1 first_execution_run_id=run1
            """,
        )
    else:
        raise AssertionError("the second start was accepted")


async def _outcome(s: Scenario, **fields: object) -> str:
    try:
        reply = await s.start(**fields)
    except RPCError as caught:
        return error(caught, s.names).replace("\n", " |")
    return render(reply, s.names)


async def test_policies_against_an_open_run(s: Scenario) -> None:
    outcomes = {}
    for reuse in REUSE.values():
        for conflict in CONFLICT.values():
            workflow_id = s.id(f"open{reuse}{conflict}")
            first = await s.start(workflow_id=workflow_id)
            policies = {"workflow_id_reuse_policy": reuse, "workflow_id_conflict_policy": conflict}
            outcome = await _outcome(s, workflow_id=workflow_id, **policies)
            first_run = s.names.clean(first.run_id)
            outcome = re.sub(rf"\b{first_run}\b", "FIRST", outcome).replace(s.names.clean(workflow_id), "ID")
            outcomes[_short(reuse, conflict)] = re.sub(r"\brun\d+", "NEW", outcome)
    expect(
        grouped(outcomes),
        """
            ALREADY_EXISTS: Workflow execution is already running. WorkflowId: ID, RunId: FIRST. |
                  WorkflowExecutionAlreadyStartedFailure run_id=FIRST first_execution_run_id=FIRST
              UNSPECIFIED UNSPECIFIED, UNSPECIFIED FAIL, ALLOW_DUPLICATE UNSPECIFIED, ALLOW_DUPLICATE FAIL,
                  ALLOW_DUPLICATE_FAILED_ONLY UNSPECIFIED, ALLOW_DUPLICATE_FAILED_ONLY FAIL, REJECT_DUPLICATE
                  UNSPECIFIED, REJECT_DUPLICATE FAIL
            run_id=FIRST link.workflow_event.namespace=default link.workflow_event.workflow_id=ID
                  link.workflow_event.run_id=FIRST link.workflow_event.event_ref.event_id=1
                  link.workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED status=RUNNING
                  first_execution_run_id=FIRST
              UNSPECIFIED USE_EXISTING, ALLOW_DUPLICATE USE_EXISTING, ALLOW_DUPLICATE_FAILED_ONLY
                  USE_EXISTING, REJECT_DUPLICATE USE_EXISTING
            run_id=NEW started=true link.workflow_event.namespace=default link.workflow_event.workflow_id=ID
                  link.workflow_event.run_id=NEW link.workflow_event.event_ref.event_id=1
                  link.workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED status=RUNNING
                  first_execution_run_id=NEW
              UNSPECIFIED TERMINATE_EXISTING, ALLOW_DUPLICATE TERMINATE_EXISTING, ALLOW_DUPLICATE_FAILED_ONLY
                  TERMINATE_EXISTING, TERMINATE_IF_RUNNING UNSPECIFIED
            INVALID_ARGUMENT: Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot
                  be used together with WorkflowIdConflictPolicy
                  WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
              REJECT_DUPLICATE TERMINATE_EXISTING
            INVALID_ARGUMENT: Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING
                  cannot be used together with a WorkflowIDConflictPolicy
              TERMINATE_IF_RUNNING FAIL, TERMINATE_IF_RUNNING USE_EXISTING, TERMINATE_IF_RUNNING
                  TERMINATE_EXISTING
        """,
    )


@pytest.mark.parametrize("status", ["completed", "failed", "canceled", "terminated", "timed out"])
async def test_policies_against_a_closed_run(s: Scenario, status: str) -> None:
    closing = {"completed": c.complete(), "failed": c.fail(), "canceled": c.cancel()}.get(status)
    policies = [(reuse, conflict) for reuse in REUSE.values() for conflict in CONFLICT.values()]
    first_runs = {}
    for reuse, conflict in policies:
        reply = await s.start(
            workflow_id=s.id(f"closed{reuse}{conflict}"),
            task_queue=TaskQueue(name=s.id(f"queue{reuse}{conflict}")),
            workflow_run_timeout=1 if status == "timed out" else 0,
        )
        first_runs[reuse, conflict] = s.names.clean(reply.run_id)
    outcomes = {}
    for reuse, conflict in policies:
        workflow_id = s.id(f"closed{reuse}{conflict}")
        if status == "timed out":
            await s.closed(workflow_id)
        elif status == "terminated":
            await s.terminate(workflow_id)
        else:
            if status == "canceled":
                await s.request_cancel(workflow_id)
            await s.complete(await s.poll(s.id(f"queue{reuse}{conflict}")), closing)
        fields = {"workflow_id_reuse_policy": reuse, "workflow_id_conflict_policy": conflict}
        outcome = await _outcome(s, workflow_id=workflow_id, **fields)
        outcome = re.sub(rf"\b{first_runs[reuse, conflict]}\b", "FIRST", outcome).replace(
            s.names.clean(workflow_id), "ID"
        )
        outcomes[_short(reuse, conflict)] = re.sub(r"\brun\d+", "NEW", outcome)
    if status == "completed":
        expect(
            grouped(outcomes),
            """
                run_id=NEW started=true link.workflow_event.namespace=default
                      link.workflow_event.workflow_id=ID link.workflow_event.run_id=NEW
                      link.workflow_event.event_ref.event_id=1
                      link.workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED status=RUNNING
                      first_execution_run_id=NEW
                  UNSPECIFIED UNSPECIFIED, UNSPECIFIED FAIL, UNSPECIFIED USE_EXISTING, UNSPECIFIED
                      TERMINATE_EXISTING, ALLOW_DUPLICATE UNSPECIFIED, ALLOW_DUPLICATE FAIL, ALLOW_DUPLICATE
                      USE_EXISTING, ALLOW_DUPLICATE TERMINATE_EXISTING, TERMINATE_IF_RUNNING UNSPECIFIED
                ALREADY_EXISTS: Workflow execution already finished successfully. WorkflowId: ID, RunId:
                      FIRST. Workflow Id reuse policy: allow duplicate workflow Id if last run failed. |
                      WorkflowExecutionAlreadyStartedFailure run_id=FIRST first_execution_run_id=FIRST
                  ALLOW_DUPLICATE_FAILED_ONLY UNSPECIFIED, ALLOW_DUPLICATE_FAILED_ONLY FAIL,
                      ALLOW_DUPLICATE_FAILED_ONLY USE_EXISTING, ALLOW_DUPLICATE_FAILED_ONLY TERMINATE_EXISTING
                ALREADY_EXISTS: Workflow execution already finished. WorkflowId: ID, RunId: FIRST. Workflow Id
                      reuse policy: reject duplicate workflow Id. | WorkflowExecutionAlreadyStartedFailure
                      run_id=FIRST first_execution_run_id=FIRST
                  REJECT_DUPLICATE UNSPECIFIED, REJECT_DUPLICATE FAIL, REJECT_DUPLICATE USE_EXISTING
                INVALID_ARGUMENT: Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
                      cannot be used together with WorkflowIdConflictPolicy
                      WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
                  REJECT_DUPLICATE TERMINATE_EXISTING
                INVALID_ARGUMENT: Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING
                      cannot be used together with a WorkflowIDConflictPolicy
                  TERMINATE_IF_RUNNING FAIL, TERMINATE_IF_RUNNING USE_EXISTING, TERMINATE_IF_RUNNING
                      TERMINATE_EXISTING
            """,
        )
    else:
        expect(
            grouped(outcomes),
            """
                run_id=NEW started=true link.workflow_event.namespace=default
                      link.workflow_event.workflow_id=ID link.workflow_event.run_id=NEW
                      link.workflow_event.event_ref.event_id=1
                      link.workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED status=RUNNING
                      first_execution_run_id=NEW
                  UNSPECIFIED UNSPECIFIED, UNSPECIFIED FAIL, UNSPECIFIED USE_EXISTING, UNSPECIFIED
                      TERMINATE_EXISTING, ALLOW_DUPLICATE UNSPECIFIED, ALLOW_DUPLICATE FAIL, ALLOW_DUPLICATE
                      USE_EXISTING, ALLOW_DUPLICATE TERMINATE_EXISTING, ALLOW_DUPLICATE_FAILED_ONLY
                      UNSPECIFIED, ALLOW_DUPLICATE_FAILED_ONLY FAIL, ALLOW_DUPLICATE_FAILED_ONLY USE_EXISTING,
                      ALLOW_DUPLICATE_FAILED_ONLY TERMINATE_EXISTING, TERMINATE_IF_RUNNING UNSPECIFIED
                ALREADY_EXISTS: Workflow execution already finished. WorkflowId: ID, RunId: FIRST. Workflow Id
                      reuse policy: reject duplicate workflow Id. | WorkflowExecutionAlreadyStartedFailure
                      run_id=FIRST first_execution_run_id=FIRST
                  REJECT_DUPLICATE UNSPECIFIED, REJECT_DUPLICATE FAIL, REJECT_DUPLICATE USE_EXISTING
                INVALID_ARGUMENT: Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
                      cannot be used together with WorkflowIdConflictPolicy
                      WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
                  REJECT_DUPLICATE TERMINATE_EXISTING
                INVALID_ARGUMENT: Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING
                      cannot be used together with a WorkflowIDConflictPolicy
                  TERMINATE_IF_RUNNING FAIL, TERMINATE_IF_RUNNING USE_EXISTING, TERMINATE_IF_RUNNING
                      TERMINATE_EXISTING
            """,
        )


def _short(reuse: int, conflict: int) -> str:
    return (
        REUSE.Name(reuse).removeprefix("WORKFLOW_ID_REUSE_POLICY_")
        + " "
        + CONFLICT.Name(conflict).removeprefix("WORKFLOW_ID_CONFLICT_POLICY_")
    )


async def test_terminate_existing_ends_the_open_run(s: Scenario) -> None:
    first = await s.start()
    second = await s.start(
        workflow_id_conflict_policy=CONFLICT.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
    )
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowExecutionTerminated reason="TerminateIfRunning WorkflowIdReusePolicy"
                  details=['terminated by new runID: run2'] identity=history-service
        """,
        run_id=first.run_id,
    )
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
        """,
        run_id=second.run_id,
    )


async def test_use_existing_attaches_the_request_id(s: Scenario) -> None:
    await s.start()
    request_id = str(uuid.uuid4())
    fields = {
        "workflow_id_conflict_policy": CONFLICT.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        "on_conflict_options": OnConflictOptions(attach_request_id=True),
        "request_id": request_id,
    }
    s.expect_message(
        await s.start(**fields),
        """
            run_id=run1 link.workflow_event.namespace=default link.workflow_event.workflow_id=wf
                  link.workflow_event.run_id=run1 link.workflow_event.request_id_ref.request_id=<id>
                  link.workflow_event.request_id_ref.event_type=WORKFLOW_EXECUTION_OPTIONS_UPDATED
                  status=RUNNING first_execution_run_id=run1
        """,
    )
    s.expect_message(
        await s.start(**fields),
        """
            run_id=run1 link.workflow_event.namespace=default link.workflow_event.workflow_id=wf
                  link.workflow_event.run_id=run1 link.workflow_event.request_id_ref.request_id=<id>
                  link.workflow_event.request_id_ref.event_type=WORKFLOW_EXECUTION_OPTIONS_UPDATED
                  status=RUNNING first_execution_run_id=run1
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionOptionsUpdated attached_request_id=run2 identity=unset worker_may_ignore=true
    """)
    infos = (await s.describe()).workflow_extended_info.request_id_infos
    assert request_id in infos
    s.expect_message(
        infos[request_id],
        """
        event_type=WORKFLOW_EXECUTION_OPTIONS_UPDATED event_id=3
    """,
    )


async def test_start_delay(s: Scenario) -> None:
    await s.start(workflow_start_delay=c.seconds(1))
    await s.expect_history("""
        1 WorkflowExecutionStarted first_workflow_task_backoff=up to 1s
    """)
    s.expect_message(
        (await s.describe()).workflow_execution_info,
        """
            execution.workflow_id=wf execution.run_id=run1 type.name=demo start_time=<time> status=RUNNING
                  history_length=1 execution_time=<time> memo={} search_attributes={} auto_reset_points={}
                  task_queue=tq state_transition_count=<set> history_size_bytes=<set>
                  root_execution.workflow_id=wf root_execution.run_id=run1 first_run_id=run1
        """,
        hide=["execution_duration"],
    )
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted first_workflow_task_backoff=up to 1s
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionCompleted workflow_task_completed_event_id=4
    """)


async def test_signal_does_not_wake_a_delayed_start(s: Scenario) -> None:
    await s.start(workflow_start_delay=c.seconds(60))
    await s.signal()
    await s.expect_history("""
        1 WorkflowExecutionStarted first_workflow_task_backoff=60s
        2 WorkflowExecutionSignaled signal_name=sig request_id=<id>
    """)


async def test_signal_is_kept_for_the_end_of_the_delay(s: Scenario) -> None:
    await s.start(workflow_start_delay=c.seconds(1))
    await s.signal()
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted first_workflow_task_backoff=up to 1s
        2 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        3 WorkflowTaskScheduled
        4 WorkflowTaskStarted
        5 WorkflowTaskCompleted
        6 WorkflowExecutionCompleted workflow_task_completed_event_id=5
    """)


async def test_signal_with_start_during_a_delay(s: Scenario) -> None:
    await s.signal_with_start(workflow_start_delay=c.seconds(60))
    await s.expect_history("""
        1 WorkflowExecutionStarted first_workflow_task_backoff=60s
        2 WorkflowExecutionSignaled signal_name=sig request_id=<id>
    """)


async def test_cancel_during_a_delay_wakes_the_workflow(s: Scenario) -> None:
    await s.start(workflow_start_delay=c.seconds(60))
    await s.request_cancel()
    await s.step(c.cancel())
    await s.expect_history("""
        1 WorkflowExecutionStarted first_workflow_task_backoff=60s
        2 WorkflowExecutionCancelRequested
        3 WorkflowTaskScheduled
        4 WorkflowTaskStarted
        5 WorkflowTaskCompleted
        6 WorkflowExecutionCanceled workflow_task_completed_event_id=5
    """)


async def test_start_delay_with_cron_is_refused(s: Scenario) -> None:
    await s.expect_refusal(
        s.start(workflow_start_delay=c.seconds(1), cron_schedule="@every 1s"),
        """
            INVALID_ARGUMENT: CronSchedule and WorkflowStartDelay may not be used together.
        """,
    )


async def test_run_timeout(s: Scenario) -> None:
    await s.start(workflow_run_timeout=1)
    await s.closed()
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=1s workflow_task_timeout=1s
        2 WorkflowTaskScheduled start_to_close_timeout=1s
        3 WorkflowExecutionTimedOut retry_state=RETRY_POLICY_NOT_SET
    """)


async def test_execution_timeout(s: Scenario) -> None:
    await s.start(workflow_execution_timeout=1)
    task = await s.poll()
    await s.closed()
    await s.expect_refusal(
        s.complete(task),
        """
            NOT_FOUND: Workflow task not found.
              NotFoundFailure
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_execution_timeout=1s workflow_run_timeout=1s
              workflow_task_timeout=1s workflow_execution_expiration_time=<time>
        2 WorkflowTaskScheduled start_to_close_timeout=1s
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=FORCE_CLOSE_COMMAND identity=history-service
        5 WorkflowExecutionTimedOut retry_state=TIMEOUT
    """)


async def test_invalid_requests(s: Scenario) -> None:
    cases = {
        "no namespace": {"namespace": ""},
        "no workflow id": {"workflow_id": ""},
        "long workflow id": {"workflow_id": "w" * 1001},
        "no type": {"workflow_type": None},
        "long type": {"workflow_type": WorkflowType(name="t" * 1001)},
        "no queue": {"task_queue": None},
        "empty queue": {"task_queue": TaskQueue()},
        "long queue": {"task_queue": TaskQueue(name="q" * 1001)},
        "reserved queue": {"task_queue": TaskQueue(name="/_sys/q")},
        "long request id": {"request_id": "r" * 1001},
        "long identity": {"identity": "i" * 1001},
        "negative run timeout": {"workflow_run_timeout": -1},
        "negative execution timeout": {"workflow_execution_timeout": -1},
        "negative task timeout": {"workflow_task_timeout": -1},
        "negative delay": {"workflow_start_delay": c.seconds(-1)},
        "bad cron": {"cron_schedule": "every day"},
        "bad retry": {"retry_policy": c.retry(initial=-1)},
        "bad coefficient": {"retry_policy": c.retry(backoff_coefficient=0.5)},
        "maximum below initial": {"retry_policy": c.retry(initial=10, maximum=1)},
        "negative attempts": {"retry_policy": c.retry(maximum_attempts=-1)},
        "bad policies": {
            "workflow_id_reuse_policy": REUSE.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING,
            "workflow_id_conflict_policy": CONFLICT.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
        },
        "reject with terminate existing": {
            "workflow_id_reuse_policy": REUSE.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
            "workflow_id_conflict_policy": CONFLICT.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
        },
        "unknown namespace": {"namespace": "nowhere"},
    }
    lines = [
        f"{name}: {await _outcome(s, **({'workflow_id': s.id(name)} | fields))}"
        for name, fields in cases.items()
    ]
    expect(
        "\n".join(lines),
        """
            no namespace: INVALID_ARGUMENT: Namespace is empty.
            no workflow id: INVALID_ARGUMENT: WorkflowId is not set on request.
            long workflow id: INVALID_ARGUMENT: WorkflowId exceeds maximum allowed length (1001/1000)
            no type: INVALID_ARGUMENT: WorkflowType is not set on request.
            long type: INVALID_ARGUMENT: WorkflowType length exceeds limit.
            no queue: INVALID_ARGUMENT: taskQueue is not set
            empty queue: INVALID_ARGUMENT: missing task queue name
            long queue: INVALID_ARGUMENT: taskQueue length exceeds limit
            reserved queue: INVALID_ARGUMENT: task queue name cannot start with reserved prefix /_sys/
            long request id: INVALID_ARGUMENT: RequestId length exceeds limit.
            long identity: run_id=run1 started=true link.workflow_event.namespace=default
                  link.workflow_event.workflow_id="long identity" link.workflow_event.run_id=run1
                  link.workflow_event.event_ref.event_id=1
                  link.workflow_event.event_ref.event_type=WORKFLOW_EXECUTION_STARTED status=RUNNING
                  first_execution_run_id=run1
            negative run timeout: INVALID_ARGUMENT: An invalid WorkflowRunTimeoutSeconds is set on request.
                  cause: negative duration
            negative execution timeout: INVALID_ARGUMENT: An invalid WorkflowExecutionTimeoutSeconds is set on
                  request. cause: negative duration
            negative task timeout: INVALID_ARGUMENT: An invalid WorkflowTaskTimeoutSeconds is set on request.
                  cause: negative duration
            negative delay: INVALID_ARGUMENT: An invalid WorkflowStartDelaySeconds is set on request. cause:
                  negative duration
            bad cron: INVALID_ARGUMENT: invalid CronSchedule.
            bad retry: INVALID_ARGUMENT: invalid InitialInterval set on retry policy: negative duration
            bad coefficient: INVALID_ARGUMENT: BackoffCoefficient cannot be less than 1 on retry policy.
            maximum below initial: INVALID_ARGUMENT: MaximumInterval cannot be less than InitialInterval on
                  retry policy.
            negative attempts: INVALID_ARGUMENT: MaximumAttempts cannot be negative on retry policy.
            bad policies: INVALID_ARGUMENT: Invalid WorkflowIDReusePolicy:
                  WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with a
                  WorkflowIDConflictPolicy
            reject with terminate existing: INVALID_ARGUMENT: Invalid WorkflowIDReusePolicy:
                  WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with
                  WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
            unknown namespace: NOT_FOUND: Namespace nowhere is not found. | NamespaceNotFoundFailure
                  namespace=nowhere
        """,
    )


async def test_empty_request_id_is_allowed(s: Scenario) -> None:
    assert (await s.start(request_id="")).run_id


async def test_signal_with_start(s: Scenario) -> None:
    first = await s.signal_with_start(signal_input=c.payloads(1), input=c.payloads("in"))
    s.expect_message(
        first,
        """
            run_id=run1 started=true signal_link.workflow_event.namespace=default
                  signal_link.workflow_event.workflow_id=wf signal_link.workflow_event.run_id=run1
                  signal_link.workflow_event.request_id_ref.request_id=<id>
                  signal_link.workflow_event.request_id_ref.event_type=WORKFLOW_EXECUTION_SIGNALED
                  first_execution_run_id=run1
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted input=['in']
        2 WorkflowExecutionSignaled signal_name=sig input=[1] request_id=<id>
        3 WorkflowTaskScheduled
    """)
    second = await s.signal_with_start(signal_input=c.payloads(2))
    s.expect_message(
        second,
        """
            run_id=run1 signal_link.workflow_event.namespace=default signal_link.workflow_event.workflow_id=wf
                  signal_link.workflow_event.run_id=run1
                  signal_link.workflow_event.request_id_ref.request_id=<id>
                  signal_link.workflow_event.request_id_ref.event_type=WORKFLOW_EXECUTION_SIGNALED
                  first_execution_run_id=run1
        """,
    )
    assert second.run_id == first.run_id
    await s.step(c.complete())
    third = await s.signal_with_start()
    assert third.run_id != first.run_id


async def test_signal_with_start_request_id_is_deduplicated(s: Scenario) -> None:
    request_id = str(uuid.uuid4())
    first = await s.signal_with_start(request_id=request_id)
    second = await s.signal_with_start(request_id=request_id)
    assert first.run_id == second.run_id
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        3 WorkflowTaskScheduled
    """)


async def test_signal_with_start_policies(s: Scenario) -> None:
    lines = []
    for name, fields in {
        "open, terminate existing": {
            "workflow_id_conflict_policy": CONFLICT.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
        },
        "open, fail": {"workflow_id_conflict_policy": CONFLICT.WORKFLOW_ID_CONFLICT_POLICY_FAIL},
        "open, terminate if running": {
            "workflow_id_reuse_policy": REUSE.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING
        },
        "open, reject duplicate": {
            "workflow_id_reuse_policy": REUSE.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
        },
        "closed, reject duplicate": {
            "workflow_id_reuse_policy": REUSE.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
        },
    }.items():
        first = await s.start(workflow_id=s.id(name))
        if name.startswith("closed"):
            await s.terminate(s.id(name))
        try:
            reply = await s.signal_with_start(workflow_id=s.id(name), **fields)
            lines.append(
                f"{name}: {'same run' if reply.run_id == first.run_id else 'new run'}, started={reply.started}"
            )
        except RPCError as caught:
            lines.append(f"{name}: {error(caught, s.names)}")
    expect(
        "\n".join(lines),
        """
            open, terminate existing: new run, started=True
            open, fail: INVALID_ARGUMENT: Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL
                  is not supported for this operation.
            open, terminate if running: new run, started=True
            open, reject duplicate: same run, started=False
            closed, reject duplicate: ALREADY_EXISTS: Workflow execution already finished. WorkflowId: closed,
                  reject duplicate, RunId: run1. Workflow Id reuse policy: reject duplicate workflow Id.
              WorkflowExecutionAlreadyStartedFailure run_id=run1 first_execution_run_id=run1
        """,
    )


async def test_signal_with_start_of_invalid_requests(s: Scenario) -> None:
    lines = []
    for name, fields in {
        "no signal name": {"signal_name": ""},
        "long signal name": {"signal_name": "s" * 1001},
        "no workflow id": {"workflow_id": ""},
        "unknown namespace": {"namespace": "nowhere"},
    }.items():
        try:
            await s.signal_with_start(**fields)
        except RPCError as caught:
            lines.append(f"{name}: {error(caught, s.names)}")
    expect(
        "\n".join(lines),
        """
            no signal name: INVALID_ARGUMENT: signal not set
            long signal name: INVALID_ARGUMENT: signal name exceeds maximum allowed length (1001/1000)
            no workflow id: INVALID_ARGUMENT: WorkflowId is not set on request.
            unknown namespace: NOT_FOUND: Namespace nowhere is not found.
              NamespaceNotFoundFailure namespace=nowhere
        """,
    )
