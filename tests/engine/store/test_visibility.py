"""Rows written, replaced, paged, counted and deleted, on both databases."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection
from temporalio.api.enums.v1 import IndexedValueType

from cloud.engine.store.statements import Statement
from cloud.engine.store.visibility import PAGE_SIZE_MAX, CursorError, Group, VisibilityRow
from cloud.engine.store.visibility_filter import parse_filter

from .conftest import VisibilityDatabase

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
INT = IndexedValueType.INDEXED_VALUE_TYPE_INT
TYPES = {"Kind": KEYWORD, "Size": INT}


def started(run: str, *, namespace: str = "n", start: int = 1, **changes: Any) -> VisibilityRow:
    """The row of a run that just started."""
    row = VisibilityRow(
        run_id=run,
        namespace_id=namespace,
        workflow_id=f"w-{run}",
        workflow_type="Order",
        task_queue="q",
        status=1,
        start_time=start,
        execution_time=start,
        root_workflow_id=f"w-{run}",
        root_run_id=run,
        first_run_id=run,
    )
    return dataclasses.replace(row, **changes)


def closed(run: str, *, close: int, **changes: Any) -> VisibilityRow:
    """The row of a run that closed."""
    ended = {
        "status": 2,
        "close_time": close,
        "history_length": 5,
        "history_size_bytes": 600,
        "state_transition_count": 3,
        "execution_duration_ns": close - 1,
    }
    return started(run, **{**ended, **changes})


def listed(
    database: VisibilityDatabase, query: str = "", namespace: str = "n", size: int = 100
) -> list[VisibilityRow]:
    """All pages of a list."""
    rows: list[VisibilityRow] = []
    cursor: bytes | None = None
    list_filter = parse_filter(query, TYPES)
    while True:
        page, cursor = database.run(
            lambda c, cursor=cursor: database.visibility.list_page(c, namespace, list_filter, size, cursor)  # type: ignore[misc]
        )
        assert len(page) <= size
        rows += page
        if cursor is None:
            return rows
        assert len(page) == size


def plan_of_last(database: VisibilityDatabase, connection: Connection) -> str:
    """How the database goes about the statement that it was sent last."""
    statement, parameters = database.sent[-1]
    explain = "EXPLAIN QUERY PLAN " if database.dialect == "sqlite" else "EXPLAIN "
    return str(connection.exec_driver_sql(explain + statement, parameters).all())


def put(database: VisibilityDatabase, *rows: VisibilityRow) -> None:
    """Write rows."""
    database.run(lambda c: database.visibility.upsert(c, rows))


def test_a_row_is_read_as_it_was_written(database: VisibilityDatabase) -> None:
    whole = closed(
        "r",
        close=2**62,
        parent_workflow_id="p",
        parent_run_id="pr",
        memo=b"\x00\xff",
        search_attributes=b"\x01",
        attributes={"Kind": 'ü "quoted" \\ �', "Size": -(2**63), "Words": ["a", ""], "On": True, "Part": 1.5},
    )
    put(database, whole, started("bare"))
    assert listed(database) == [started("bare"), whole]


def test_the_later_row_of_a_run_counts_in_a_batch_and_across_batches(database: VisibilityDatabase) -> None:
    put(database, started("a"), started("b"), closed("a", close=5))
    assert listed(database) == [started("b"), closed("a", close=5)]
    put(database, closed("b", close=6, attributes={"Kind": "x"}))
    assert listed(database) == [closed("b", close=6, attributes={"Kind": "x"}), closed("a", close=5)]
    put(database, closed("b", close=6))
    assert [row.attributes for row in listed(database)] == [None, None]


def test_deleted_rows_are_gone_and_unknown_ones_are_passed_over(database: VisibilityDatabase) -> None:
    put(database, *(started(str(number)) for number in range(5)))
    database.run(lambda c: database.visibility.delete(c, ["1", "3", "unknown"]))
    assert sorted(row.run_id for row in listed(database)) == ["0", "2", "4"]
    database.run(lambda c: database.visibility.delete(c, []))
    database.run(lambda c: database.visibility.upsert(c, []))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 21, 100])
def test_pages_hold_every_run_once_running_first_then_the_latest(
    database: VisibilityDatabase, size: int
) -> None:
    rows = [started(f"open-{number:02}", start=number // 3) for number in range(10)]
    rows += [closed(f"done-{number:02}", close=number // 4, start=number % 2) for number in range(10)]
    rows += [started("other", namespace="m")]
    put(database, *rows)
    found = listed(database, size=size)
    assert len(found) == 20
    expected = sorted(
        (row for row in rows if row.namespace_id == "n"),
        key=lambda row: (2**63 if row.close_time is None else row.close_time, row.start_time, row.run_id),
        reverse=True,
    )
    assert [row.run_id for row in found] == [row.run_id for row in expected]
    narrow = listed(database, "WorkflowId IN ('w-open-01', 'w-done-01', 'w-done-09', 'w-other')", size=size)
    assert [row.run_id for row in narrow] == ["open-01", "done-09", "done-01"]


def test_a_namespace_never_sees_anothers_runs(database: VisibilityDatabase) -> None:
    put(database, started("mine"), started("theirs", namespace="m"))
    for query in ("", "RunId = 'theirs'", "WorkflowId = 'x' OR RunId = 'theirs'", "NOT RunId = 'mine'"):
        assert [row.run_id for row in listed(database, query) if row.namespace_id != "n"] == []
    count = database.run(lambda c: database.visibility.count(c, "n", parse_filter("", {})))
    assert (count.total, count.groups) == (1, ())


def test_divisions_are_left_out_unless_named(database: VisibilityDatabase) -> None:
    scheduler = started("s", attributes={"TemporalNamespaceDivision": "TemporalScheduler"})
    put(database, started("plain"), started("tagged", attributes={"Kind": "x"}), scheduler)
    assert {row.run_id for row in listed(database)} == {"plain", "tagged"}
    assert [row.run_id for row in listed(database, "TemporalNamespaceDivision = 'TemporalScheduler'")] == [
        "s"
    ]
    every = "TemporalNamespaceDivision IS NULL OR TemporalNamespaceDivision IS NOT NULL"
    assert len(listed(database, every)) == 3
    count = database.run(
        lambda c: database.visibility.count(c, "n", parse_filter("GROUP BY TemporalNamespaceDivision", {}))
    )
    assert set(count.groups) == {Group(value=None, count=2), Group(value="TemporalScheduler", count=1)}


def test_counts_group_by_status(database: VisibilityDatabase) -> None:
    put(database, started("a"), started("b"), closed("c", close=3), closed("d", close=4, status=7))
    count = database.run(
        lambda c: database.visibility.count(c, "n", parse_filter("GROUP BY ExecutionStatus", {}))
    )
    assert count.total == 4
    assert count.groups == (
        Group(value="Running", count=2),
        Group(value="Completed", count=1),
        Group(value="TimedOut", count=1),
    )


def test_values_of_an_attributes_earlier_type_are_as_none(database: VisibilityDatabase) -> None:
    put(
        database,
        started("text", attributes={"Size": "big", "Kind": 5}),
        started("number", attributes={"Size": 5, "Kind": "5"}),
        started("list", attributes={"Size": [5], "Kind": ["5"]}),
        started("real", attributes={"Size": 5.5, "Kind": True}),
    )
    assert [row.run_id for row in listed(database, "Size >= 5 AND Size < 5.2")] == ["number"]
    assert [row.run_id for row in listed(database, "Size > 5.2")] == ["real"]
    assert [row.run_id for row in listed(database, "Kind = '5' OR Kind STARTS_WITH ''")] == ["number"]


@pytest.mark.parametrize("count", [1, 1_000])
def test_a_batch_is_few_statements_whatever_its_size(
    database: VisibilityDatabase, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    execute_many = Statement.execute_many

    def counted(statement: Statement, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        sizes.append(len(rows))
        execute_many(statement, connection, rows)

    monkeypatch.setattr(Statement, "execute_many", counted)
    rows = [started(f"{number:04}", attributes={"Size": number}) for number in range(count)]
    put(database, *rows)
    put(database, *(closed(row.run_id, close=9) for row in rows))
    database.run(lambda c: database.visibility.delete(c, [row.run_id for row in rows]))
    with_values, without, deleted = [count] * 3, [count], [count] * 2
    assert sizes == with_values + without + deleted
    database.sent.clear()
    listed(database)
    assert len(database.sent) == 1


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("", "visibility_order"),
        ("ExecutionStatus = 'Running'", "visibility_order"),
        ("WorkflowId = 'w-5'", "visibility_workflow_id"),
        ("WorkflowId STARTS_WITH 'w-5'", "visibility_workflow_id"),
    ],
)
def test_lists_use_their_index(database: VisibilityDatabase, query: str, index: str) -> None:
    put(database, *(started(f"{number:05}", start=number) for number in range(2_000)))
    if database.dialect == "postgresql":
        database.run(lambda c: c.exec_driver_sql("ANALYZE visibility"))
    list_filter = parse_filter(query, {})
    cursor: bytes | None = None
    for _ in ("first page", "second page"):
        page = cursor
        _, cursor = database.run(lambda c: database.visibility.list_page(c, "n", list_filter, 3, page))  # noqa: B023
        assert index in database.run(lambda c: plan_of_last(database, c)), query
        if cursor is None:
            break


@pytest.mark.parametrize(
    "cursor",
    [
        b"",
        b"\x01",
        b"garbage",
        b"\x02" + bytes(16) + b"run",
        b"\x01" + bytes(16),
        b"\x01" + bytes(16) + b"\xff",
    ],
)
def test_a_cursor_that_no_list_made_is_refused(database: VisibilityDatabase, cursor: bytes) -> None:
    with pytest.raises(CursorError, match="list again from the first page"):
        database.run(lambda c: database.visibility.list_page(c, "n", parse_filter("", {}), 1, cursor))


@pytest.mark.parametrize("size", [-1, 0, PAGE_SIZE_MAX + 1])
def test_a_page_has_a_bounded_size(database: VisibilityDatabase, size: int) -> None:
    with pytest.raises(ValueError, match="a page has 1 to 1000 rows"):
        database.run(lambda c: database.visibility.list_page(c, "n", parse_filter("", {}), size))
