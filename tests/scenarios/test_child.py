import asyncio

import temporalio.api.enums.v1 as enums
from temporalio.api.common.v1 import Memo
from temporalio.api.enums.v1 import ParentClosePolicy

from . import commands as c
from .raw import Scenario


async def _parent_with_child(s: Scenario, **fields: object) -> str:
    """A parent whose child has started; the child's queue is `child-tq`."""
    await s.start()
    child = s.id("child")
    s.started.append(child)
    await s.step(c.child(child, s.id("child-tq"), **fields))
    await s.step()
    return child


async def test_completes(s: Scenario) -> None:
    child = await _parent_with_child(s, input=c.payloads("in"), memo=Memo(fields={"m": c.payload(1)}))
    s.expect_message(
        (await s.describe()).pending_children[0],
        """
            workflow_id=child run_id=run1 workflow_type_name=demo initiated_id=5 parent_close_policy=TERMINATE
        """,
    )
    await s.complete(await s.poll(s.id("child-tq")), c.complete("out"))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq input=['in'] workflow_run_timeout=0s workflow_task_timeout=10s
              parent_close_policy=TERMINATE workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE memo.fields={m: 1} namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=child workflow_execution.run_id=run1 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 ChildWorkflowExecutionCompleted result=['out'] namespace=default
              workflow_execution.workflow_id=child workflow_execution.run_id=run1 workflow_type.name=demo
              initiated_event_id=5 started_event_id=6 namespace_id=<id>
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
    """)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run2
                  parent_initiated_event_id=5 task_queue=child-tq input=['in'] workflow_run_timeout=0s
                  memo.fields={m: 1} parent_workflow_namespace_id=run3 workflow_id=child
                  root_workflow_execution.workflow_id=wf root_workflow_execution.run_id=run2 identity=unset
            2 WorkflowTaskScheduled task_queue=child-tq
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionCompleted result=['out'] workflow_task_completed_event_id=4
        """,
        workflow_id=child,
    )
    s.expect_message(
        (await s.describe(child)).workflow_execution_info,
        """
            execution.workflow_id=child execution.run_id=run1 type.name=demo start_time=<time>
                  close_time=<time> status=COMPLETED history_length=5 parent_namespace_id=run3
                  parent_execution.workflow_id=wf parent_execution.run_id=run2 execution_time=<time>
                  memo.fields={m: 1} search_attributes.indexed_fields={BuildIds: ['unversioned']{type:
                  KeywordList}} auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
                  create_time=<time> resettable=true}] task_queue=child-tq state_transition_count=<set>
                  history_size_bytes=<set> root_execution.workflow_id=wf root_execution.run_id=run2
                  first_run_id=run1
        """,
        hide=["execution_duration"],
    )


