"""What the filter refuses, how quickly, and in which words. What it finds: test_visibility_goldens.py."""

from __future__ import annotations

import contextlib
import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.enums.v1 import IndexedValueType

from cloud.engine.store.visibility_conditions import All, Compare, IsNull, Not
from cloud.engine.store.visibility_filter import (
    CONDITIONS_MAX,
    DEPTH_MAX,
    LENGTH_MAX,
    VALUES_MAX,
    FilterError,
    parse_filter,
)

from .conftest import VisibilityDatabase

TYPES = {
    "Kind": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "Note": IndexedValueType.INDEXED_VALUE_TYPE_TEXT,
    "Size": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "ScheduleId": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "WorkflowId": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    'Qu"ote': IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "With-Dash": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
}
MIB = "x" * 2**20
A = "Kind = 'a'"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        pytest.param("(" * 2**19 + A + ")" * 2**19, "characters, at most", id="a MiB of parentheses"),
        pytest.param("(" * 60_000, "words and signs", id="60,000 parentheses"),
        pytest.param("Kind = " + "'a' " * 15_000, "words and signs", id="15,000 texts"),
        pytest.param("`" * 60_001, "malformed", id="many backquotes"),
        pytest.param("'" * 60_001, "not closed", id="many quotes"),
        pytest.param("/*" * 30_000, "words and signs", id="many comments"),
        pytest.param("(" * 3_900 + A, "nested more than", id="unclosed parentheses"),
        pytest.param("(" * 21 + A + ")" * 21, "nested more than", id="a parenthesis too many"),
        pytest.param(")" * 7_000, "malformed", id="closing parentheses"),
        pytest.param("NOT " * 21 + A, "nested more than", id="a NOT too many"),
        pytest.param("NOT(" * 21 + A + ")" * 21, "nested more than", id="NOTs with parentheses"),
        pytest.param("Size = " + "- " * 7_000 + "1", "nested more than", id="many signs"),
        pytest.param("Size = " + "~ " * 7_000 + "1", "nested more than", id="many tildes"),
        pytest.param("! " * 7_000 + A, "nested more than", id="many exclamation marks"),
        pytest.param("lower(" * 3_000 + A, "nested more than", id="many functions"),
        pytest.param("CASE WHEN " * 3_000 + A, "malformed", id="many CASEs"),
        pytest.param("[" * 7_000, "nested more than", id="many brackets"),
        pytest.param("{" * 7_000, "nested more than", id="many braces"),
        pytest.param("Size = 1" + " = 1" * 3_000, "must be a column", id="many comparisons"),
        pytest.param("Size = 1" + " + 1" * 3_000, "unexpected value type", id="a long sum"),
        pytest.param("Kind = 'a' " + "'a' " * 7_000, "nested func", id="many texts in a row"),
        pytest.param("a." * 3_000 + "a = 1", "must be a column", id="many dots"),
        pytest.param(" OR ".join([A] * (CONDITIONS_MAX + 1)), "more than 200 conditions", id="conditions"),
        pytest.param(f"Size IN ({','.join(['1'] * (VALUES_MAX + 1))})", "more than 2000 values", id="values"),
        pytest.param(f"Note = '{' '.join(map(str, range(CONDITIONS_MAX + 1)))}'", "conditions", id="words"),
        pytest.param("SELECT " * 7_000, "malformed", id="many SELECTs"),
        pytest.param("WITH a AS (" * 1_900, "nested more than", id="many WITHs"),
        pytest.param("Kind IN (SELECT " * 1_900, "nested more than", id="many subqueries"),
        pytest.param("Size = 1 " + "IS NULL " * 3_000, "must be a column", id="many IS NULLs"),
        pytest.param("INTERVAL " * 7_000, "malformed", id="many INTERVALs"),
        pytest.param("Size = " + "9" * 60_000, "unable to parse value", id="a long number"),
        pytest.param("Size = 1e999999999", "unable to parse value", id="a large exponent"),
        pytest.param("ExecutionDuration < '" + "9" * 60_000 + "h'", "invalid duration", id="a long duration"),
        pytest.param("StartTime < '" + "9" * 60_000 + "'", "unable to parse datetime", id="a long time"),
    ],
)
def test_hostile_filters_are_refused_quickly(query: str, words: str) -> None:
    began = time.process_time()
    with pytest.raises(FilterError, match=words) as caught:
        parse_filter(query, TYPES)
    assert time.process_time() - began < 2
    assert len(str(caught.value)) < 500


