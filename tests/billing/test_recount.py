from collections.abc import Sequence
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from billing import ACTION_TABLE, BrokenHistory, Recount, comparable, differences, recount_run, recount_total
from billing.recount import HIDDEN_KINDS

FOLDER = Path(__file__).parent / "histories"

# What each recorded history was made to contain; recording.py says how.
RECORDED: dict[str, dict[str, int]] = {
    "child-signalled": {"start_workflow": 1},
    "continued-first": {"start_workflow": 1},
    "continued-second": {"continue_as_new_workflow": 1},
    "cron-first": {"start_workflow": 1},
    "cron-second": {"start_workflow_cron": 1},
    "delayed-signal-with-start": {"signal_workflow_with_start": 1},
    "delayed-then-signal": {"start_workflow": 1, "signal_workflow": 1},
    "everything": {
        "modify_workflow_properties": 1,
        "record_activity_markers": 2,
        "retry_activity": 2,
        "schedule_activity": 2,
        "start_timer": 2,
        "start_workflow": 1,
        "upsert_workflow_search_attributes": 1,
    },
    "parent": {"signal_external_workflow": 1, "start_child_workflow": 2, "start_workflow": 1},
    "reset": {"reset_workflow": 1},
    "retried-first": {"start_workflow": 1},
    "retried-second": {"start_workflow_retry": 1},
    "retries-unseen": {"schedule_activity": 1, "start_workflow": 1},
    "scheduled": {"schedule_workflow": 1, "start_workflow": 1},
    "signal-with-start": {"signal_workflow": 2, "signal_workflow_with_start": 1},
    "update": {"accept_workflow_update": 2, "signal_workflow": 1, "start_workflow": 1},
}


def recorded(name: str) -> Sequence[HistoryEvent]:
    return WorkflowHistory.from_json(name, (FOLDER / f"{name}.json").read_text()).events


def test_every_recording_is_expected() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_recorded(name: str) -> None:
    result = recount_run(recorded(name))
    assert result.counts == RECORDED[name]
    assert result.at_least == ({"retry_activity"} if name == "retries-unseen" else set())


def numbered(*events: HistoryEvent) -> list[HistoryEvent]:
    """A history of these events behind a plain start."""
    start = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
    start.workflow_execution_started_event_attributes.attempt = 1
    for number, event in enumerate([start, *events], 1):
        event.event_id = number
    return [start, *events]


def task_scheduled() -> HistoryEvent:
    return HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)


def signal(sender: str = "") -> HistoryEvent:
    event = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
    event.workflow_execution_signaled_event_attributes.external_workflow_execution.workflow_id = sender
    return event


def marker(name: str, task: int) -> HistoryEvent:
    event = HistoryEvent(event_type=EventType.EVENT_TYPE_MARKER_RECORDED)
    event.marker_recorded_event_attributes.marker_name = name
    event.marker_recorded_event_attributes.workflow_task_completed_event_id = task
    return event


def upsert(*keys: str) -> HistoryEvent:
    event = HistoryEvent(event_type=EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES)
    for key in keys:
        fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        fields[key].data = b"1"
    return event


def count(*events: HistoryEvent) -> dict[str, int]:
    counts = dict(recount_run(numbered(*events)).counts)
    counts.pop("start_workflow", None)
    return counts


def test_markers_count_once_a_task_and_versions_not_at_all() -> None:
    assert count(marker("core_patch", 4), marker("Version", 4)) == {}
    assert count(marker("core_patch", 4), marker("SideEffect", 4), marker("LocalActivity", 4)) == {
        "record_activity_markers": 1
    }
    assert count(marker("SideEffect", 4), marker("SideEffect", 9)) == {"record_activity_markers": 2}


def test_an_upsert_of_the_change_version_alone_is_free() -> None:
    assert count(upsert("TemporalChangeVersion")) == {}
    assert count(upsert("TemporalChangeVersion", "Other")) == {"upsert_workflow_search_attributes": 1}


def test_local_retries_count_at_most_a_hundred_a_task() -> None:
    def completed(retries: int) -> HistoryEvent:
        event = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
        metering = event.workflow_task_completed_event_attributes.metering_metadata
        metering.nonfirst_local_activity_execution_attempts = retries
        return event

    assert count(completed(3), completed(1000), completed(0)) == {"retry_activity_local": 103}