async def test_fails(s: Scenario) -> None:
    await _parent_with_child(s)
    await s.complete(await s.poll(s.id("child-tq")), c.fail())
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq workflow_run_timeout=0s workflow_task_timeout=10s
              parent_close_policy=TERMINATE workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 ChildWorkflowExecutionFailed failure.message=boom failure.application_failure_info.type=Boom
              namespace=default workflow_execution.workflow_id=child workflow_execution.run_id=run2
              workflow_type.name=demo initiated_event_id=5 started_event_id=6 retry_state=RETRY_POLICY_NOT_SET
              namespace_id=<id>
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
    """)


async def test_is_cancelled_by_the_parent(s: Scenario) -> None:
    child = await _parent_with_child(s)
    await s.signal()
    await s.step(c.cancel_external(child, child_workflow_only=True))
    await s.step()
    task = await s.poll(s.id("child-tq"))
    await s.complete(task, c.cancel("tidy"))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq workflow_run_timeout=0s workflow_task_timeout=10s
              parent_close_policy=TERMINATE workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 RequestCancelExternalWorkflowExecutionInitiated workflow_task_completed_event_id=13
              workflow_execution.workflow_id=child child_workflow_only=true namespace_id=<id>
        15 ExternalWorkflowExecutionCancelRequested initiated_event_id=14 namespace=default
              workflow_execution.workflow_id=child namespace_id=<id>
        16 WorkflowTaskScheduled
        17 WorkflowTaskStarted
        18 WorkflowTaskCompleted
        19 ChildWorkflowExecutionCanceled details=['tidy'] namespace=default
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              initiated_event_id=5 started_event_id=6 namespace_id=<id>
        20 WorkflowTaskScheduled
        21 WorkflowTaskStarted
        22 WorkflowTaskCompleted
        23 WorkflowExecutionCompleted workflow_task_completed_event_id=22
    """)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=5 task_queue=child-tq workflow_run_timeout=0s
                  parent_workflow_namespace_id=run3 workflow_id=child root_workflow_execution.workflow_id=wf
                  root_workflow_execution.run_id=run1 identity=unset
            2 WorkflowTaskScheduled task_queue=child-tq
            3 WorkflowExecutionCancelRequested external_initiated_event_id=14
                  external_workflow_execution.workflow_id=wf external_workflow_execution.run_id=run1
                  identity=history-service
            4 WorkflowTaskStarted scheduled_event_id=2
            5 WorkflowTaskCompleted scheduled_event_id=2
            6 WorkflowExecutionCanceled workflow_task_completed_event_id=5 details=['tidy']
        """,
        workflow_id=child,
    )


async def test_is_terminated(s: Scenario) -> None:
    child = await _parent_with_child(s)
    await s.terminate(child, reason="because")
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq workflow_run_timeout=0s workflow_task_timeout=10s
              parent_close_policy=TERMINATE workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 ChildWorkflowExecutionTerminated namespace=default workflow_execution.workflow_id=child
              workflow_execution.run_id=run2 workflow_type.name=demo initiated_event_id=5 started_event_id=6
              namespace_id=<id>
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
    """)


async def test_times_out(s: Scenario) -> None:
    await _parent_with_child(s, workflow_run_timeout=1)
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq workflow_run_timeout=1s workflow_task_timeout=1s
              parent_close_policy=TERMINATE workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 ChildWorkflowExecutionTimedOut namespace=default workflow_execution.workflow_id=child
              workflow_execution.run_id=run2 workflow_type.name=demo initiated_event_id=5 started_event_id=6
              retry_state=RETRY_POLICY_NOT_SET namespace_id=<id>
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
    """)


async def test_continues_as_new_and_completes(s: Scenario) -> None:
    child = await _parent_with_child(s)
    await s.complete(await s.poll(s.id("child-tq")), c.continue_as_new(queue=s.id("child-tq")))
    await s.complete(await s.poll(s.id("child-tq")), c.complete("from the second run"))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq workflow_run_timeout=0s workflow_task_timeout=10s
              parent_close_policy=TERMINATE workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 ChildWorkflowExecutionCompleted result=['from the second run'] namespace=default
              workflow_execution.workflow_id=child workflow_execution.run_id=run3 workflow_type.name=demo
              initiated_event_id=5 started_event_id=6 namespace_id=<id>
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
    """)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=5 task_queue=child-tq workflow_run_timeout=0s
                  continued_execution_run_id=run2 initiator=WORKFLOW original_execution_run_id=run3
                  first_execution_run_id=run2 prev_auto_reset_points.points=[{run_id=run2
                  first_workflow_task_completed_id=4 create_time=<time> expire_time=<time> resettable=true}]
                  parent_workflow_namespace_id=run4 workflow_id=child root_workflow_execution.workflow_id=wf
                  root_workflow_execution.run_id=run1 identity=unset
            2 WorkflowTaskScheduled task_queue=child-tq
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionCompleted result=['from the second run'] workflow_task_completed_event_id=4
        """,
        workflow_id=child,
    )


async def test_is_retried_by_its_own_policy(s: Scenario) -> None:
    await _parent_with_child(s, retry_policy=c.retry(initial=0.1, maximum_attempts=2))
    await s.complete(await s.poll(s.id("child-tq")), c.fail())
    await s.complete(await s.poll(s.id("child-tq")), c.fail())
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq workflow_run_timeout=0s workflow_task_timeout=10s
              parent_close_policy=TERMINATE workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE retry_policy.initial_interval=0.1s
              retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=10s
              retry_policy.maximum_attempts=2 namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 ChildWorkflowExecutionFailed failure.message=boom failure.application_failure_info.type=Boom
              namespace=default workflow_execution.workflow_id=child workflow_execution.run_id=run3
              workflow_type.name=demo initiated_event_id=5 started_event_id=6
              retry_state=MAXIMUM_ATTEMPTS_REACHED namespace_id=<id>
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
    """)


