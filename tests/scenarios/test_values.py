"""Values that a worker or a client gives, and finds again: causes, categories, modes, kinds."""

import asyncio
import uuid
from datetime import timedelta

import temporalio.api.operatorservice.v1 as operator
import temporalio.api.workflowservice.v1 as ws
from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import (
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    ProtocolMessageCommandAttributes,
)
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.enums.v1 import (
    ActivityTaskFailedCause,
    ApplicationErrorCategory,
    CommandType,
    DescribeTaskQueueMode,
    IndexedValueType,
    QueryRejectCondition,
    TaskQueueKind,
    TaskQueueType,
    WorkerVersioningMode,
    WorkflowTaskFailedCause,
)
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueVersionSelection
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest

from . import commands as c
from .histories import type_name
from .raw import Scenario
from .rendering import IDENTITY
from .snapshots import expect, grouped
from .workers import SEARCH_ATTRIBUTES

DAY = Duration(seconds=86400)


async def test_causes_of_failed_workflow_tasks(s: Scenario) -> None:
    outcomes = {}
    unknown = 999
    for number, cause in enumerate([*WorkflowTaskFailedCause.values(), unknown]):
        workflow_id = s.id(f"w{number}")
        await s.start(workflow_id=workflow_id)
        await s.fail_task(await s.poll(), cause=cause)
        events = await s.history(workflow_id)
        kept = events[3].workflow_task_failed_event_attributes.cause == cause
        name = "unknown" if cause == unknown else WorkflowTaskFailedCause.Name(cause)
        outcomes[name.removeprefix("WORKFLOW_TASK_FAILED_CAUSE_")] = " | ".join(
            ["kept" if kept else "another", *map(type_name, events[4:])]
        )
        if len(events) == 4 or not type_name(events[-1]).startswith("WorkflowExecution"):
            await s.terminate(workflow_id)
    expect(
        grouped(outcomes),
        """
            kept | WorkflowTaskScheduled
              UNSPECIFIED, UNHANDLED_COMMAND, BAD_SCHEDULE_ACTIVITY_ATTRIBUTES,
                  BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES, BAD_START_TIMER_ATTRIBUTES,
                  BAD_CANCEL_TIMER_ATTRIBUTES, BAD_RECORD_MARKER_ATTRIBUTES,
                  BAD_COMPLETE_WORKFLOW_EXECUTION_ATTRIBUTES, BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES,
                  BAD_CANCEL_WORKFLOW_EXECUTION_ATTRIBUTES,
                  BAD_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_ATTRIBUTES, BAD_CONTINUE_AS_NEW_ATTRIBUTES,
                  START_TIMER_DUPLICATE_ID, RESET_STICKY_TASK_QUEUE, WORKFLOW_WORKER_UNHANDLED_FAILURE,
                  BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES, BAD_START_CHILD_EXECUTION_ATTRIBUTES,
                  FORCE_CLOSE_COMMAND, FAILOVER_CLOSE_COMMAND, BAD_SIGNAL_INPUT_SIZE, RESET_WORKFLOW,
                  BAD_BINARY, SCHEDULE_ACTIVITY_DUPLICATE_ID, BAD_SEARCH_ATTRIBUTES, NON_DETERMINISTIC_ERROR,
                  BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES, PENDING_CHILD_WORKFLOWS_LIMIT_EXCEEDED,
                  PENDING_ACTIVITIES_LIMIT_EXCEEDED, PENDING_SIGNALS_LIMIT_EXCEEDED,
                  PENDING_REQUEST_CANCEL_LIMIT_EXCEEDED, BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE,
                  UNHANDLED_UPDATE, BAD_SCHEDULE_NEXUS_OPERATION_ATTRIBUTES,
                  PENDING_NEXUS_OPERATIONS_LIMIT_EXCEEDED, BAD_REQUEST_CANCEL_NEXUS_OPERATION_ATTRIBUTES,
                  FEATURE_DISABLED, PAYLOADS_TOO_LARGE, EXTERNAL_STORAGE_FAILURE,
                  WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED, REQUEST_TOO_LARGE, unknown
            another | WorkflowExecutionTerminated
              GRPC_MESSAGE_TOO_LARGE
        """,
    )


