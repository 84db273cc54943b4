"""What counts as equal, and what needs a reason."""

from tests.conformance.coverage import METHOD, universe
from tests.conformance.table import DIFFERENT, EQUAL, UNCOVERED, markdown, rows, unexplained

START, SIGNAL, PAUSE = (
    (METHOD, "StartWorkflowExecution"),
    (METHOD, "SignalWorkflowExecution"),
    (METHOD, "PauseActivity"),
)


def test_rows_and_what_needs_a_reason() -> None:
    ours = {
        "a": ("passed", {START, SIGNAL}),
        "b": ("passed", {SIGNAL, PAUSE}),
        "c": ("failed", {PAUSE}),
    }
    real = {"a": ("passed", {START}), "b": ("failed", set()), "c": ("passed", {PAUSE})}
    table = {row.item: row for row in rows(ours, real, {"CountSchedules": 3}, {"method Pause*": "because"})}
    assert table[START].status == EQUAL
    assert (table[SIGNAL].agreed, table[SIGNAL].only_ours) == (1, 1)
    assert table[PAUSE].status == DIFFERENT
    assert table[PAUSE].reason == "because"
    assert table[METHOD, "CountSchedules"].status == EQUAL
    assert table[METHOD, "DescribeSchedule"].status == UNCOVERED
    missing = unexplained(list(table.values()))
    assert "method DescribeSchedule: not covered" in missing
    assert not any("PauseActivity" in line for line in missing)
    assert "| PauseActivity | known difference | 0 | 1 | because |" in markdown(list(table.values()), "1.32")


def test_the_universe_is_the_protocol() -> None:
    items = universe()
    assert len(items) == len(set(items)) > 400
    assert ("command", "SCHEDULE_NEXUS_OPERATION") in items
    assert ("error detail", "MultiOperationExecutionFailure") in items
    assert ("enum value", "ParentClosePolicy.REQUEST_CANCEL") in items