def test_the_bounds_themselves_are_within(database: VisibilityDatabase) -> None:
    for query in (
        "(" * DEPTH_MAX + A + ")" * DEPTH_MAX,
        "NOT " * DEPTH_MAX + A,
        " AND ".join(["Note = 'a-b'", "Size > 1", A, "Kind STARTS_WITH 'b'"] * (CONDITIONS_MAX // 4)),
        " OR ".join(["Kind IN ('a', 'b')", "BuildIds = 'b'"] * (CONDITIONS_MAX // 2)),
        f"Kind IN ({','.join(['12345678'] * VALUES_MAX)})".replace("1234", "'1234").replace("5678", "5678'"),
        f"BuildIds IN ({','.join(['12345678'] * VALUES_MAX)})".replace("1234", "'1234").replace(
            "5678", "5678'"
        ),
        "Kind = '" + "x" * (LENGTH_MAX - 9) + "'",
        "Note = '" + "x " * 1_000 + "'",
        "Note = '" + " ".join(map(str, range(CONDITIONS_MAX))) + "'",
    ):
        assert len(query) <= LENGTH_MAX
        list_filter = parse_filter(query, TYPES)
        database.run(lambda c: database.visibility.list_page(c, "n", list_filter, 1))  # noqa: B023


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("Kind = 'a' AND Wrong = 1", "invalid search attribute: Wrong"),
        ("Kind = 'a' Wrong", 'malformed SQL query: syntax error at position 12 near "Wrong"'),
        ("Kind IN ()", "malformed SQL query: 'IN' needs values in parentheses, such as IN ('a', 'b')"),
        ("Kind = 'a'; DELETE FROM visibility", "malformed SQL query: a filter is one condition"),
        ("; Kind = 'a'", "malformed SQL query: a filter is one condition"),
        ("Kind = 'a' UNION SELECT * FROM visibility", "malformed SQL query: a filter is one condition"),
        ("Kind = 'a' FOR UPDATE", 'malformed SQL query: syntax error at position 12 near "FOR"'),
        ("Kind = 'a' INTO OUTFILE 'x'", "malformed SQL query"),
        ("GROUP BY ExecutionStatus WITH ROLLUP", 'syntax error at position 26 near "WITH"'),
        ("Kind LIKE 'a' ESCAPE 'b'", 'syntax error at position 15 near "ESCAPE"'),
        ("Kind = 'a' COLLATE nocase", 'syntax error at position 12 near "COLLATE"'),
        ("Kind = x'61'", "invalid expression: unexpected value type hexstring"),
        ("Kind = _utf8'a'", "invalid expression: unexpected value type introducer"),
        ("Kind = DATE '2020-01-01'", "malformed SQL query: syntax error at position 13 near"),
        ("Size = -'1'", "invalid expression: unexpected value type a string"),
        ("Size = - -1", "invalid expression: unexpected value type neg"),
        ("Size BETWEEN 1 AND 'b'", 'attribute Size of type Int: "b" (type: string)'),
        ("Kind = '" + "v" * 5_000 + "' AND Size = '" + "v" * 5_000 + "'", '"' + "v" * 100 + '..."'),
        ("ExecutionStatus STARTS_WITH 'Running'", "operator 'STARTS_WITH' not supported"),
        ("`Qu\"ote` = 'a'", None),
        ("`With-Dash` = 'a'", None),
        ("Kind = 'a';", None),
        ("Kind STARTS_WITH 'a' -- 'b'", None),
    ],
)
def test_refusals_say_what_is_wrong(query: str, message: str | None) -> None:
    if message is None:
        parse_filter(query, TYPES)
        return
    with pytest.raises(FilterError) as caught:
        parse_filter(query, TYPES)
    assert str(caught.value).startswith("invalid query: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["Date", "Status", "Index", "On", "Order", "Type", "Key", "Rank", "Values"])
def test_names_that_are_words_of_sql_need_no_quotes(name: str) -> None:
    query = f"{name} = 'a' AND {name} IN ('a') AND {name} IS NOT NULL AND NOT {name} STARTS_WITH 'x'"
    parse_filter(query, {name: TYPES["Kind"]})


def test_names_resolve_to_the_system_then_to_the_namespaces_own() -> None:
    def named(query: str) -> str:
        condition = parse_filter(query, TYPES).condition
        assert isinstance(condition, All)
        assert isinstance(condition.conditions[0], Compare)
        return condition.conditions[0].attribute.field

    assert named("WorkflowId = 'a'") == "WorkflowId"
    assert named("ScheduleId = 'a'") == "ScheduleId"
    assert named("TemporalScheduleId = 'a'") == "WorkflowId"
    assert named("ScheduledById = 'a'") == "TemporalScheduledById"
    assert named("TemporalRunId = 'a'") == "RunId"


def test_the_division_is_only_added_when_it_is_not_named() -> None:
    plain = parse_filter("Size = 1", TYPES).condition
    assert isinstance(plain, All)
    assert isinstance(plain.conditions[1], IsNull)
    assert isinstance(parse_filter("TemporalNamespaceDivision = 'a'", TYPES).condition, Compare)
    assert isinstance(parse_filter("NOT NamespaceDivision = 'a'", TYPES).condition, Not)


def test_no_value_goes_into_a_statement_or_a_log(
    database: VisibilityDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for secret in ("S3CRET", "S3CRET' OR '1'='1", 'S3CRET"; DROP TABLE visibility; --', "S3CRET\0\\"):
        quoted = "'" + secret.replace("\\", "\\\\").replace("'", "''") + "'"
        for query in (f"Kind = {quoted}", f"Note = {quoted}", f"BuildIds IN ({quoted})"):
            list_filter = parse_filter(query, TYPES)
            rows, _ = database.run(lambda c: database.visibility.list_page(c, "n", list_filter, 1))  # noqa: B023
            assert rows == []
    for query in ("Kind = 'a'; GRANT S3CRET", "S3CRET S3CRET S3CRET", "Kind = 'S3CRET"):
        with pytest.raises(FilterError):
            parse_filter(query, TYPES)
    assert not any("S3CRET" in statement for statement, _ in database.sent)
    assert "S3CRET" not in caplog.text


SIGNS = list("()=<>!,;*+-'\"`@:?.[]{}#~^|&%\0é")
KEYWORDS = """AND OR NOT IN BETWEEN IS NULL TRUE LIKE STARTS_WITH SELECT FROM WHERE GROUP BY ORDER LIMIT UNION
    CASE WHEN END EXISTS INTERVAL Kind Size Note StartTime ExecutionStatus 'a' 1 1.5 '2020-01-01T00:00:00Z'"""
TOKENS = st.sampled_from([*SIGNS, *KEYWORDS.split()])


@given(st.one_of(st.text(max_size=60), st.lists(TOKENS, max_size=25).map(" ".join)))
def test_whatever_is_asked_is_parsed_or_refused(query: str) -> None:
    """Nothing but FilterError comes out, however the text is made."""
    with contextlib.suppress(FilterError):
        parse_filter(query, TYPES)
