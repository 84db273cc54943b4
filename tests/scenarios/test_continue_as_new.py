from temporalio.api.common.v1 import Memo, SearchAttributes
from temporalio.api.enums.v1 import ContinueAsNewInitiator
from temporalio.service import RPCError

from . import commands as c
from .raw import Scenario


async def test_new_run_follows(s: Scenario) -> None:
    first = await s.start(input=c.payloads("first"), memo=Memo(fields={"m": c.payload(1)}))
    await s.step(c.continue_as_new(input=c.payloads("second")))
    second = await s.poll()
    await s.complete(second, c.complete())
    await s.expect_history(
        """
            1 WorkflowExecutionStarted input=['first'] memo.fields={m: 1}
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
            4 WorkflowTaskCompleted
            5 WorkflowExecutionContinuedAsNew new_execution_run_id=run2 input=['second']
                  workflow_run_timeout=0s workflow_task_timeout=10s workflow_task_completed_event_id=4
        """,
        run_id=first.run_id,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted input=['second'] workflow_run_timeout=0s continued_execution_run_id=run1
              initiator=WORKFLOW original_execution_run_id=run2 first_execution_run_id=run1
              prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
              create_time=<time> expire_time=<time> resettable=true}] identity=unset
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 WorkflowExecutionCompleted workflow_task_completed_event_id=4
    """)
    s.expect_message(
        (await s.describe()).workflow_execution_info,
        """
            execution.workflow_id=wf execution.run_id=run2 type.name=demo start_time=<time> close_time=<time>
                  status=COMPLETED history_length=5 execution_time=<time> memo={}
                  search_attributes.indexed_fields={BuildIds: ['unversioned']{type: KeywordList}}
                  auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4 create_time=<time>
                  expire_time=<time> resettable=true}] task_queue=tq state_transition_count=<set>
                  history_size_bytes=<set> root_execution.workflow_id=wf root_execution.run_id=run2
                  first_run_id=run1
        """,
        hide=["execution_duration"],
    )
    s.expect_message(
        (await s.describe(run_id=first.run_id)).workflow_execution_info,
        """
            execution.workflow_id=wf execution.run_id=run1 type.name=demo start_time=<time> close_time=<time>
                  status=CONTINUED_AS_NEW history_length=5 execution_time=<time> memo.fields={m: 1}
                  search_attributes.indexed_fields={BuildIds: ['unversioned']{type: KeywordList}}
                  task_queue=tq state_transition_count=<set>
                  history_size_bytes=<set> root_execution.workflow_id=wf root_execution.run_id=run1
                  first_run_id=run1
        """,
        hide=["execution_duration", "auto_reset_points"],  # there, they have expired already
    )


async def test_options_can_change(s: Scenario) -> None:
    await s.start(workflow_run_timeout=60)
    attributes = SearchAttributes(indexed_fields={"ScenarioKeyword": c.keyword("new")})
    await s.step(
        c.continue_as_new(
            "other",
            s.id("other-tq"),
            backoff_start_interval=60,
            input=c.payloads(2),
            workflow_run_timeout=30,
            workflow_task_timeout=3,
            memo=Memo(fields={"n": c.payload(2)}),
            search_attributes=attributes,
            retry_policy=c.retry(maximum_attempts=5),
        )
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_type.name=other task_queue=other-tq input=[2]
              workflow_run_timeout=30s workflow_task_timeout=3s continued_execution_run_id=run1
              initiator=WORKFLOW original_execution_run_id=run2 first_execution_run_id=run1
              retry_policy.initial_interval=1s retry_policy.backoff_coefficient=2.0
              retry_policy.maximum_interval=100s retry_policy.maximum_attempts=5
              first_workflow_task_backoff=60s memo.fields={n: 2}
              search_attributes.indexed_fields={ScenarioKeyword: 'new'{type: Keyword}}
              prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
              create_time=<time> expire_time=<time> resettable=true}] identity=unset
    """)


