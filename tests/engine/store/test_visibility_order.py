"""ORDER BY: each type in both directions, whole and in pages of every size, on both databases."""

from __future__ import annotations

import random
from typing import Any

import pytest
from temporalio.api.enums.v1 import IndexedValueType

from cloud.engine.store.visibility import CursorError, VisibilityRow
from cloud.engine.store.visibility_filter import FilterError, parse_filter

from .conftest import VisibilityDatabase
from .test_visibility import closed, started

T = IndexedValueType
TYPES = {
    "Kind": T.INDEXED_VALUE_TYPE_KEYWORD,
    "Size": T.INDEXED_VALUE_TYPE_INT,
    "Price": T.INDEXED_VALUE_TYPE_DOUBLE,
    "Paid": T.INDEXED_VALUE_TYPE_BOOL,
    "Due": T.INDEXED_VALUE_TYPE_DATETIME,
    "Tags": T.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "Note": T.INDEXED_VALUE_TYPE_TEXT,
}
VALUES: dict[str, tuple[Any, ...]] = {
    "Kind": ("", "a", "B", "ä", "\U0001f600"),
    "Size": (0, -1, 7, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)),
    "Price": (0.0, 0.1, 0.30000000000000004, -1.5, 1e300, 3.0),
    "Paid": (True, False),
    "Due": (0, 5, 2**60),
}


def population() -> list[VisibilityRow]:
    chance = random.Random(3)
    rows = []
    for number in range(60):
        attributes = {name: chance.choice(values) for name, values in VALUES.items() if chance.random() < 0.8}
        fields: dict[str, Any] = {"start": chance.randint(1, 5), "attributes": attributes or None}
        if number % 3:
            rows.append(closed(f"r{number:03}", close=chance.randint(10, 14), **fields))
        else:
            rows.append(started(f"r{number:03}", **fields))
    return rows


def paged(database: VisibilityDatabase, query: str, size: int) -> list[str]:
    found: list[str] = []
    cursor: bytes | None = None
    parsed = parse_filter(query, TYPES, may_order=True)
    while True:
        rows, cursor = database.run(
            lambda c, at=cursor: database.visibility.list_page(c, "n", parsed, size, at)
        )
        found += [row.run_id for row in rows]
        if cursor is None:
            return found


@pytest.mark.parametrize("direction", ["", " ASC", " DESC"])
def test_each_type(database: VisibilityDatabase, direction: str) -> None:
    rows = population()
    database.run(lambda c: database.visibility.upsert(c, rows))

    def value(row: VisibilityRow, name: str) -> Any:
        if name in VALUES:
            return (row.attributes or {}).get(name)
        return {
            "StartTime": row.start_time,
            "CloseTime": row.close_time,
            "WorkflowId": row.workflow_id,
            "ExecutionStatus": row.status,
        }[name]

    for name in (*VALUES, "StartTime", "CloseTime", "WorkflowId", "ExecutionStatus"):
        for condition in ("", "Size = 7 ", "Kind IN ('a', 'B') ", "ExecutionStatus = 'Completed' "):
            wanted = [row for row in rows if _meets(row, condition)]
            wanted.sort(key=lambda row: row.run_id)
            having = [row for row in wanted if value(row, name) is not None]
            having.sort(key=lambda row: value(row, name), reverse=direction == " DESC")
            if direction == " DESC":  # a stable sort turned round: equal ones stay by their run ids
                having.sort(key=lambda row: row.run_id)
                having.sort(key=lambda row: value(row, name), reverse=True)
            expected = [row.run_id for row in having + [row for row in wanted if value(row, name) is None]]
            query = f"{condition}ORDER BY {name}{direction}"
            for size in (1, 7, 100):
                if size == 1 and condition == "":
                    continue
                assert paged(database, query, size) == expected, (query, size)


def _meets(row: VisibilityRow, condition: str) -> bool:
    attributes = row.attributes or {}
    if condition.startswith("Size"):
        return attributes.get("Size") == 7
    if condition.startswith("Kind"):
        return attributes.get("Kind") in ("a", "B")
    return row.status == 2 if condition else True


@pytest.mark.parametrize(
    "query",
    [
        "ORDER BY Tags",
        "ORDER BY Note",
        "ORDER BY Nothing",
        "ORDER BY StartTime, CloseTime",
        "ORDER BY 1",
        "ORDER BY StartTime + 1",
        "GROUP BY ExecutionStatus ORDER BY ExecutionStatus",
    ],
)
def test_refusals(query: str) -> None:
    with pytest.raises(FilterError):
        parse_filter(query, TYPES, may_order=True)


def test_counts_have_no_order() -> None:
    with pytest.raises(FilterError, match="'ORDER BY' clause"):
        parse_filter("ORDER BY StartTime", TYPES)


def test_a_cursor_of_another_order(database: VisibilityDatabase) -> None:
    database.run(lambda c: database.visibility.upsert(c, [started("a"), started("b")]))
    plain = parse_filter("", TYPES)
    ordered = parse_filter("ORDER BY StartTime", TYPES, may_order=True)
    _, cursor = database.run(lambda c: database.visibility.list_page(c, "n", plain, 1))
    with pytest.raises(CursorError):
        database.run(lambda c: database.visibility.list_page(c, "n", ordered, 1, cursor))
    _, cursor = database.run(lambda c: database.visibility.list_page(c, "n", ordered, 1))
    with pytest.raises(CursorError):
        database.run(lambda c: database.visibility.list_page(c, "n", plain, 1, cursor))
