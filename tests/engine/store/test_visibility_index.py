"""The index of search attributes: finds what a walk finds, in the same order and pages, and only narrows."""

from __future__ import annotations

import dataclasses
import random
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import func, select
from temporalio.api.enums.v1 import IndexedValueType

from cloud.engine.store import visibility as visibility_module
from cloud.engine.store.search_attribute_values import Words
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.visibility_filter import parse_filter
from cloud.engine.store.visibility_index import KEY_CHARACTERS_MAX, key_of, keys_for

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
LONG = "ä" * 1_000
KINDS = ("", "a", "ab", "abc", "b", "Ä", "ö", "a\U0010ffff", LONG, LONG + "x", "\U0001f600", " x ")
NUMBERS = (0, -0.0, 1, -1, 1.5, -1.5, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 1e300, -1e300, 1e-300)
QUERIES = (
    *(f"Kind = '{kind}'" for kind in KINDS),
    "Kind IN ('a', 'b')",
    "Kind IN ('a')",
    "Kind > 'ab'",
    "Kind >= 'ab' AND Kind < 'b'",
    "Kind <= 'ab'",
    "Kind < ''",
    f"Kind > '{LONG}'",
    f"Kind <= '{LONG}'",
    f"Kind >= '{LONG}x'",
    "Kind BETWEEN 'a' AND 'b'",
    f"Kind BETWEEN 'b' AND '{LONG}'",
    "Kind STARTS_WITH 'a'",
    "Kind STARTS_WITH ''",
    f"Kind STARTS_WITH '{LONG}'",
    "Kind != 'a'",
    "NOT Kind = 'a'",
    "Kind = 'a' OR Size = 1",
    "(Kind = 'a' AND Size = 1) AND WorkflowType = 'Order'",
    "Kind IS NULL",
    "Size = 1",
    "Size = 1.0",
    "Size > 9007199254740992",
    "Size >= 9007199254740993",
    "Size < 0",
    "Size IN (0, 1, -1)",
    "Size BETWEEN -1 AND 1",
    "Price = 1.5",
    "Price > 1.5",
    "Price <= -1.5",
    "Price = 0",
    "Paid = true",
    "Paid != true",
    "Due > '1970-01-01T00:00:00Z'",
    "Due = 1",
    "Tags = 'a'",
    "Tags IN ('a', 'b')",
    "Tags != 'a'",
    "Note = 'one'",
    "Tags = 'a' AND ExecutionStatus = 'Completed'",
    "Kind = 'a' AND WorkflowId = 'w-3'",
)


def population(chance: random.Random) -> list[VisibilityRow]:
    rows: list[VisibilityRow] = []
    for number in range(150):
        attributes: dict[str, Any] = {}
        if chance.random() < 0.8:
            attributes["Kind"] = chance.choice(KINDS)
        if chance.random() < 0.8:
            attributes["Size"] = int(chance.choice((0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63))))
        if chance.random() < 0.8:
            attributes["Price"] = float(chance.choice(NUMBERS))
        if chance.random() < 0.5:
            attributes["Paid"] = chance.random() < 0.5
        if chance.random() < 0.5:
            attributes["Due"] = chance.choice((0, 1, 2**60))
        if chance.random() < 0.5:
            attributes["Tags"] = chance.sample(["a", "b", "c", "a\x7f"], chance.randint(1, 3))
        if chance.random() < 0.3:
            attributes["Note"] = Words(" one two ")
        make = started if chance.random() < 0.3 else closed
        fields: dict[str, Any] = {"start": chance.randint(1, 9)}
        if make is closed:
            fields["close"] = chance.randint(10, 20)
        rows.append(
            make(
                f"r{number:03}",
                workflow_id=f"w-{number % 10}",
                attributes=attributes or None,
                namespace=chance.choice("nm"),
                **fields,
            )
        )
    return rows


