"""Updates: what callers are told, what workers get, and what stays in the history."""

import asyncio

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Acceptance, Input, Meta, Request
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from . import commands as c
from .raw import Scenario
from .snapshots import expect
from .updates import (
    ACCEPTED,
    ADMITTED,
    COMPLETED,
    accept,
    at,
    brought,
    message,
    polled,
    reject,
    respond,
    sent,
    told,
    update_request,
)


async def begun(s: Scenario) -> None:
    """A workflow whose first task is done, and that waits."""
    await s.start()
    await s.step(c.timer("t", 600))


async def test_accepted_and_completed_at_once(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    task = await s.poll()
    expect(
        brought(s, task),
        """
        u/request of u at 6
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
    """,
    )
    a, r = accept(task), respond()
    await s.complete(task, at(a), at(r), messages=[a, r])
    expect(
        await told(s, update),
        """
        COMPLETED: ['"changed"']
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
        10 WorkflowExecutionUpdateCompleted meta.update_id=u outcome.success=['changed'] accepted_event_id=9
    """)


async def test_rejected_without_a_trace(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    task = await s.poll()
    answer = await s.complete(task, messages=[reject(task)])
    expect(
        f"{await told(s, update)} reset to {answer.reset_history_event_id}",
        """
        COMPLETED: failed: no (Boom, ) reset to 0
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
    """)
    # The next one brings no events of its own: it goes without a trace.
    update = sent(s)
    task = await s.poll()
    answer = await s.complete(task, messages=[reject(task)])
    expect(
        f"{await told(s, update)} reset to {answer.reset_history_event_id}",
        """
        COMPLETED: failed: no (Boom, ) reset to 7
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
    """)
    # The id is free again: nobody remembers it.
    expect(
        await told(s, polled(s)),
        """
        NOT_FOUND: update "u" not found
          NotFoundFailure
    """,
    )
    update = sent(s)
    task = await s.poll()
    expect(
        brought(s, task),
        """
        u/request of u at 9
        8 WorkflowTaskCompleted
        9 WorkflowTaskScheduled
        10 WorkflowTaskStarted
    """,
    )
    a, r = accept(task), respond()
    await s.complete(task, at(a), at(r), messages=[a, r])
    expect(
        await told(s, update),
        """
        COMPLETED: ['"changed"']
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
        9 WorkflowTaskScheduled
        10 WorkflowTaskStarted
        11 WorkflowTaskCompleted
        12 WorkflowExecutionUpdateAccepted protocol_instance_id=u accepted_request_message_id=u/request
              accepted_request_sequencing_event_id=9 accepted_request.meta.update_id=u
              accepted_request.meta.identity=caller accepted_request.input.name=change
              accepted_request.input.args=['argument']
        13 WorkflowExecutionUpdateCompleted meta.update_id=u outcome.success=['changed'] accepted_event_id=12
    """)


async def test_rejected_by_a_worker_that_can_see_events_twice(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    task = await s.poll()
    able = RespondWorkflowTaskCompletedRequest.Capabilities(
        discard_speculative_workflow_task_with_events=True
    )
    answer = await s.complete(task, messages=[reject(task)], capabilities=able)
    expect(
        f"{await told(s, update)} reset to {answer.reset_history_event_id}",
        """
        COMPLETED: failed: no (Boom, ) reset to 3
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
    """)


async def test_rejected_with_commands_leaves_the_task(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    task = await s.poll()
    await s.complete(task, c.marker("m"), messages=[reject(task)])
    expect(
        await told(s, update),
        """
        COMPLETED: failed: no (Boom, )
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
        9 MarkerRecorded marker_name=m workflow_task_completed_event_id=8
    """)


async def test_completed_later(s: Scenario) -> None:
    await begun(s)
    update = sent(s, stage=ACCEPTED)
    task = await s.poll()
    a = accept(task)
    await s.complete(task, at(a), c.timer("u", 0.1), messages=[a])
    expect(
        await told(s, update),
        """
        ACCEPTED
    """,
    )
    waiting = asyncio.create_task(polled(s))
    again = sent(s)
    task = await s.poll()
    assert not task.messages
    r = respond()
    await s.complete(task, at(r), messages=[r])
    expect(
        await told(s, waiting),
        """
        COMPLETED: ['"changed"']
    """,
    )
    expect(
        await told(s, again),
        """
        COMPLETED: ['"changed"']
    """,
    )
    expect(
        await told(s, polled(s, stage=ACCEPTED)),
        """
        COMPLETED: ['"changed"']
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
        10 TimerStarted timer_id=u start_to_fire_timeout=0.1s workflow_task_completed_event_id=8
        11 TimerFired timer_id=u started_event_id=10
        12 WorkflowTaskScheduled
        13 WorkflowTaskStarted
        14 WorkflowTaskCompleted
        15 WorkflowExecutionUpdateCompleted meta.update_id=u outcome.success=['changed'] accepted_event_id=9
    """)


async def test_a_failed_handler(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    task = await s.poll()
    a, r = accept(task), respond(failed="broken")
    await s.complete(task, at(a), at(r), messages=[a, r])
    expect(
        await told(s, update),
        """
        COMPLETED: failed: broken (Boom, )
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
        10 WorkflowExecutionUpdateCompleted meta.update_id=u outcome.failure.message=broken
              outcome.failure.application_failure_info.type=Boom accepted_event_id=9
    """)


async def test_on_the_first_task(s: Scenario) -> None:
    await s.start()
    update = sent(s)
    await asyncio.sleep(0.3)
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
        await told(s, update),
        """
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
    """)


async def test_messages_without_commands(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    task = await s.poll()
    await s.complete(task, c.timer("u", 600), messages=[accept(task), respond()])
    expect(
        await told(s, update),
        """
        COMPLETED: ['"changed"']
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
        9 TimerStarted timer_id=u start_to_fire_timeout=600s workflow_task_completed_event_id=8
        10 WorkflowExecutionUpdateAccepted protocol_instance_id=u accepted_request_message_id=u/request
              accepted_request_sequencing_event_id=6 accepted_request.meta.update_id=u
              accepted_request.meta.identity=caller accepted_request.input.name=change
              accepted_request.input.args=['argument']
        11 WorkflowExecutionUpdateCompleted meta.update_id=u outcome.success=['changed'] accepted_event_id=10
    """)


async def test_two_at_once(s: Scenario) -> None:
    await begun(s)
    one = sent(s, "one")
    await asyncio.sleep(0.2)
    two = sent(s, "two")
    await asyncio.sleep(0.2)
    task = await s.poll()
    expect(
        brought(s, task),
        """
        one/request of one at 6
        two/request of two at 6
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
    """,
    )
    a, r = accept(task, "one"), respond("one")
    await s.complete(task, at(a), at(r), messages=[a, reject(task, "two"), r])
    expect(
        f"{await told(s, one)}\n{await told(s, two)}",
        """
        COMPLETED: ['"changed"']
        COMPLETED: failed: no (Boom, )
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
        9 WorkflowExecutionUpdateAccepted protocol_instance_id=one accepted_request_message_id=one/request
              accepted_request_sequencing_event_id=6 accepted_request.meta.update_id=one
              accepted_request.meta.identity=caller accepted_request.input.name=change
              accepted_request.input.args=['argument']
        10 WorkflowExecutionUpdateCompleted meta.update_id=one outcome.success=['changed'] accepted_event_id=9
    """)


async def test_one_during_a_task(s: Scenario) -> None:
    await begun(s)
    one = sent(s, "one")
    task = await s.poll()
    two = sent(s, "two")
    await asyncio.sleep(0.3)
    a, r = accept(task, "one"), respond("one")
    await s.complete(task, at(a), at(r), messages=[a, r])
    expect(
        await told(s, one),
        """
        COMPLETED: ['"changed"']
    """,
    )
    task = await s.poll()
    expect(
        brought(s, task),
        """
        two/request of two at 11
        10 WorkflowExecutionUpdateCompleted meta.update_id=one outcome.success=['changed'] accepted_event_id=9
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
    """,
    )
    await s.complete(task, messages=[reject(task, "two")])
    expect(
        await told(s, two),
        """
        COMPLETED: failed: no (Boom, )
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
        9 WorkflowExecutionUpdateAccepted protocol_instance_id=one accepted_request_message_id=one/request
              accepted_request_sequencing_event_id=6 accepted_request.meta.update_id=one
              accepted_request.meta.identity=caller accepted_request.input.name=change
              accepted_request.input.args=['argument']
        10 WorkflowExecutionUpdateCompleted meta.update_id=one outcome.success=['changed'] accepted_event_id=9
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted
        13 WorkflowTaskCompleted
    """)


async def test_a_signal_while_it_waits_for_a_worker(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    await asyncio.sleep(0.3)
    await s.signal()
    task = await s.poll()
    expect(
        brought(s, task),
        """
            u/request of u at 7
            6 WorkflowTaskScheduled
            7 WorkflowExecutionSignaled signal_name=sig request_id=<id>
            8 WorkflowTaskStarted scheduled_event_id=6
        """,
    )
    await s.complete(task, messages=[reject(task)])
    expect(
        await told(s, update),
        """
        COMPLETED: failed: no (Boom, )
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        8 WorkflowTaskStarted scheduled_event_id=6
        9 WorkflowTaskCompleted scheduled_event_id=6
    """)


def without_worker(events: list[HistoryEvent]) -> list[HistoryEvent]:
    """The real server forgets which worker has a task that it had not yet written to the history."""
    events[6].workflow_task_started_event_attributes.identity = ""
    return events


async def test_a_signal_while_a_worker_has_it(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    task = await s.poll()
    await s.signal()
    s.expect_events(
        without_worker(await s.history()),
        """
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted identity=unset
    """,
    )
    await s.complete(task, messages=[reject(task)])
    expect(
        await told(s, update),
        """
        COMPLETED: failed: no (Boom, )
    """,
    )
    s.expect_events(
        without_worker(await s.history()),
        """
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted identity=unset
        8 WorkflowTaskCompleted
        9 WorkflowExecutionSignaled signal_name=sig request_id=<id>
        10 WorkflowTaskScheduled
    """,
    )


async def test_passed_over(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    task = await s.poll()
    await s.complete(task, c.marker("m"))
    expect(
        await told(s, update),
        """
        COMPLETED: failed: Workflow Update is rejected because it wasn't processed by worker. Probably,
              Workflow Update is not supported by the worker. (UnprocessedUpdate, Server)
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
        9 MarkerRecorded marker_name=m workflow_task_completed_event_id=8
    """)


async def test_the_task_fails(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    await s.fail_task(await s.poll())
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted
        8 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
        9 WorkflowTaskScheduled attempt=2
    """)
    task = await s.poll()
    expect(
        brought(s, task),
        """
        u/request of u at 9
        8 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
        9 WorkflowTaskScheduled attempt=2
        10 WorkflowTaskStarted
    """,
    )
    a, r = accept(task), respond()
    await s.complete(task, at(a), at(r), messages=[a, r])
    expect(
        await told(s, update),
        """
        COMPLETED: ['"changed"']
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
        8 WorkflowTaskFailed failure.message="broken task" failure.application_failure_info.type=Boom
        9 WorkflowTaskScheduled attempt=2
        10 WorkflowTaskStarted
        11 WorkflowTaskCompleted
        12 WorkflowExecutionUpdateAccepted protocol_instance_id=u accepted_request_message_id=u/request
              accepted_request_sequencing_event_id=9 accepted_request.meta.update_id=u
              accepted_request.meta.identity=caller accepted_request.input.name=change
              accepted_request.input.args=['argument']
        13 WorkflowExecutionUpdateCompleted meta.update_id=u outcome.success=['changed'] accepted_event_id=12
    """)


async def test_the_workflow_completes_first(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    task = await s.poll()
    await s.complete(task, c.complete("done"))
    expect(
        await told(s, update),
        """
        NOT_FOUND: workflow update was aborted by closing workflow
          NotFoundFailure
    """,
    )
    expect(
        await told(s, sent(s, "late")),
        """
        NOT_FOUND: workflow execution already completed
          NotFoundFailure
    """,
    )
    expect(
        await told(s, polled(s)),
        """
        NOT_FOUND: update "u" not found
          NotFoundFailure
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
        9 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=8
    """)


async def test_the_workflow_completes_after_it_was_accepted(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    task = await s.poll()
    a = accept(task)
    await s.complete(task, at(a), c.complete("done"), messages=[a])
    expect(
        await told(s, update),
        """
        COMPLETED: failed: Workflow Update failed because the Workflow completed before the Update completed.
              (AcceptedUpdateCompletedWorkflow, Server)
    """,
    )
    expect(
        await told(s, polled(s)),
        """
        COMPLETED: failed: Workflow Update failed because the Workflow completed before the Update completed.
              (AcceptedUpdateCompletedWorkflow, Server)
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
        10 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=8
    """)


async def test_completed_with_the_workflow(s: Scenario) -> None:
    await begun(s)
    update = sent(s)
    task = await s.poll()
    a, r = accept(task), respond()
    await s.complete(task, at(a), at(r), c.complete("done"), messages=[a, r])
    expect(
        await told(s, update),
        """
        COMPLETED: ['"changed"']
    """,
    )
    expect(
        await told(s, polled(s)),
        """
        COMPLETED: ['"changed"']
    """,
    )
    expect(
        await told(s, sent(s)),
        """
        COMPLETED: ['"changed"']
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
        10 WorkflowExecutionUpdateCompleted meta.update_id=u outcome.success=['changed'] accepted_event_id=9
        11 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=8
    """)


async def test_terminated(s: Scenario) -> None:
    await begun(s)
    accepted = sent(s, "accepted")
    task = await s.poll()
    a = accept(task, "accepted")
    await s.complete(task, at(a), messages=[a])
    admitted = sent(s, "admitted")
    await asyncio.sleep(0.3)
    await s.terminate()
    expect(
        f"{await told(s, accepted)}\n{await told(s, admitted)}",
        """
        COMPLETED: failed: Workflow Update failed because the Workflow completed before the Update completed.
              (AcceptedUpdateCompletedWorkflow, Server)
        NOT_FOUND: workflow update was aborted by closing workflow
          NotFoundFailure
    """,
    )


async def test_continued_as_new(s: Scenario) -> None:
    await begun(s)
    one = sent(s, "one")
    task = await s.poll()
    two = sent(s, "two")
    await asyncio.sleep(0.3)
    a, r = accept(task, "one"), respond("one")
    await s.complete(task, at(a), at(r), c.continue_as_new(), messages=[a, r])
    expect(
        await told(s, one),
        """
        COMPLETED: ['"changed"']
    """,
    )
    expect(
        await told(s, two),
        """
        RESOURCE_EXHAUSTED: workflow operation can not be applied because workflow is closing
          ResourceExhaustedFailure cause=BUSY_WORKFLOW scope=NAMESPACE
    """,
    )
    task = await s.poll()
    expect(
        brought(s, task),
        """
            1 WorkflowExecutionStarted workflow_run_timeout=0s continued_execution_run_id=run1
                  initiator=WORKFLOW original_execution_run_id=run2 first_execution_run_id=run1
                  prev_auto_reset_points.points=[{run_id=run1 first_workflow_task_completed_id=4
                  create_time=<time> expire_time=<time> resettable=true}] identity=unset
            2 WorkflowTaskScheduled
            3 WorkflowTaskStarted
        """,
    )


async def test_a_sticky_worker(s: Scenario) -> None:
    await s.start()
    await s.step(c.timer("t", 600), sticky=s.id("sticky"))
    poll = asyncio.create_task(s.poll(s.id("sticky"), sticky_of=s.tq))
    await asyncio.sleep(0.3)
    update = sent(s)
    task = await poll
    expect(
        brought(s, task),
        """
            u/request of u at 6
            5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
            6 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
            7 WorkflowTaskStarted
        """,
    )
    await s.complete(task, messages=[reject(task)], sticky=s.id("sticky"))
    expect(
        await told(s, update),
        """
        COMPLETED: failed: no (Boom, )
    """,
    )
    await s.expect_history("""
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted
        4 WorkflowTaskCompleted
        5 TimerStarted timer_id=t start_to_fire_timeout=600s workflow_task_completed_event_id=4
        6 WorkflowTaskScheduled task_queue=sticky(sticky of tq)
        7 WorkflowTaskStarted
        8 WorkflowTaskCompleted
    """)


async def test_stages(s: Scenario) -> None:
    await begun(s)
    expect(
        await told(s, sent(s, "a", stage=ADMITTED)),
        """
            PERMISSION_DENIED: UpdateWorkflowExecution issued asynchronously and waiting on update admitted
                  is not supported.
              PermissionDeniedFailure
        """,
    )
    # The caller's deadline ends its call, told by whichever side sees it first.
    late = await told(s, sent(s, "b", stage=COMPLETED, timeout=1))
    assert late.partition(":")[0] in {"CANCELLED", "DEADLINE_EXCEEDED"}
    expect(await told(s, polled(s, "b", stage=0)), "ADMITTED")


async def test_faults_of_a_request(s: Scenario) -> None:
    await begun(s)
    faults = {
        "no workflow": {"workflow_id": s.id("nobody")},
        "no workflow id": {"workflow_execution": {"run_id": "5d5d5d5d-5d5d-5d5d-5d5d-5d5d5d5d5d5d"}},
        "bad run id": {"run_id": "x"},
        "no request": {"request": None},
        "no meta": {"request": Request(input=Input(name="n"))},
        "no input": {"request": Request(meta=Meta(update_id="u"))},
        "no name": {"request": Request(meta=Meta(update_id="u"), input=Input())},
        "long id": {"request": Request(meta=Meta(update_id="u" * 1001), input=Input(name="n"))},
        "another first run": {"first_execution_run_id": "5d5d5d5d-5d5d-5d5d-5d5d-5d5d5d5d5d5d"},
    }
    lines = [f"{name}: {await told(s, sent(s, **fields))}" for name, fields in faults.items()]  # type: ignore[arg-type]
    expect(
        "\n".join(lines),
        """
        no workflow: NOT_FOUND: workflow not found for ID: nobody
          NotFoundFailure
        no workflow id: INVALID_ARGUMENT: WorkflowId is not set on request.
        bad run id: INVALID_ARGUMENT: Invalid RunId.
        no request: INVALID_ARGUMENT: Update meta is not set on request.
        no meta: INVALID_ARGUMENT: Update meta is not set on request.
        no input: INVALID_ARGUMENT: Update input is not set on request.
        no name: INVALID_ARGUMENT: Update name is not set on request.
        long id: INVALID_ARGUMENT: UpdateId length exceeds limit.
        another first run: NOT_FOUND: workflow execution not found
          NotFoundFailure
    """,
    )


async def test_faults_of_a_poll(s: Scenario) -> None:
    await begun(s)
    lines = [
        f"unknown: {await told(s, polled(s, 'nothing'))}",
        f"no id: {await told(s, polled(s, ''))}",
        f"no workflow: {await told(s, polled(s, workflow_id=s.id('nobody')))}",
    ]
    expect(
        "\n".join(lines),
        """
        unknown: NOT_FOUND: update "nothing" not found
          NotFoundFailure
        no id: NOT_FOUND: update "" not found
          NotFoundFailure
        no workflow: NOT_FOUND: workflow not found for ID: nobody
          NotFoundFailure
    """,
    )


async def test_bad_messages(s: Scenario) -> None:
    await begun(s)
    lines = []

    async def try_with(name: str, *commands: c.command.Command, messages: list[Message]) -> None:
        task = await s.poll()
        try:
            await s.complete(task, *commands, messages=messages)
            lines.append(f"{name}: accepted")
        except Exception as caught:
            lines.append(f"{name}: {s.names(str(caught)) if callable(s.names) else caught}")

    update = sent(s, timeout=60)
    task = await s.poll()
    a = accept(task)
    await s.fail_task(task)
    await try_with("absent message", at(a), messages=[])
    await try_with("not sent", messages=[message("other", "x", Acceptance())])
    await try_with("no body", messages=[Message(id="i", protocol_instance_id="u")])
    expect(
        "\n".join(lines),
        """
        absent message: BadUpdateWorkflowExecutionMessage: ProtocolMessageCommand referenced absent message ID
              u/accept
        not sent: BadUpdateWorkflowExecutionMessage: update other wasn't found on the server. This is most
              likely a transient error which will be resolved automatically by retries
        no body: nil message body
    """,
    )
    update.cancel()


async def test_an_id_of_its_own(s: Scenario) -> None:
    await begun(s)
    request = update_request(s, "")
    update = asyncio.create_task(s.service.update_workflow_execution(request))
    task = await s.poll()
    assert len(task.messages[0].protocol_instance_id) == 36
    own = task.messages[0].protocol_instance_id
    a, r = accept(task, own), respond(own)
    await s.complete(task, at(a), at(r), messages=[a, r])
    reply = await update
    assert reply.update_ref.update_id == own
    assert reply.update_ref.workflow_execution.workflow_id == s.wf
