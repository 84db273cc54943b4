import asyncio
import uuid

import temporalio.api.workflowservice.v1 as ws
from temporalio.api.enums.v1 import HistoryEventFilterType

from . import commands as c
from .raw import CLOSE_EVENT, Scenario


async def test_pages(s: Scenario) -> None:
    await s.start()
    await s.step(c.marker("a"), c.marker("b"), c.complete())
    sizes, token, ids = [], b"", []
    while True:
        page = await s.history_page(maximum_page_size=2, next_page_token=token)
        sizes.append(len(page.history.events))
        ids += [event.event_id for event in page.history.events]
        token = page.next_page_token
        if not token:
            break
    assert ids == [1, 2, 3, 4, 5, 6, 7]
    assert sum(sizes) == 7


async def test_reverse(s: Scenario) -> None:
    await s.start()
    await s.step(c.marker("a"), c.complete())
    ids, token = [], b""
    while True:
        page = await s.service.get_workflow_execution_history_reverse(
            ws.GetWorkflowExecutionHistoryReverseRequest(
                namespace=s.namespace, execution=s.execution(), maximum_page_size=4, next_page_token=token
            )
        )
        ids += [event.event_id for event in page.history.events]
        token = page.next_page_token
        if not token:
            break
    assert ids == [6, 5, 4, 3, 2, 1]


async def test_close_event_of_a_running_workflow_is_waited_for_until_the_deadline(s: Scenario) -> None:
    await s.start()
    page = await s.history_page(history_event_filter_type=CLOSE_EVENT, timeout=6)
    assert list(page.history.events) == []
    assert not page.next_page_token


async def test_close_event_of_a_closed_workflow(s: Scenario) -> None:
    await s.start()
    await s.step(c.complete())
    page = await s.history_page(history_event_filter_type=CLOSE_EVENT)
    s.expect_events(
        page.history.events,
        """
            5 WorkflowExecutionCompleted workflow_task_completed_event_id=4
        """,
    )


async def test_wait_for_the_close_event(s: Scenario) -> None:
    await s.start()
    waiting = asyncio.create_task(s.closed())
    await asyncio.sleep(0.05)
    await s.step(c.complete("done"))
    s.expect_events(
        [await waiting],
        """
            5 WorkflowExecutionCompleted result=['done'] workflow_task_completed_event_id=4
        """,
    )


async def test_wait_for_new_events(s: Scenario) -> None:
    await s.start()
    page = await s.history_page(wait_new_event=True)
    assert [event.event_id for event in page.history.events] == [1, 2]
    assert page.next_page_token
    waiting = asyncio.create_task(s.history_page(wait_new_event=True, next_page_token=page.next_page_token))
    await asyncio.sleep(0.05)
    await s.signal("new")
    page = await waiting
    s.expect_events(
        page.history.events,
        """
            3 WorkflowExecutionSignaled signal_name=new request_id=<id>
        """,
    )
    assert page.next_page_token
    await s.terminate()
    page = await s.history_page(wait_new_event=True, next_page_token=page.next_page_token)
    s.expect_events(
        page.history.events,
        """
            4 WorkflowExecutionTerminated reason="terminated by user via frontend"
        """,
    )
    assert not page.next_page_token


async def test_event_times_and_ids_rise(s: Scenario) -> None:
    await s.start()
    await s.step(c.marker("a"), c.complete())
    events = await s.history()
    assert [event.event_id for event in events] == list(range(1, len(events) + 1))
    times = [event.event_time.ToNanoseconds() for event in events]
    assert times == sorted(times)
    tasks = [event.task_id for event in events]
    assert tasks == sorted(set(tasks))


async def test_latest_run_is_taken_without_a_run_id(s: Scenario) -> None:
    await s.start()
    await s.step(c.complete(1))
    second = await s.start()
    history = await s.history()
    assert history[0].workflow_execution_started_event_attributes.original_execution_run_id == second.run_id


async def test_refusals(s: Scenario) -> None:
    await s.start()
    await s.expect_refusal(
        s.history(run_id=str(uuid.uuid4())),
        """
            NOT_FOUND: workflow execution not found for workflow ID "wf" and run ID "run1"
              NotFoundFailure
        """,
    )
    await s.expect_refusal(
        s.history(run_id="no uuid"),
        """
            INVALID_ARGUMENT: Invalid RunId.
        """,
    )
    await s.expect_refusal(
        s.history_page(next_page_token=b"garbage"),
        """
            INVALID_ARGUMENT: Invalid NextPageToken.
        """,
    )
    page = await s.history_page(wait_new_event=True)
    other = s.id("other")
    await s.start(workflow_id=other)
    await s.expect_refusal(
        s.history_page(other, next_page_token=page.next_page_token, run_id=str(uuid.uuid4())),
        """
            INVALID_ARGUMENT: RunId in the request does not match the NextPageToken.
        """,
    )


async def test_unspecified_filter_means_all(s: Scenario) -> None:
    await s.start()
    unspecified = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_UNSPECIFIED
    assert len(await s.history(history_event_filter_type=unspecified)) == 2