async def test_causes_of_failed_activities(s: Scenario) -> None:
    await s.start()
    causes = ActivityTaskFailedCause.values()
    once = c.retry(maximum_attempts=1)
    await s.step(*(c.activity(f"a{cause}", s.id(f"q{cause}"), retry_policy=once) for cause in causes))
    for cause in causes:
        await s.fail_activity(await s.poll_activity(s.id(f"q{cause}")), cause=cause)
    await s.step(c.complete())
    s.expect_events(
        [event for event in await s.history() if type_name(event) == "ActivityTaskFailed"],
        """
            10 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
                  scheduled_event_id=5 started_event_id=9 retry_state=MAXIMUM_ATTEMPTS_REACHED
            13 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
                  scheduled_event_id=6 started_event_id=12 retry_state=MAXIMUM_ATTEMPTS_REACHED
            15 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
                  scheduled_event_id=7 started_event_id=14 retry_state=MAXIMUM_ATTEMPTS_REACHED
            17 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
                  scheduled_event_id=8 started_event_id=16 retry_state=MAXIMUM_ATTEMPTS_REACHED
        """,
    )


async def test_cause_of_a_failed_activity_that_is_tried_again(s: Scenario) -> None:
    await s.start()
    await s.step(c.activity("a", s.tq, retry_policy=c.retry(initial=600)))
    await s.fail_activity(
        await s.poll_activity(), cause=ActivityTaskFailedCause.ACTIVITY_TASK_FAILED_CAUSE_PAYLOADS_TOO_LARGE
    )
    s.expect_message(
        (await s.describe()).pending_activities[0],
        """
            activity_id=a activity_type.name=act state=SCHEDULED attempt=2 scheduled_time=<time>
                  last_failure.message=boom last_failure.application_failure_info.type=Boom
                  last_worker_identity=tester current_retry_interval=600s last_attempt_complete_time=<time>
                  next_attempt_schedule_time=<time> activity_options.task_queue=tq(unspecified of tq)
                  activity_options.schedule_to_close_timeout=0s activity_options.schedule_to_start_timeout=0s
                  activity_options.start_to_close_timeout=10s activity_options.heartbeat_timeout=0s
                  activity_options.retry_policy.initial_interval=600s
                  activity_options.retry_policy.backoff_coefficient=2.0
                  activity_options.retry_policy.maximum_interval=60000s
        """,
    )


async def test_benign_failures(s: Scenario) -> None:
    benign = c.failure()
    benign.application_failure_info.category = ApplicationErrorCategory.APPLICATION_ERROR_CATEGORY_BENIGN
    await s.start()
    await s.step(c.activity("a", s.tq, retry_policy=c.retry(maximum_attempts=1)))
    await s.fail_activity(await s.poll_activity(), benign)
    await s.step(c.fail(benign))
    s.expect_events(
        (await s.history())[6:],
        """
            7 ActivityTaskFailed failure.message=boom failure.application_failure_info.type=Boom
                  failure.application_failure_info.category=BENIGN scheduled_event_id=5 started_event_id=6
                  retry_state=MAXIMUM_ATTEMPTS_REACHED
            8 WorkflowTaskScheduled
            9 WorkflowTaskStarted
            10 WorkflowTaskCompleted
            11 WorkflowExecutionFailed failure.message=boom failure.application_failure_info.type=Boom
                  failure.application_failure_info.category=BENIGN retry_state=RETRY_POLICY_NOT_SET
                  workflow_task_completed_event_id=10
        """,
    )


