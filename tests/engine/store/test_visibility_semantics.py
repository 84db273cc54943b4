"""Random filters over random rows: the database finds what a small evaluator in Python finds."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import SearchAttributes
from temporalio.api.enums.v1 import IndexedValueType

from cloud.engine.store.search_attribute_values import encode, indexed
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.visibility_filter import parse_filter

from .conftest import VisibilityDatabase

TYPES = {
    "Word": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "Words": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "Whole": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "Real": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "On": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
    "When": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
}

Row: TypeAlias = dict[str, Any]
Truth: TypeAlias = bool | None  # None: unknown, as SQL has it
Filter: TypeAlias = tuple[str, Callable[[Row], Truth]]

# A few close neighbours, so that equality, order and prefixes all happen.
TEXTS = st.one_of(
    st.sampled_from(
        ["", "a", "A", "ab", "a%", "a_b", "b", "é", "z", "it's", 'say "x"', "back\\slash", "\U0010ffff", "☃"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3),
)
INTS = st.one_of(st.integers(-3, 3), st.sampled_from([2**53 + 1, 2**63 - 1, -(2**63)]))
REALS = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([0.5, -2.25, 1e300, 5e-324]))
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -2.25])
TIMES = st.integers(-3, 3)

ROWS = st.fixed_dictionaries(
    {
        "WorkflowId": TEXTS,
        "HistoryLength": st.none() | INTS,
        "CloseTime": st.none() | TIMES,
        "ExecutionStatus": st.integers(1, 7),
    },
    optional={
        "Word": TEXTS,
        "Words": st.lists(TEXTS, min_size=1, max_size=3),
        "Whole": INTS,
        "Real": REALS,
        "On": st.booleans(),
        "When": TIMES,
    },
)
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "WorkflowId": TEXTS,
    "Word": TEXTS,
    "HistoryLength": INTS,
    "Whole": INTS,
    "Real": NUMBERS,
    "On": st.booleans(),
    "CloseTime": TIMES,
    "When": TIMES,
    "ExecutionStatus": st.integers(1, 7),
}


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
    return repr(value)


def _known(name: str, test: Callable[[Any], bool]) -> Callable[[Row], Truth]:
    """`test` of the value of `name`; unknown where there is none."""
    return lambda row: None if row.get(name) is None else test(row[name])


def _not(truth: Truth) -> Truth:
    return None if truth is None else not truth


@st.composite
def _scalar(draw: st.DrawFn) -> Filter:
    name = draw(st.sampled_from(sorted(VALUES)))
    values = VALUES[name]
    kind = draw(st.sampled_from(["compare", "in", "between", "null"]))
    if kind == "null":
        return f"{name} IS NULL", lambda row: row.get(name) is None
    if kind == "in":
        chosen = draw(st.lists(values, min_size=1, max_size=4))
        return f"{name} IN ({', '.join(map(_literal, chosen))})", _known(name, lambda value: value in chosen)
    if kind == "between" and name != "On":
        low, high = draw(values), draw(values)
        text = f"{name} BETWEEN {_literal(low)} AND {_literal(high)}"
        return text, _known(name, lambda value: low <= value <= high)
    sign, other = draw(st.sampled_from(sorted(COMPARE))), draw(values)
    return f"{name} {sign} {_literal(other)}", _known(name, lambda value: COMPARE[sign](value, other))


@st.composite
def _prefix(draw: st.DrawFn) -> Filter:
    name, prefix = draw(st.sampled_from(["WorkflowId", "Word"])), draw(TEXTS)
    return f"{name} STARTS_WITH {_literal(prefix)}", _known(name, lambda value: value.startswith(prefix))


@st.composite
def _list(draw: st.DrawFn) -> Filter:
    chosen = draw(st.lists(TEXTS, min_size=1, max_size=3))
    if draw(st.booleans()):
        return "Words IS NOT NULL", lambda row: "Words" in row
    if len(chosen) == 1:
        return f"Words = {_literal(chosen[0])}", lambda row: chosen[0] in row.get("Words", ())
    values = ", ".join(map(_literal, chosen))
    return f"Words IN ({values})", lambda row: any(each in row.get("Words", ()) for each in chosen)


def _combined(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    def negated(one: Filter) -> Filter:
        return f"NOT ({one[0]})", lambda row: _not(one[1](row))

    def both(one: Filter, other: Filter) -> Filter:
        def truth(row: Row) -> Truth:
            truths = (one[1](row), other[1](row))
            return False if False in truths else None if None in truths else True

        return f"({one[0]}) AND ({other[0]})", truth

    def either(one: Filter, other: Filter) -> Filter:
        def truth(row: Row) -> Truth:
            truths = (one[1](row), other[1](row))
            return True if True in truths else None if None in truths else False

        return f"({one[0]}) OR ({other[0]})", truth

    return st.one_of(inner.map(negated), st.builds(both, inner, inner), st.builds(either, inner, inner))


FILTERS = st.recursive(st.one_of(_scalar(), _prefix(), _list()), _combined, max_leaves=5)


def _stored(number: int, row: Row) -> VisibilityRow:
    attributes = {name: row[name] for name in TYPES if name in row}
    return VisibilityRow(
        run_id=str(number),
        namespace_id="n",
        workflow_id=row["WorkflowId"],
        workflow_type="t",
        task_queue="q",
        status=row["ExecutionStatus"],
        start_time=number,
        execution_time=0,
        close_time=row["CloseTime"],
        history_length=row["HistoryLength"],
        root_workflow_id="",
        root_run_id="",
        first_run_id="",
        attributes=attributes or None,
    )


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=st.lists(ROWS, min_size=1, max_size=6), filters=st.lists(FILTERS, min_size=1, max_size=6))
def test_a_filter_finds_what_it_says(
    database: VisibilityDatabase, rows: list[Row], filters: list[Filter]
) -> None:
    visibility = database.visibility
    database.run(lambda c: c.execute(database.table.delete()))
    database.run(lambda c: visibility.upsert(c, [_stored(number, row) for number, row in enumerate(rows)]))
    for text, truth in filters:
        expected = {str(number) for number, row in enumerate(rows) if truth(row)}
        list_filter = parse_filter(text, TYPES)
        found, _ = database.run(lambda c: visibility.list_page(c, "n", list_filter, 10))  # noqa: B023
        assert {row.run_id for row in found} == expected, text
        assert database.run(lambda c: visibility.count(c, "n", list_filter)).total == len(expected)  # noqa: B023


@pytest.mark.parametrize(
    ("text", "phrase", "found"),
    [
        ("The quick brown Fox", "FOX", True),
        ("The quick brown Fox", "brown-fox", True),
        ("The quick brown Fox", "quick-fox", False),
        ("The quick brown Fox", "ro", False),
        ("The quick brown Fox", "ro fox", True),
        ("Café Straße", "cafe", True),
        ("Café Straße", "STRASSE", True),
        ("a%b", "a_b", True),
        ("a.b.c 10.5", "b.c", True),
        ("a.b.c 10.5", "10", True),
        ("日本語", "日本語", True),
        ("", "a", False),
        ("a", "-", False),
    ],
)
def test_texts_are_searched_by_words(
    database: VisibilityDatabase, text: str, phrase: str, found: bool
) -> None:

    types = {"Note": IndexedValueType.INDEXED_VALUE_TYPE_TEXT}
    sent = SearchAttributes(indexed_fields={"Note": encode(text, types["Note"])})
    row = _stored(0, {"WorkflowId": "w", "ExecutionStatus": 1, "CloseTime": None, "HistoryLength": None})
    noted = dataclasses.replace(row, attributes=indexed(sent, types))
    database.run(lambda c: database.visibility.upsert(c, [noted]))
    for query, expected in ((f"Note = '{phrase}'", found), (f"Note != '{phrase}'", not found)):
        list_filter = parse_filter(query, types)
        count = database.run(lambda c: database.visibility.count(c, "n", list_filter))  # noqa: B023
        assert count.total == expected, query
