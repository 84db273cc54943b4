"""The table behind lists and counts: one row per run, written with the transition that changed it.

A row is inserted when its run starts and, as a rule, updated once, when it closes; so it has few indexes:

* the primary key, by which it is updated and deleted;
* ``visibility_order``, in which every list pages: running ones first, then the latest closed (as the server
  of 1.32 sorts). It is an index on an expression, because SQLite can't index "nulls first";
* ``visibility_workflow_id``, for the filter that people and tools use most.

What runs have of search attributes is found by a table of its own, ``visibility_values``
(:mod:`cloud.engine.store.visibility_index`): a run without any costs nothing more.

Text compares by code point (Postgres: collation "C"), so that both databases agree on ranges and on order.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql import JSONB

from cloud.engine.store.visibility_values import INT64_MAX


def _text() -> Text:
    return Text().with_variant(Text(collation="C"), "postgresql")


def visibility_table(metadata: MetaData) -> Table:
    """Define the table ``visibility`` in `metadata`.

    Times are nanoseconds since 1970. ``memo`` and ``search_attributes`` are serialized messages as lists send
    them (``temporal.api.common.v1``); ``attributes`` holds the same search attributes as values to filter by
    (:mod:`cloud.engine.store.search_attribute_values`), null when there are none.
    """
    table = Table(
        "visibility",
        metadata,
        Column("run_id", _text(), primary_key=True),
        Column("namespace_id", _text(), nullable=False),
        Column("workflow_id", _text(), nullable=False),
        Column("workflow_type", _text(), nullable=False),
        Column("task_queue", _text(), nullable=False),
        Column("status", Integer, nullable=False),
        Column("start_time", BigInteger, nullable=False),
        Column("execution_time", BigInteger, nullable=False),
        Column("close_time", BigInteger),
        Column("history_length", BigInteger),
        Column("history_size_bytes", BigInteger),
        Column("state_transition_count", BigInteger),
        Column("execution_duration_ns", BigInteger),
        Column("parent_workflow_id", _text()),
        Column("parent_run_id", _text()),
        Column("root_workflow_id", _text(), nullable=False),
        Column("root_run_id", _text(), nullable=False),
        Column("first_run_id", _text(), nullable=False),
        Column("memo", LargeBinary),
        Column("search_attributes", LargeBinary),
        Column("attributes", JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")),
    )
    Index(
        "visibility_order",
        table.c.namespace_id,
        close_order(table).desc(),
        table.c.start_time.desc(),
        table.c.run_id.desc(),
    )
    Index("visibility_workflow_id", table.c.namespace_id, table.c.workflow_id)
    return table


def values_table(metadata: MetaData) -> Table:
    """Define the table ``visibility_values`` in `metadata`: a row per run and value of an indexed attribute.

    ``value`` is the value's key (:func:`cloud.engine.store.visibility_index.key_of`); behind it stands what lists sort
    by, so that the runs that have a value are read in a list's order. The second index is for those who replace a run's.
    """
    table = Table(
        "visibility_values",
        metadata,
        Column("namespace_id", _text(), primary_key=True),
        Column("attribute", _text(), primary_key=True),
        Column("value", _text(), primary_key=True),
        Column("close_order", BigInteger, primary_key=True),
        Column("start_time", BigInteger, primary_key=True),
        Column("run_id", _text(), primary_key=True),
        sqlite_with_rowid=False,
    )
    Index("visibility_values_run_id", table.c.run_id)
    return table


def close_order(table: Table) -> ColumnElement[int]:
    """The close time as lists sort by it: a running one counts as closing last of all.

    The bound stands in the statement as text: with a parameter, neither database would recognise its index.
    """
    return func.coalesce(table.c.close_time, literal_column(str(INT64_MAX), BigInteger))