async def test_search_attribute_types(s: Scenario) -> None:
    found = await s.client.operator_service.list_search_attributes(
        operator.ListSearchAttributesRequest(namespace=s.namespace)
    )
    ours = {name: IndexedValueType.Name(found.custom_attributes[name])[19:] for name in SEARCH_ATTRIBUTES}
    expect(
        "\n".join(f"{name} {kind}" for name, kind in ours.items()),
        """
            ScenarioKeyword KEYWORD
            ScenarioText TEXT
            ScenarioInt INT
            ScenarioDouble DOUBLE
            ScenarioBool BOOL
            ScenarioTime DATETIME
            ScenarioWords KEYWORD_LIST
        """,
    )
    system = {
        name: IndexedValueType.Name(kind)[19:] for name, kind in sorted(found.system_attributes.items())
    }
    expect(
        "\n".join(f"{name} {kind}" for name, kind in system.items()),
        """
            BatcherNamespace KEYWORD
            BatcherUser KEYWORD
            BinaryChecksums KEYWORD_LIST
            BuildIds KEYWORD_LIST
            CloseTime DATETIME
            ExecutionDuration INT
            ExecutionStatus KEYWORD
            ExecutionTime DATETIME
            HistoryLength INT
            HistorySizeBytes INT
            ParentRunId KEYWORD
            ParentWorkflowId KEYWORD
            RootRunId KEYWORD
            RootWorkflowId KEYWORD
            RunId KEYWORD
            StartTime DATETIME
            StateTransitionCount INT
            TaskQueue KEYWORD
            TemporalChangeVersion KEYWORD_LIST
            TemporalExternalPayloadCount INT
            TemporalExternalPayloadSizeBytes INT
            TemporalNamespaceDivision KEYWORD
            TemporalPauseInfo KEYWORD_LIST
            TemporalReportedProblems KEYWORD_LIST
            TemporalSchedulePaused BOOL
            TemporalScheduledById KEYWORD
            TemporalScheduledStartTime DATETIME
            TemporalUsedWorkerDeploymentVersions KEYWORD_LIST
            TemporalWorkerDeployment KEYWORD
            TemporalWorkerDeploymentVersion KEYWORD
            TemporalWorkflowVersioningBehavior KEYWORD
            WorkflowId KEYWORD
            WorkflowType KEYWORD
        """,
    )


async def test_query_of_a_closed_workflow_that_minds_nothing(s: Scenario) -> None:
    await s.start()
    await s.step(c.complete())
    asked = asyncio.create_task(
        s.query(query_reject_condition=QueryRejectCondition.QUERY_REJECT_CONDITION_NONE)
    )
    await s.answer_query(await s.poll(), "answer")
    s.expect_message(
        await asked,
        """
            query_result=['answer']
        """,
    )


async def describe_queue(s: Scenario, queue: str = "", **fields: object) -> ws.DescribeTaskQueueResponse:
    return await s.service.describe_task_queue(
        ws.DescribeTaskQueueRequest(
            namespace=s.namespace,
            task_queue=TaskQueue(name=queue or s.tq),
            **fields,  # type: ignore[arg-type]
        )
    )


async def test_queues_of_nexus(s: Scenario) -> None:
    poll = ws.PollNexusTaskQueueRequest(
        namespace=s.namespace, task_queue=TaskQueue(name=s.tq), identity=IDENTITY
    )
    polling = asyncio.create_task(s.service.poll_nexus_task_queue(poll, timeout=timedelta(seconds=15)))
    await asyncio.sleep(1)
    found = await describe_queue(s, task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_NEXUS, report_stats=True)
    polling.cancel()
    s.expect_message(
        found,
        """
            pollers=[{last_access_time=<time> identity=tester rate_per_second=100000.0}]
                  versioning_info.current_version=__unversioned__ versioning_info.update_time=<zero>
                  effective_rate_limit.rate_limit_source=SYSTEM
        """,
        hide=["stats", "stats_by_priority_key", "effective_rate_limit.requests_per_second"],
    )


