from . import commands as c
from .raw import Scenario


async def test_fires(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 0.1))
    await s.step(c.complete("done"))
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=0.1s workflow_task_completed_event_id=4
        6 TimerFired timer_id=t started_event_id=5
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=9
    """)


async def test_cancel(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 60), force_create_new_workflow_task=True)
    await s.step(c.cancel_timer("t"), c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=60s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 TimerCanceled timer_id=t started_event_id=5 workflow_task_completed_event_id=8
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=8
    """)


async def test_cancel_of_unknown_timer(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, c.cancel_timer("none")),
        """
            INVALID_ARGUMENT: BadCancelTimerAttributes: invalid history builder state for action:
                  add-timer-canceled-event, TimerID: none
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=BAD_CANCEL_TIMER_ATTRIBUTES failure.message="BadCancelTimerAttributes:
              invalid history builder state for action: add-timer-canceled-event, TimerID: none"
              failure.server_failure_info={}
        5 WorkflowTaskScheduled attempt=2
    """)


async def test_duplicate_id(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, c.timer("t", 60), c.timer("t", 60)),
        """
            INVALID_ARGUMENT: StartTimerDuplicateId: invalid history builder state for action:
                  add-timer-started-event, TimerID: t
        """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskFailed cause=START_TIMER_DUPLICATE_ID failure.message="StartTimerDuplicateId: invalid
              history builder state for action: add-timer-started-event, TimerID: t"
              failure.server_failure_info={}
        5 WorkflowTaskScheduled attempt=2
    """)


async def test_empty_id(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, c.timer("", 60)),
        """
            INVALID_ARGUMENT: BadStartTimerAttributes: TimerId is not set on StartTimerCommand.
        """,
    )


async def test_zero_duration_fires_at_once(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    await s.expect_refusal(
        s.complete(task, c.timer("t", 0)),
        """
            accepted
        """,
    )
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=0s workflow_task_completed_event_id=4
        6 TimerFired timer_id=t started_event_id=5
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted
        9 WorkflowTaskCompleted
        10 WorkflowExecutionCompleted workflow_task_completed_event_id=9
    """)


async def test_two_timers(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("second", 2.2), c.timer("first", 0.1))
    await s.step()
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=second start_to_fire_timeout=2.2s workflow_task_completed_event_id=4
        6 TimerStarted timer_id=first start_to_fire_timeout=0.1s workflow_task_completed_event_id=4
        7 TimerFired timer_id=first started_event_id=6
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted
        10 WorkflowTaskCompleted
        11 TimerFired timer_id=second started_event_id=5
        12 WorkflowTaskScheduled
        13 WorkflowTaskStarted
        14 WorkflowTaskCompleted
        15 WorkflowExecutionCompleted workflow_task_completed_event_id=14
    """)


async def test_fires_while_a_task_is_started(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 0.1), force_create_new_workflow_task=True)
    held = await s.poll()
    await s.start(workflow_id=s.id("clock"), workflow_run_timeout=2)
    await s.closed(s.id("clock"))
    await s.complete(held)
    await s.step(c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=0.1s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
        9 TimerFired timer_id=t started_event_id=5
        10 WorkflowTaskScheduled
        11 WorkflowTaskStarted
        12 WorkflowTaskCompleted
        13 WorkflowExecutionCompleted workflow_task_completed_event_id=12
    """)