async def test_already_running(s: Scenario) -> None:
    child = s.id("child")
    await s.start(workflow_id=child)
    await s.poll()
    await s.start()
    await s.step(c.child(child, s.tq))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              workflow_run_timeout=0s workflow_task_timeout=10s parent_close_policy=TERMINATE
              workflow_task_completed_event_id=4 workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 StartChildWorkflowExecutionFailed namespace=default workflow_id=child workflow_type.name=demo
              cause=WORKFLOW_ALREADY_EXISTS initiated_event_id=5 namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_already_finished_with_reject_duplicate(s: Scenario) -> None:
    child = s.id("child")
    await s.start(workflow_id=child)
    await s.terminate(child)
    await s.start()
    policy = enums.WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    await s.step(c.child(child, s.tq, workflow_id_reuse_policy=policy))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              workflow_run_timeout=0s workflow_task_timeout=10s parent_close_policy=TERMINATE
              workflow_task_completed_event_id=4 workflow_id_reuse_policy=REJECT_DUPLICATE namespace_id=<id>
        6 StartChildWorkflowExecutionFailed namespace=default workflow_id=child workflow_type.name=demo
              cause=WORKFLOW_ALREADY_EXISTS initiated_event_id=5 namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_two_with_one_id_in_one_turn(s: Scenario) -> None:
    await s.start()
    child = s.id("child")
    s.started.append(child)
    queue = s.id("child-tq")
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, c.child(child, queue), c.child(child, queue)),
        """
            accepted
        """,
    )


async def test_cancel_before_its_start_is_known(s: Scenario) -> None:
    await s.start()
    child = s.id("child")
    s.started.append(child)
    task = await s.poll()
    await s.expect_refusal(
        s.complete(
            task, c.child(child, s.id("child-tq")), c.cancel_external(child, child_workflow_only=True)
        ),
        """
            INVALID_ARGUMENT: BadRequestCancelExternalWorkflowExecutionAttributes: Start and RequestCancel for
                  child workflow is not allowed in same workflow task. WorkflowId=child RunId= Namespace=
        """,
    )


async def test_options_are_passed_on(s: Scenario) -> None:
    child = await _parent_with_child(
        s,
        workflow_execution_timeout=100,
        workflow_run_timeout=50,
        workflow_task_timeout=5,
        retry_policy=c.retry(maximum_attempts=2),
        cron_schedule="0 0 1 1 *",
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq workflow_execution_timeout=100s workflow_run_timeout=50s
              workflow_task_timeout=5s parent_close_policy=TERMINATE workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE retry_policy.initial_interval=1s
              retry_policy.backoff_coefficient=2.0 retry_policy.maximum_interval=100s
              retry_policy.maximum_attempts=2 cron_schedule="0 0 1 1 *" namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
    """)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=5 task_queue=child-tq workflow_execution_timeout=100s
                  workflow_run_timeout=50s workflow_task_timeout=5s initiator=CRON_SCHEDULE
                  retry_policy.initial_interval=1s retry_policy.backoff_coefficient=2.0
                  retry_policy.maximum_interval=100s retry_policy.maximum_attempts=2
                  workflow_execution_expiration_time=<time> cron_schedule="0 0 1 1 *"
                  first_workflow_task_backoff=long parent_workflow_namespace_id=run3 workflow_id=child
                  root_workflow_execution.workflow_id=wf root_workflow_execution.run_id=run1 identity=unset
        """,
        workflow_id=child,
    )