async def test_enhanced_description_of_a_queue(s: Scenario) -> None:
    # The real server keeps an answer for some seconds: each question is about a queue of its own.
    enhanced = DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED
    await s.start()
    await s.poll()
    found = await describe_queue(
        s,
        api_mode=enhanced,
        task_queue_types=[1, 2],
        report_pollers=True,
        report_task_reachability=True,
        versions=TaskQueueVersionSelection(unversioned=True),
    )
    s.expect_message(
        found,
        """
            versions_info={: {types_info={1: {pollers=[{last_access_time=<time> identity=tester
                  rate_per_second=100000.0}]}, 2: {}} task_reachability=REACHABLE}}
        """,
    )
    plain = await describe_queue(s, s.id("unused"), api_mode=enhanced)
    s.expect_message(
        plain,
        """
            versions_info={: {types_info={1: {}, 2: {}}}}
        """,
    )
    active = await describe_queue(
        s, s.id("another"), api_mode=enhanced, versions=TaskQueueVersionSelection(all_active=True)
    )
    s.expect_message(
        active,
        """
        """,
    )


async def test_workers_that_are_not_versioned(s: Scenario) -> None:
    await s.start()
    options = WorkerDeploymentOptions(
        deployment_name=s.id("dep"),
        build_id="b1",
        worker_versioning_mode=WorkerVersioningMode.WORKER_VERSIONING_MODE_UNVERSIONED,
    )
    task = await s.service.poll_workflow_task_queue(
        PollWorkflowTaskQueueRequest(
            namespace=s.namespace,
            task_queue=TaskQueue(name=s.tq),
            identity=IDENTITY,
            deployment_options=options,
        )
    )
    await s.complete(task, c.complete(), deployment_options=options)
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted worker_deployment_name=dep
        5 WorkflowExecutionCompleted workflow_task_completed_event_id=4
    """)
    found = await describe_queue(s, task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)
    s.expect_message(
        found.pollers[0],
        """
            last_access_time=<time> identity=tester rate_per_second=100000.0
                  deployment_options.deployment_name=dep deployment_options.build_id=b1
                  deployment_options.worker_versioning_mode=UNVERSIONED
        """,
    )


async def test_queue_of_worker_commands(s: Scenario) -> None:
    kind = TaskQueueKind.TASK_QUEUE_KIND_WORKER_COMMANDS
    queue = TaskQueue(name=s.tq, kind=kind)
    outcomes: dict[str, str] = {}
    await s.expect_refusal_of(
        outcomes,
        "poll for Nexus tasks",
        s.service.poll_nexus_task_queue(
            ws.PollNexusTaskQueueRequest(namespace=s.namespace, task_queue=queue, identity=IDENTITY),
            timeout=timedelta(seconds=6),
        ),
    )
    await s.expect_refusal_of(
        outcomes,
        "poll for workflow tasks",
        s.service.poll_workflow_task_queue(
            PollWorkflowTaskQueueRequest(namespace=s.namespace, task_queue=queue, identity=IDENTITY),
            timeout=timedelta(seconds=6),
        ),
    )
    await s.expect_refusal_of(outcomes, "start", s.start(task_queue=queue))
    expect(
        grouped(outcomes),
        """
            accepted
              poll for Nexus tasks, start
            INVALID_ARGUMENT: worker-commands partitions must have nexus task type, got: Workflow. base name:
                  tq
              poll for workflow tasks
        """,
    )


async def test_commands_without_what_they_need(s: Scenario) -> None:
    outcomes: dict[str, str] = {}
    broken = {
        **{
            CommandType.Name(kind).removeprefix("COMMAND_TYPE_").lower(): Command(command_type=kind)
            for kind in CommandType.values()
            if kind != CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION  # INTERNAL, there
        },
        "of another type": Command(
            command_type=CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION,
            complete_workflow_execution_command_attributes=CompleteWorkflowExecutionCommandAttributes(),
        ),
        "message without an id": Command(
            command_type=CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE,
            protocol_message_command_attributes=ProtocolMessageCommandAttributes(),
        ),
        "message that is not there": Command(
            command_type=CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE,
            protocol_message_command_attributes=ProtocolMessageCommandAttributes(message_id="none"),
        ),
    }
    lines = []
    for number, (case, command) in enumerate(broken.items()):
        workflow_id = s.id(f"w{number}")
        await s.start(workflow_id=workflow_id)
        task = await s.poll()
        await s.expect_refusal_of(outcomes, case, s.complete(task, command))
        events = await s.history(workflow_id)
        lines += [f"{case}:", *(line[:90] for line in s.history_lines(events[3:4]))]
        await s.terminate(workflow_id)
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: unknown command type: Unspecified
              unspecified
            INVALID_ARGUMENT: BadScheduleActivityAttributes: ScheduleActivityTaskCommandAttributes is not set
                  on ScheduleActivityTaskCommand.
              schedule_activity_task
            INVALID_ARGUMENT: BadRequestCancelActivityAttributes: RequestCancelActivityTaskCommandAttributes
                  is not set on RequestCancelActivityTaskCommand.
              request_cancel_activity_task
            INVALID_ARGUMENT: BadStartTimerAttributes: StartTimerCommandAttributes is not set on
                  StartTimerCommand.
              start_timer
            INVALID_ARGUMENT: BadCompleteWorkflowExecutionAttributes:
                  CompleteWorkflowExecutionCommandAttributes is not set on CompleteWorkflowExecutionCommand.
              complete_workflow_execution
            INVALID_ARGUMENT: BadFailWorkflowExecutionAttributes: FailWorkflowExecutionCommandAttributes is
                  not set on FailWorkflowExecutionCommand.
              fail_workflow_execution
            INVALID_ARGUMENT: BadCancelTimerAttributes: CancelTimerCommandAttributes is not set on
                  CancelTimerCommand.
              cancel_timer
            INVALID_ARGUMENT: BadCancelWorkflowExecutionAttributes: CancelWorkflowExecutionCommandAttributes
                  is not set on CancelWorkflowExecutionCommand.
              cancel_workflow_execution, of another type
            INVALID_ARGUMENT: BadRequestCancelExternalWorkflowExecutionAttributes:
                  RequestCancelExternalWorkflowExecutionCommandAttributes is not set on
                  RequestCancelExternalWorkflowExecutionCommand.
              request_cancel_external_workflow_execution
            INVALID_ARGUMENT: BadRecordMarkerAttributes: RecordMarkerCommandAttributes is not set on
                  RecordMarkerCommand.
              record_marker
            INVALID_ARGUMENT: BadContinueAsNewAttributes: ContinueAsNewWorkflowExecutionCommandAttributes is
                  not set on ContinueAsNewWorkflowExecutionCommand.
              continue_as_new_workflow_execution
            INVALID_ARGUMENT: BadSignalWorkflowExecutionAttributes:
                  SignalExternalWorkflowExecutionCommandAttributes is not set on
                  SignalExternalWorkflowExecutionCommand.
              signal_external_workflow_execution
            INVALID_ARGUMENT: BadSearchAttributes: UpsertWorkflowSearchAttributesCommandAttributes is not set
                  on UpsertWorkflowSearchAttributesCommand.
              upsert_workflow_search_attributes
            INVALID_ARGUMENT: BadUpdateWorkflowExecutionMessage: ProtocolMessageCommandAttributes is not set
                  on ProtocolMessageCommand.
              protocol_message
            INVALID_ARGUMENT: BadModifyWorkflowPropertiesAttributes: ModifyWorkflowPropertiesCommandAttributes
                  is not set on ModifyWorkflowPropertiesCommand.
              modify_workflow_properties
            INVALID_ARGUMENT: BadScheduleNexusOperationAttributes: empty
                  ScheduleNexusOperationCommandAttributes
              schedule_nexus_operation
            INVALID_ARGUMENT: BadRequestCancelNexusOperationAttributes: empty
                  CancelNexusOperationCommandAttributes
              request_cancel_nexus_operation
            INVALID_ARGUMENT: BadUpdateWorkflowExecutionMessage: MessageID is not set on
                  ProtocolMessageCommand.
              message without an id
            INVALID_ARGUMENT: BadUpdateWorkflowExecutionMessage: ProtocolMessageCommand referenced absent
                  message ID none
              message that is not there
        """,
    )
    expect(
        "\n".join(lines),
        """
            unspecified:
            schedule_activity_task:
            4 WorkflowTaskFailed cause=BAD_SCHEDULE_ACTIVITY_ATTRIBUTES failure.message="BadScheduleAc
            request_cancel_activity_task:
            4 WorkflowTaskFailed cause=BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES failure.message="BadRequ
            start_timer:
            4 WorkflowTaskFailed cause=BAD_START_TIMER_ATTRIBUTES failure.message="BadStartTimerAttrib
            complete_workflow_execution:
            4 WorkflowTaskFailed cause=BAD_COMPLETE_WORKFLOW_EXECUTION_ATTRIBUTES failure.message="Bad
            fail_workflow_execution:
            4 WorkflowTaskFailed cause=BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES failure.message="BadFail
            cancel_timer:
            4 WorkflowTaskFailed cause=BAD_CANCEL_TIMER_ATTRIBUTES failure.message="BadCancelTimerAttr
            cancel_workflow_execution:
            4 WorkflowTaskFailed cause=BAD_CANCEL_WORKFLOW_EXECUTION_ATTRIBUTES failure.message="BadCa
            request_cancel_external_workflow_execution:
            4 WorkflowTaskFailed cause=BAD_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_ATTRIBUTES failu
            record_marker:
            4 WorkflowTaskFailed cause=BAD_RECORD_MARKER_ATTRIBUTES failure.message="BadRecordMarkerAt
            continue_as_new_workflow_execution:
            4 WorkflowTaskFailed cause=BAD_CONTINUE_AS_NEW_ATTRIBUTES failure.message="BadContinueAsNe
            signal_external_workflow_execution:
            4 WorkflowTaskFailed cause=BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES failure.message="BadSi
            upsert_workflow_search_attributes:
            4 WorkflowTaskFailed cause=BAD_SEARCH_ATTRIBUTES failure.message="BadSearchAttributes: Ups
            protocol_message:
            4 WorkflowTaskFailed cause=BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE failure.message="BadUpdat
            modify_workflow_properties:
            4 WorkflowTaskFailed cause=BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES failure.message="BadM
            schedule_nexus_operation:
            4 WorkflowTaskFailed cause=BAD_SCHEDULE_NEXUS_OPERATION_ATTRIBUTES failure.message="BadSch
            request_cancel_nexus_operation:
            4 WorkflowTaskFailed cause=BAD_REQUEST_CANCEL_NEXUS_OPERATION_ATTRIBUTES failure.message="
            of another type:
            4 WorkflowTaskFailed cause=BAD_CANCEL_WORKFLOW_EXECUTION_ATTRIBUTES failure.message="BadCa
            message without an id:
            4 WorkflowTaskFailed cause=BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE failure.message="BadUpdat
            message that is not there:
            4 WorkflowTaskFailed cause=BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE failure.message="BadUpdat
        """,
    )