async def test_memo_attributes_and_retry_policy_are_not_inherited(s: Scenario) -> None:
    attributes = SearchAttributes(indexed_fields={"ScenarioKeyword": c.keyword("old")})
    await s.start(
        memo=Memo(fields={"m": c.payload(1)}),
        search_attributes=attributes,
        retry_policy=c.retry(maximum_attempts=5),
        workflow_execution_timeout=100,
        workflow_run_timeout=50,
    )
    await s.step(c.continue_as_new(backoff_start_interval=60))
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_execution_timeout=100s workflow_run_timeout=50s
              continued_execution_run_id=run1 initiator=WORKFLOW original_execution_run_id=run2
              first_execution_run_id=run1 workflow_execution_expiration_time=<time>
              first_workflow_task_backoff=60s prev_auto_reset_points.points=[{run_id=run1
              first_workflow_task_completed_id=4 create_time=<time> expire_time=<time> resettable=true}]
              identity=unset
    """)


async def test_backoff_delays_the_first_task(s: Scenario) -> None:
    await s.start()
    await s.step(
        c.continue_as_new(
            backoff_start_interval=1.0, initiator=ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_WORKFLOW
        )
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1 initiator=WORKFLOW
              original_execution_run_id=run2 first_execution_run_id=run1
              prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
              create_time=<time> expire_time=<time> resettable=true}] identity=unset
    """)
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


async def test_quick_chain_is_slowed_down(s: Scenario) -> None:
    """A run that ends within a second of its start puts a backoff on the next."""
    await s.start()
    for _ in range(2):
        await s.step(c.continue_as_new())
    started = (await s.history())[0].workflow_execution_started_event_attributes
    assert started.first_workflow_task_backoff.ToMilliseconds() <= 1000
    await s.step(c.complete())


async def test_signals_before_it_stay_with_the_old_run(s: Scenario) -> None:
    first = await s.start()
    await s.signal("old")
    await s.step(c.continue_as_new(backoff_start_interval=60))
    await s.signal("new")
    await s.expect_history(
        """
            1 WorkflowExecutionStarted
            2 WorkflowTaskScheduled
            3 WorkflowExecutionSignaled signal_name=old request_id=<id>
            4 WorkflowTaskStarted scheduled_event_id=2
            5 WorkflowTaskCompleted scheduled_event_id=2
            6 WorkflowExecutionContinuedAsNew new_execution_run_id=run2 workflow_run_timeout=0s
                  workflow_task_timeout=10s workflow_task_completed_event_id=5 backoff_start_interval=60s
        """,
        run_id=first.run_id,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1 initiator=WORKFLOW
              original_execution_run_id=run2 first_execution_run_id=run1 first_workflow_task_backoff=60s
              prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=5
              create_time=<time> expire_time=<time> resettable=true}] identity=unset
        2 WorkflowExecutionSignaled signal_name=new request_id=<id>
    """)


async def test_old_run_is_closed_to_signals(s: Scenario) -> None:
    first = await s.start()
    await s.step(c.continue_as_new())
    await s.expect_refusal(
        s.signal(run_id=first.run_id),
        """
            NOT_FOUND: workflow execution already completed
              NotFoundFailure
        """,
    )


async def test_result_poll_of_the_old_run_ends_with_the_continuation(s: Scenario) -> None:
    first = await s.start()
    await s.step(c.continue_as_new())
    s.expect_events(
        [await s.closed(run_id=first.run_id)],
        """
            5 WorkflowExecutionContinuedAsNew new_execution_run_id=run1 workflow_run_timeout=0s
                  workflow_task_timeout=10s workflow_task_completed_event_id=4
        """,
    )


async def test_timers_and_activities_do_not_survive(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 0.1), c.activity("a", s.tq), c.continue_as_new())
    task = await s.poll()
    assert (await s.describe()).pending_activities == []
    await s.complete(task, c.complete())
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


async def test_request_cancel_reaches_only_the_current_run(s: Scenario) -> None:
    first = await s.start()
    await s.request_cancel()
    await s.step(c.continue_as_new())
    await s.expect_history("""
        1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1 initiator=WORKFLOW
              original_execution_run_id=run2 first_execution_run_id=run1
              prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=5
              create_time=<time> expire_time=<time> resettable=true}] identity=unset
    """)
    try:
        await s.request_cancel(run_id=first.run_id)
    except RPCError as caught:
        raise AssertionError("a cancel of a closed run of the chain is accepted") from caught
