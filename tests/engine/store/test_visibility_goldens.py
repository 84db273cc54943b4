"""Our lists and counts beside the recorded answers of a real server (record_visibility_goldens.py)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import SearchAttributes

from cloud.engine.store.search_attribute_values import indexed
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.visibility_filter import FilterError, parse_filter

from .conftest import VisibilityDatabase

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "goldens" / "visibility.json").read_text("utf-8")
)
TYPES = GOLDEN["types"]

# Where we differ on purpose: what we find instead, as workflow ids, or None where we refuse.
DIFFERENT: dict[str, tuple[list[str] | None, str]] = {
    "WorkflowId STARTS_WITH 'ORDER'": ([], "case counts, as it does for = and on the server's Postgres"),
    "VisKeyword STARTS_WITH 'alpha'": (["order-1", "order-2"], "the same"),
    "VisKeyword NOT STARTS_WITH 'alpha'": (
        ["order-3", "order_4%", "to-cancel", "to-terminate", "to-time-out", "Ünïcode"],
        "the same",
    ),
    "VisWords = 'green'": (["order-1"], "case counts, as on the server's Postgres"),
    "WorkflowId = 'it''s'": ([], "equal; kept as the neighbour of the next"),
    "VisTime = '2026-01-01T00:00:00Z'": (["order-1"], "the server's SQLite compares times as texts"),
    "VisTime = '2026-01-01T01:00:00+01:00'": (["order-1"], "the same"),
    "VisTime = '2026-02-01T00:00:00.123456Z'": (["order-2"], "the same"),
    "VisTime IN ('2026-01-01T00:00:00Z')": (["order-1"], "the same"),
    "Keyword01 = 'alpha'": (None, "a column of the server's own, not an attribute"),
    "WorkflowId = 'order-1' HAVING 1": (None, "the server overlooks the clause"),
    "! (WorkflowId = 'order-1')": (
        [row["workflow_id"] for row in GOLDEN["rows"] if row["workflow_id"] != "order-1"],
        "! is NOT",
    ),
}
# Sentences that name Go types or positions in the server's own statement; ours say the same in other words.
OTHER_WORDS = (
    "syntax error at position",
    "*sqlparser.",
    "sqlparser.BoolVal",
    "unable to parse value",
    "something went wrong",
    "SQL logic error",
    '"@name"',
)


def _bytes(text: str | None) -> bytes | None:
    return base64.b64decode(text) if text is not None else None


def _rows() -> list[VisibilityRow]:
    rows = []
    for each in GOLDEN["rows"]:
        raw = _bytes(each["search_attributes"])
        attributes = indexed(SearchAttributes.FromString(raw), TYPES) if raw else None
        rows.append(
            VisibilityRow(
                **{
                    **each,
                    "namespace_id": "n",
                    "memo": _bytes(each["memo"]),
                    "search_attributes": raw,
                    "attributes": attributes,
                }
            )
        )
    return rows


WORKFLOW_IDS = {row["run_id"]: row["workflow_id"] for row in GOLDEN["rows"]}


def _found(database: VisibilityDatabase, query: str) -> list[str]:
    list_filter = parse_filter(query, TYPES)
    rows, cursor = database.run(lambda c: database.visibility.list_page(c, "n", list_filter, 100))
    assert cursor is None
    return [row.run_id for row in rows]


def _refusal(query: str, ask: Callable[[], object]) -> str:
    with pytest.raises(FilterError) as caught:
        ask()
    message = str(caught.value)
    assert message.startswith("invalid query: "), query
    return message


def test_lists_find_what_the_real_server_finds_in_its_order(database: VisibilityDatabase) -> None:
    database.run(lambda c: database.visibility.upsert(c, _rows()))
    for asked in GOLDEN["lists"]:
        query = asked["query"]
        if query in DIFFERENT:
            found = DIFFERENT[query][0]
            if found is None:
                _refusal(query, lambda query=query: _found(database, query))  # type: ignore[misc]
            else:
                assert sorted(WORKFLOW_IDS[run] for run in _found(database, query)) == sorted(found), query
        elif "runs" in asked:
            assert _found(database, query) == asked["runs"], query
        else:
            message = _refusal(query, lambda query=query: _found(database, query))  # type: ignore[misc]
            if not any(words in asked["error"] for words in OTHER_WORDS):
                assert message.startswith(asked["error"]), query


def test_counts_are_the_real_servers(database: VisibilityDatabase) -> None:
    database.run(lambda c: database.visibility.upsert(c, _rows()))

    def counted(query: str) -> Any:
        list_filter = parse_filter(query, TYPES)
        return database.run(lambda c: database.visibility.count(c, "n", list_filter))

    for asked in GOLDEN["counts"]:
        query = asked["query"]
        if "error" in asked:
            message = _refusal(query, lambda query=query: counted(query))  # type: ignore[misc]
            if not any(words in asked["error"] for words in OTHER_WORDS):
                assert message == asked["error"], query
        else:
            count = counted(query)
            assert count.total == asked["count"], query
            assert [[[group.value or ""], group.count] for group in count.groups] == asked["groups"], query
