from temporalio.api.sdk.v1 import UserMetadata

from . import commands as c
from .raw import Scenario


async def test_marker(s: Scenario) -> None:
    await s.start()
    await s.step(c.marker("core_patch", data={"id": "p", "deprecated": False}), c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 MarkerRecorded marker_name=core_patch details={data: [{'deprecated': False, 'id': 'p'}]}
              workflow_task_completed_event_id=4
        6 WorkflowExecutionCompleted workflow_task_completed_event_id=4
    """)


async def test_marker_with_failure_and_header(s: Scenario) -> None:
    await s.start()
    command = c.marker("core_local_activity", data=1)
    command.record_marker_command_attributes.failure.CopyFrom(c.failure("local"))
    command.record_marker_command_attributes.header.fields["h"].CopyFrom(c.payload("header"))
    await s.step(command, c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 MarkerRecorded marker_name=core_local_activity details={data: [1]}
              workflow_task_completed_event_id=4 header.fields={h: 'header'} failure.message=local
              failure.application_failure_info.type=Boom
        6 WorkflowExecutionCompleted workflow_task_completed_event_id=4
    """)


async def test_user_metadata_of_commands_reaches_the_events(s: Scenario) -> None:
    await s.start()
    told = UserMetadata(summary=c.payload("why"), details=c.payload("how"))
    commands = [
        c.timer("t", 60),
        c.activity("a", s.tq),
        c.child(s.id("child"), s.id("child-tq")),
        c.marker("m"),
    ]
    for command in commands:
        command.user_metadata.CopyFrom(told)
    await s.step(*commands)
    s.started.append(s.id("child"))
    await s.poll()
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=60s workflow_task_completed_event_id=4
              user_metadata.summary='why' user_metadata.details='how'
        6 ActivityTaskScheduled activity_id=a schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
              user_metadata.summary='why' user_metadata.details='how'
        7 StartChildWorkflowExecutionInitiated namespace=default workflow_id=child workflow_type.name=demo
              task_queue=child-tq workflow_run_timeout=0s workflow_task_timeout=10s
              parent_close_policy=TERMINATE workflow_task_completed_event_id=4
              workflow_id_reuse_policy=ALLOW_DUPLICATE namespace_id=<id> user_metadata.summary='why'
              user_metadata.details='how'
        8 MarkerRecorded marker_name=m workflow_task_completed_event_id=4 user_metadata.summary='why'
              user_metadata.details='how'
        9 ChildWorkflowExecutionStarted namespace=default initiated_event_id=7
              workflow_execution.workflow_id=child workflow_execution.run_id=run2 workflow_type.name=demo
              namespace_id=<id>
        10 WorkflowTaskScheduled
        11 WorkflowTaskStarted
    """)


async def test_events_stand_in_the_order_of_the_commands(s: Scenario) -> None:
    await s.start()
    await s.step(
        c.marker("1"),
        c.timer("2", 60),
        c.upsert_memo(three=3),
        c.activity("4", s.tq),
        c.upsert_search_attributes({"ScenarioKeyword": c.keyword("5")}),
        c.cancel_timer("2"),
        c.marker("7"),
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 MarkerRecorded marker_name=1 workflow_task_completed_event_id=4
        6 TimerStarted timer_id=2 start_to_fire_timeout=60s workflow_task_completed_event_id=4
        7 WorkflowPropertiesModified workflow_task_completed_event_id=4 upserted_memo.fields={three: 3}
        8 ActivityTaskScheduled activity_id=4 schedule_to_close_timeout=0s schedule_to_start_timeout=0s
              start_to_close_timeout=10s heartbeat_timeout=0s workflow_task_completed_event_id=4
        9 UpsertWorkflowSearchAttributes workflow_task_completed_event_id=4
              search_attributes.indexed_fields={ScenarioKeyword: '5'{type: Keyword}}
        10 TimerCanceled timer_id=2 started_event_id=6 workflow_task_completed_event_id=4
        11 MarkerRecorded marker_name=7 workflow_task_completed_event_id=4
    """)


async def test_local_activity_heartbeats_keep_the_task(s: Scenario) -> None:
    """A worker busy with local activities completes with markers and asks for a new task at once."""
    await s.start()
    task = await s.poll()
    for number in range(3):
        reply = await s.complete(
            task, c.marker(str(number)), force_create_new_workflow_task=True, return_new_workflow_task=True
        )
        task = reply.workflow_task
    await s.complete(task, c.complete())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 MarkerRecorded marker_name=0 workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted request_id=request-from-RespondWorkflowTaskCompleted
        8 WorkflowTaskCompleted
        9 MarkerRecorded marker_name=1 workflow_task_completed_event_id=8
        10 WorkflowTaskScheduled
        11 WorkflowTaskStarted request_id=request-from-RespondWorkflowTaskCompleted
        12 WorkflowTaskCompleted
        13 MarkerRecorded marker_name=2 workflow_task_completed_event_id=12
        14 WorkflowTaskScheduled
        15 WorkflowTaskStarted request_id=request-from-RespondWorkflowTaskCompleted
        16 WorkflowTaskCompleted
        17 WorkflowExecutionCompleted workflow_task_completed_event_id=16
    """)