def pages(database: VisibilityDatabase, query: str, size: int) -> list[str]:
    found: list[str] = []
    cursor: bytes | None = None
    while True:
        parsed = parse_filter(query, TYPES)
        rows, cursor = database.run(
            lambda c, at=cursor, parsed=parsed: database.visibility.list_page(c, "n", parsed, size, at)
        )
        found += [row.run_id for row in rows]
        if cursor is None:
            return found


def test_it_finds_what_a_walk_finds(database: VisibilityDatabase) -> None:
    chance = random.Random(1)
    rows = population(chance)
    database.run(lambda c: database.visibility.upsert(c, rows))
    again = [
        dataclasses.replace(row, close_time=30, status=2, attributes=dict(row.attributes or {}) | {"Size": 1})
        for row in chance.sample(rows, 50)
    ]
    database.run(lambda c: database.visibility.upsert(c, again))
    gone = [row.run_id for row in chance.sample(rows, 20)]
    database.run(lambda c: database.visibility.delete(c, gone))
    for query in QUERIES:
        with mock.patch.object(visibility_module, "keys_for", return_value=None):
            walked = pages(database, query, 100)
        for size in (7, 100):
            assert pages(database, query, size) == walked, query
        parsed = parse_filter(query, TYPES)
        count = database.run(lambda c, parsed=parsed: database.visibility.count(c, "n", parsed).total)
        assert count == len(walked), query
        with mock.patch.object(visibility_module, "RANGE_RUNS_MAX", 3):
            assert pages(database, query, 7) == walked, query


def test_runs_without_attributes_send_nothing_more(database: VisibilityDatabase) -> None:
    plain = [started("a"), started("b", attributes={"BuildIds": ["unversioned"], "Note": Words(" x ")})]
    database.run(lambda c: database.visibility.upsert(c, plain))
    assert not any("visibility_values" in statement for statement, _ in database.sent)
    values = database.metadata.tables["visibility_values"]
    assert database.run(lambda c: c.execute(select(func.count()).select_from(values)).scalar_one()) == 0


def test_a_run_that_lost_an_attribute_is_not_found_by_it(database: VisibilityDatabase) -> None:
    database.run(lambda c: database.visibility.upsert(c, [started("a", attributes={"Kind": "x"})]))
    assert pages(database, "Kind = 'x'", 10) == ["a"]
    database.run(lambda c: database.visibility.upsert(c, [started("a")]))
    assert pages(database, "Kind = 'x'", 10) == []
    database.run(lambda c: database.visibility.delete(c, ["a"]))
    values = database.metadata.tables["visibility_values"]
    assert database.run(lambda c: c.execute(select(func.count()).select_from(values)).scalar_one()) == 0


def test_keys_keep_the_order_of_values() -> None:
    texts = sorted(KINDS)
    assert [key_of(text) for text in texts] == sorted(key_of(text) for text in texts)
    numbers = sorted(NUMBERS)
    assert [key_of(number) for number in numbers] == sorted(key_of(number) for number in numbers)
    assert key_of(0) == key_of(-0.0) == key_of(False)
    assert len(key_of("x" * 5_000)) == KEY_CHARACTERS_MAX + 1


@pytest.mark.parametrize(
    ("query", "attribute"),
    [
        ("Kind = 'a' AND Size > 1", "Kind"),
        ("Size > 1 AND Kind IN ('a', 'b')", "Kind"),
        ("Size > 1", "Size"),
        ("Kind = 'a' OR Size > 1", None),
        ("NOT Kind = 'a'", None),
        ("Kind != 'a'", None),
        ("Note = 'x'", None),
        ("BuildIds = 'x'", None),
        ("WorkflowType = 'x'", None),
        ("TemporalScheduledById = 'x'", "TemporalScheduledById"),
    ],
)
def test_which_condition_is_served(query: str, attribute: str | None) -> None:
    keys = keys_for(parse_filter(query, TYPES).condition)
    assert (None if keys is None else keys.attribute) == attribute