async def test_default_queue_and_timeouts_come_from_the_parent(s: Scenario) -> None:
    await s.start(workflow_run_timeout=60, workflow_task_timeout=6)
    child = s.id("child")
    s.started.append(child)
    await s.step(c.child(child, ""))
    await s.poll()
    await s.poll()
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=60s workflow_task_timeout=6s
        2 WorkflowTaskScheduled start_to_close_timeout=6s
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              workflow_run_timeout=0s workflow_task_timeout=10s parent_close_policy=TERMINATE
              workflow_task_completed_event_id=4 workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled start_to_close_timeout=6s
        8 WorkflowTaskStarted
    """)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=5 workflow_run_timeout=0s parent_workflow_namespace_id=run3
                  workflow_id=child root_workflow_execution.workflow_id=wf root_workflow_execution.run_id=run1
                  identity=unset
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
        """,
        workflow_id=child,
    )


async def _close_policy(s: Scenario, policy: "enums.ParentClosePolicy.ValueType") -> str:
    child = await _parent_with_child(s, parent_close_policy=policy)
    await s.complete(await s.poll(s.id("child-tq")))
    await s.signal()
    await s.step(c.complete())
    return child


async def test_parent_close_policy_terminate(s: Scenario) -> None:
    child = await _close_policy(s, ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE)
    await s.closed(child)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=5 task_queue=child-tq workflow_run_timeout=0s
                  parent_workflow_namespace_id=run3 workflow_id=child root_workflow_execution.workflow_id=wf
                  root_workflow_execution.run_id=run1 identity=unset
            2 WorkflowTaskScheduled task_queue=child-tq
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionTerminated reason="by parent close policy" identity=history-service
        """,
        workflow_id=child,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq workflow_run_timeout=0s workflow_task_timeout=10s
              parent_close_policy=TERMINATE workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 WorkflowExecutionCompleted workflow_task_completed_event_id=13
    """)