async def test_pages_of_a_completion(s: Scenario) -> None:
    await s.start()
    task = await s.poll()
    outcomes: dict[str, str] = {}
    for case, fields in {
        "first page": {"intermediate_page": True},
        "another page": {"intermediate_page": True, "page_number": 1},
        "last page": {"page_number": 1},
    }.items():
        await s.expect_refusal_of(outcomes, case, s.complete(task, c.timer(), **fields))
    expect(
        grouped(outcomes),
        """
            FAILED_PRECONDITION: workflow task completion pagination is disabled for this namespace default
              first page, another page, last page
        """,
    )
    await s.complete(task, c.complete())


async def test_starts_in_a_deprecated_namespace(s: Scenario) -> None:
    name = f"n-{uuid.uuid4().hex[:8]}"
    s.names.aliases[name] = "NAMESPACE"
    await s.service.register_namespace(
        ws.RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=DAY)
    )
    await s.service.deprecate_namespace(ws.DeprecateNamespaceRequest(namespace=name))
    request = s.start_request(namespace=name)
    for _ in range(60):  # the real server's caches follow after some seconds
        try:
            await s.service.start_workflow_execution(request)
        except Exception as error:
            if "invalid state" in str(error):
                break
        await asyncio.sleep(0.5)
    await s.expect_refusal(
        s.service.start_workflow_execution(request),
        """
            FAILED_PRECONDITION: Namespace has invalid state: Deprecated. Must be Registered.
              NamespaceInvalidStateFailure namespace=NAMESPACE state=DEPRECATED allowed_states=[REGISTERED]
        """,
    )


