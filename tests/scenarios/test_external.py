import uuid

from . import commands as c
from .raw import Scenario


async def _sender_and_target(s: Scenario) -> str:
    target = s.id("target")
    await s.start(workflow_id=target, task_queue={"name": s.id("target-tq")})
    await s.start()
    return target


async def test_signal(s: Scenario) -> None:
    target = await _sender_and_target(s)
    await s.step(c.signal_external(target, "hello", input=c.payloads(1), control="ctl"))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 SignalExternalWorkflowExecutionInitiated workflow_task_completed_event_id=4
              workflow_execution.workflow_id=target signal_name=hello input=[1] control=ctl namespace_id=<id>
        6 ExternalWorkflowExecutionSignaled initiated_event_id=5 namespace=default
              workflow_execution.workflow_id=target control=ctl namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted task_queue=target-tq workflow_id=target
            2 WorkflowTaskScheduled task_queue=target-tq
            3 WorkflowExecutionSignaled signal_name=hello input=[1] identity=history-service
                  external_workflow_execution.workflow_id=wf external_workflow_execution.run_id=run1
                  request_id=<id>
        """,
        workflow_id=target,
    )


async def test_signal_of_a_missing_workflow(s: Scenario) -> None:
    await s.start()
    await s.step(c.signal_external(s.id("missing")))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 SignalExternalWorkflowExecutionInitiated workflow_task_completed_event_id=4
              workflow_execution.workflow_id=missing signal_name=sig namespace_id=<id>
        6 SignalExternalWorkflowExecutionFailed cause=EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND namespace=default
              workflow_execution.workflow_id=missing initiated_event_id=5 namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_signal_of_a_closed_workflow(s: Scenario) -> None:
    target = await _sender_and_target(s)
    await s.terminate(target)
    await s.step(c.signal_external(target))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 SignalExternalWorkflowExecutionInitiated workflow_task_completed_event_id=4
              workflow_execution.workflow_id=target signal_name=sig namespace_id=<id>
        6 SignalExternalWorkflowExecutionFailed cause=EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND namespace=default
              workflow_execution.workflow_id=target initiated_event_id=5 namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_signal_of_another_run(s: Scenario) -> None:
    target = await _sender_and_target(s)
    await s.step(c.signal_external(target, run_id=str(uuid.uuid4())))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 SignalExternalWorkflowExecutionInitiated workflow_task_completed_event_id=4
              workflow_execution.workflow_id=target workflow_execution.run_id=run2 signal_name=sig
              namespace_id=<id>
        6 SignalExternalWorkflowExecutionFailed cause=EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND namespace=default
              workflow_execution.workflow_id=target workflow_execution.run_id=run2 initiated_event_id=5
              namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_signal_of_oneself(s: Scenario) -> None:
    await s.start()
    await s.step(c.signal_external(s.wf))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 SignalExternalWorkflowExecutionInitiated workflow_task_completed_event_id=4
              workflow_execution.workflow_id=wf signal_name=sig namespace_id=<id>
        6 SignalExternalWorkflowExecutionFailed cause=EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND namespace=default
              workflow_execution.workflow_id=wf initiated_event_id=5 namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_signal_of_a_non_child_as_child_only(s: Scenario) -> None:
    target = await _sender_and_target(s)
    await s.step(c.signal_external(target, child_workflow_only=True))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 SignalExternalWorkflowExecutionInitiated workflow_task_completed_event_id=4
              workflow_execution.workflow_id=target signal_name=sig child_workflow_only=true namespace_id=<id>
        6 SignalExternalWorkflowExecutionFailed cause=EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND namespace=default
              workflow_execution.workflow_id=target initiated_event_id=5 namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_cancel(s: Scenario) -> None:
    target = await _sender_and_target(s)
    await s.step(c.cancel_external(target, reason="enough"))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 RequestCancelExternalWorkflowExecutionInitiated workflow_task_completed_event_id=4
              workflow_execution.workflow_id=target reason=enough namespace_id=<id>
        6 ExternalWorkflowExecutionCancelRequested initiated_event_id=5 namespace=default
              workflow_execution.workflow_id=target namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)
    await s.expect_history(
        """
            1 WorkflowExecutionStarted task_queue=target-tq workflow_id=target
            2 WorkflowTaskScheduled task_queue=target-tq
            3 WorkflowExecutionCancelRequested cause=enough external_initiated_event_id=5
                  external_workflow_execution.workflow_id=wf external_workflow_execution.run_id=run1
                  identity=history-service
        """,
        workflow_id=target,
    )


async def test_cancel_of_a_missing_workflow(s: Scenario) -> None:
    await s.start()
    await s.step(c.cancel_external(s.id("missing")))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 RequestCancelExternalWorkflowExecutionInitiated workflow_task_completed_event_id=4
              workflow_execution.workflow_id=missing namespace_id=<id>
        6 RequestCancelExternalWorkflowExecutionFailed cause=EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND
              namespace=default workflow_execution.workflow_id=missing initiated_event_id=5 namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_cancel_of_a_closed_workflow(s: Scenario) -> None:
    target = await _sender_and_target(s)
    await s.terminate(target)
    await s.step(c.cancel_external(target))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 RequestCancelExternalWorkflowExecutionInitiated workflow_task_completed_event_id=4
              workflow_execution.workflow_id=target namespace_id=<id>
        6 ExternalWorkflowExecutionCancelRequested initiated_event_id=5 namespace=default
              workflow_execution.workflow_id=target namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_cancel_of_one_that_is_being_cancelled(s: Scenario) -> None:
    target = await _sender_and_target(s)
    await s.request_cancel(target)
    await s.step(c.cancel_external(target))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 RequestCancelExternalWorkflowExecutionInitiated workflow_task_completed_event_id=4
              workflow_execution.workflow_id=target namespace_id=<id>
        6 ExternalWorkflowExecutionCancelRequested initiated_event_id=5 namespace=default
              workflow_execution.workflow_id=target namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_cancel_of_oneself(s: Scenario) -> None:
    await s.start()
    await s.step(c.cancel_external(s.wf))
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 RequestCancelExternalWorkflowExecutionInitiated workflow_task_completed_event_id=4
              workflow_execution.workflow_id=wf namespace_id=<id>
        6 RequestCancelExternalWorkflowExecutionFailed cause=EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND
              namespace=default workflow_execution.workflow_id=wf initiated_event_id=5 namespace_id=<id>
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)