async def test_parent_close_policy_request_cancel(s: Scenario) -> None:
    child = await _close_policy(s, ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL)
    await s.complete(await s.poll(s.id("child-tq")), c.cancel())
    await s.expect_history(
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=5 task_queue=child-tq workflow_run_timeout=0s
                  parent_workflow_namespace_id=run3 workflow_id=child root_workflow_execution.workflow_id=wf
                  root_workflow_execution.run_id=run1 identity=unset
            2 WorkflowTaskScheduled task_queue=child-tq
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionCancelRequested external_workflow_execution.workflow_id=wf
                  external_workflow_execution.run_id=run1 identity=history-service
            6 WorkflowTaskScheduled task_queue=child-tq
            7 WorkflowTaskStarted
            8 WorkflowTaskCompleted
            9 WorkflowExecutionCanceled workflow_task_completed_event_id=8
        """,
        workflow_id=child,
    )


async def test_parent_close_policy_abandon(s: Scenario) -> None:
    child = await _close_policy(s, ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON)
    await s.signal(workflow_id=child)
    await s.complete(await s.poll(s.id("child-tq")), c.complete("alone"))
    await s.expect_history(
        """
            1 WorkflowExecutionStarted parent_workflow_namespace=default
                  parent_workflow_execution.workflow_id=wf parent_workflow_execution.run_id=run1
                  parent_initiated_event_id=5 task_queue=child-tq workflow_run_timeout=0s
                  parent_workflow_namespace_id=run3 workflow_id=child root_workflow_execution.workflow_id=wf
                  root_workflow_execution.run_id=run1 identity=unset
            2 WorkflowTaskScheduled task_queue=child-tq
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionSignaled signal_name=sig request_id=<id>
            6 WorkflowTaskScheduled task_queue=child-tq
            7 WorkflowTaskStarted
            8 WorkflowTaskCompleted
            9 WorkflowExecutionCompleted result=['alone'] workflow_task_completed_event_id=8
        """,
        workflow_id=child,
    )


async def test_parent_close_policy_defaults_to_terminate(s: Scenario) -> None:
    child = await _close_policy(s, ParentClosePolicy.PARENT_CLOSE_POLICY_UNSPECIFIED)
    s.expect_events(
        [await s.closed(child)],
        """
            5 WorkflowExecutionTerminated reason="by parent close policy" identity=history-service
        """,
    )


async def test_parent_close_policy_when_the_parent_is_terminated(s: Scenario) -> None:
    child = await _parent_with_child(s)
    await s.terminate()
    s.expect_events(
        [await s.closed(child)],
        """
            3 WorkflowExecutionTerminated reason="by parent close policy" identity=history-service
        """,
    )


async def test_policy_is_applied_when_the_parent_continues_as_new(s: Scenario) -> None:
    child = await _parent_with_child(s)
    await s.signal()
    await s.step(c.continue_as_new())
    s.expect_events(
        [await s.closed(child)],
        """
            3 WorkflowExecutionTerminated reason="by parent close policy" identity=history-service
        """,
    )
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1 initiator=WORKFLOW
              original_execution_run_id=run2 first_execution_run_id=run1
              prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
              create_time=<time> expire_time=<time> resettable=true}] identity=unset
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionCompleted workflow_task_completed_event_id=4
    """)


async def test_abandoned_child_of_a_parent_that_continues_as_new_reports_to_nobody(s: Scenario) -> None:
    child = await _parent_with_child(s, parent_close_policy=ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON)
    await s.signal()
    await s.step(c.continue_as_new())
    await s.complete(await s.poll(s.id("child-tq")), c.complete("to nobody"))
    await s.closed(child)
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1 initiator=WORKFLOW
              original_execution_run_id=run2 first_execution_run_id=run1
              prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
              create_time=<time> expire_time=<time> resettable=true}] identity=unset
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionCompleted workflow_task_completed_event_id=4
    """)


async def test_child_commanded_in_the_turn_that_closes_the_parent_never_starts(s: Scenario) -> None:
    await s.start()
    child = s.id("child")
    policy = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON
    await s.step(c.child(child, s.id("child-tq"), parent_close_policy=policy), c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq workflow_run_timeout=0s workflow_task_timeout=10s
              parent_close_policy=ABANDON workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 WorkflowExecutionCompleted workflow_task_completed_event_id=4
    """)
    await s.expect_refusal(
        s.describe(child),
        """
            NOT_FOUND: workflow not found for ID: child
              NotFoundFailure
        """,
    )


async def test_child_completion_while_the_parents_task_is_started(s: Scenario) -> None:
    await _parent_with_child(s)
    await s.signal("one")
    held = await s.poll()
    child_task = await s.poll(s.id("child-tq"))
    await s.complete(child_task, c.complete("buffered"))
    await s.signal("two")
    await s.closed(s.id("child"))
    while (await s.describe()).pending_children:
        await asyncio.sleep(0.02)
    await s.complete(held)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq workflow_run_timeout=0s workflow_task_timeout=10s
              parent_close_policy=TERMINATE workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id>
        6 ChildWorkflowExecutionStarted namespace=default initiated_event_id=5
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionSignaled signal_name=one request_id=<id>
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
        14 WorkflowExecutionSignaled signal_name=two request_id=<id>
        15 ChildWorkflowExecutionCompleted result=['buffered'] namespace=default
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              initiated_event_id=5 started_event_id=6 namespace_id=<id>
        16 WorkflowTaskScheduled
    """)