async def test_too_much_that_is_pending(s: Scenario) -> None:
    """With the limits that `conftest.DYNAMIC_CONFIG` sets."""
    many = range(51)
    await s.start(workflow_id=s.id("target"))
    cases = {
        "activities": [c.activity(f"a{number}", s.id("elsewhere")) for number in many],
        "children": [c.child(s.id(f"c{number}"), s.id("elsewhere")) for number in many],
        "signals": [c.signal_external(s.id("target")) for _ in many],
        "cancels": [c.cancel_external(s.id("target")) for _ in many],
    }
    outcomes: dict[str, str] = {}
    lines = []
    for case, wanted in cases.items():
        await s.start(workflow_id=s.id(case), task_queue=TaskQueue(name=s.id(f"queue-{case}")))
        await s.expect_refusal_of(outcomes, case, s.complete(await s.poll(s.id(f"queue-{case}")), *wanted))
        lines += [f"{case}:", *s.history_lines((await s.history(s.id(case)))[3:4])]
        await s.terminate(s.id(case))
    expect(
        grouped(outcomes),
        """
            INVALID_ARGUMENT: PendingActivitiesLimitExceeded: the number of pending activities, 50, has
                  reached the per-workflow limit of 50
              activities
            INVALID_ARGUMENT: PendingChildWorkflowsLimitExceeded: the number of pending child workflow
                  executions, 50, has reached the per-workflow limit of 50
              children
            INVALID_ARGUMENT: PendingSignalsLimitExceeded: the number of pending signals to external
                  workflows, 50, has reached the per-workflow limit of 50
              signals
            INVALID_ARGUMENT: PendingRequestCancelLimitExceeded: the number of pending requests to cancel
                  external workflows, 50, has reached the per-workflow limit of 50
              cancels
        """,
    )
    expect(
        "\n".join(lines),
        """
            activities:
            4 WorkflowTaskFailed cause=PENDING_ACTIVITIES_LIMIT_EXCEEDED
                  failure.message="PendingActivitiesLimitExceeded: the number of pending activities, 50, has
                  reached the per-workflow limit of 50" failure.server_failure_info={}
            children:
            4 WorkflowTaskFailed cause=PENDING_CHILD_WORKFLOWS_LIMIT_EXCEEDED
                  failure.message="PendingChildWorkflowsLimitExceeded: the number of pending child workflow
                  executions, 50, has reached the per-workflow limit of 50" failure.server_failure_info={}
            signals:
            4 WorkflowTaskFailed cause=PENDING_SIGNALS_LIMIT_EXCEEDED
                  failure.message="PendingSignalsLimitExceeded: the number of pending signals to external
                  workflows, 50, has reached the per-workflow limit of 50" failure.server_failure_info={}
            cancels:
            4 WorkflowTaskFailed cause=PENDING_REQUEST_CANCEL_LIMIT_EXCEEDED
                  failure.message="PendingRequestCancelLimitExceeded: the number of pending requests to cancel
                  external workflows, 50, has reached the per-workflow limit of 50"
                  failure.server_failure_info={}
        """,
    )