@pytest.mark.parametrize("place", ["child", "following run"])
def test_a_signal_in_event_2_where_no_client_s_start_was(place: str) -> None:
    history = numbered(signal(), task_scheduled())
    attributes = history[0].workflow_execution_started_event_attributes
    if place == "child":
        attributes.parent_workflow_execution.workflow_id = "parent"
        began = "start_workflow"
    else:
        attributes.continued_execution_run_id = "before"
        attributes.initiator = 1
        began = "continue_as_new_workflow"
    assert recount_run(history).counts == {began: 1, "signal_workflow": 1}


def test_a_delayed_start_with_a_signal_of_its_transaction_or_a_later_one() -> None:
    history = numbered(signal(), task_scheduled())
    history[0].workflow_execution_started_event_attributes.first_workflow_task_backoff.seconds = 9
    for event in history:
        event.event_time.seconds = 1_000
    assert recount_run(history).counts == {"signal_workflow_with_start": 1}
    history[1].event_time.nanos = 1
    apart = {"signal_workflow": 1, "start_workflow": 1}
    assert recount_run(history).counts == apart
    for first_id, second_id, expected in (
        (1, 2, apart),  # numbered like the events: says nothing
        (70, 71, {"signal_workflow_with_start": 1}),
        (70, 75, apart),
    ):
        history[0].task_id, history[1].task_id = first_id, second_id
        assert recount_run(history).counts == expected


def test_a_signal_from_a_workflow_is_the_sender_s() -> None:
    assert count(task_scheduled(), signal("sender")) == {}


def test_only_what_follows_the_last_reset_counts() -> None:
    def was_reset() -> HistoryEvent:
        event = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
        cause = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
        event.workflow_task_failed_event_attributes.cause = cause
        return event

    events = (
        task_scheduled(),
        marker("SideEffect", 2),
        was_reset(),
        signal(),
        task_scheduled(),
        signal(),
        was_reset(),
        signal(),
        signal(),
        task_scheduled(),
        signal(),
    )
    assert recount_run(numbered(*events)).counts == {"reset_workflow": 1, "signal_workflow": 1}


def test_options_attached_by_a_start_or_changed_by_a_call() -> None:
    by_start = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED)
    by_start.workflow_execution_options_updated_event_attributes.attached_request_id = "r"
    by_call = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED)
    assert count(by_start, by_call) == {"update_workflow_options_via_start": 1, "update_workflow_options": 1}


def test_a_history_with_a_gap_is_refused() -> None:
    history = numbered(task_scheduled(), signal())
    for wrong in ([], history[1:], [history[0], history[2]], [*history, history[2]], history[::-1]):
        with pytest.raises(BrokenHistory, match="oldest first"):
            recount_run(wrong)


def test_a_following_run_without_a_reason_is_refused() -> None:
    history = numbered()
    history[0].workflow_execution_started_event_attributes.continued_execution_run_id = "before"
    with pytest.raises(BrokenHistory, match="follows run before"):
        recount_run(history)


def test_all_that_is_counted_is_in_the_table_and_visible() -> None:
    counted = {kind for name in RECORDED for kind in recount_run(recorded(name)).counts}
    assert counted <= set(ACTION_TABLE)
    assert not counted & HIDDEN_KINDS


def test_a_ledger_is_compared_by_what_both_can_know() -> None:
    histories = recount_total([recount_run(recorded("signal-with-start")), recount_run(recorded("update"))])
    ledger = {
        "signal_workflow_with_start": 2,
        "signal_workflow": 2,
        "start_workflow": 1,
        "accept_workflow_update": 2,
        "reject_workflow_update": 1,
        "query_workflow": 9,
    }
    assert differences(ledger, histories) == {}
    assert differences({**ledger, "start_timer": 1}, histories) == {"start_timer": (1, 0)}
    assert differences({**ledger, "start_workflow": 0}, histories) == {"start_workflow": (0, 1)}


def test_a_lower_bound_allows_more_in_the_ledger_and_never_less() -> None:
    histories = Recount(counts={"retry_activity": 2}, at_least=frozenset({"retry_activity"}))
    assert differences({"retry_activity": 3}, histories) == {}
    assert differences({"retry_activity": 1}, histories) == {"retry_activity": (1, 2)}
    exact = Recount(counts=histories.counts, at_least=frozenset())
    assert differences({"retry_activity": 3}, exact) == {"retry_activity": (3, 2)}


def test_comparable_drops_zeros() -> None:
    assert comparable({"start_timer": 0, "query_workflow": 1}) == {}
