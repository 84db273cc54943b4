"""The visibility rows: written in the transaction of the transition that changed a run, read by lists and
counts.

Every function takes a synchronous connection inside the caller's transaction: SQLite's own, or Postgres's
through ``AsyncConnection.run_sync``. Each write is one statement, whatever the number of rows.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Executable,
    FromClause,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from cloud.engine.store.search_attribute_values import IndexedValue
from cloud.engine.store.statements import Statement
from cloud.engine.store.visibility_attributes import ACTIVITY_STATUS, OPERATION_STATUS
from cloud.engine.store.visibility_conditions import All, Compare, Condition, ListFilter, Order, Within
from cloud.engine.store.visibility_index import RANGE_RUNS_MAX, keys_for, value_rows
from cloud.engine.store.visibility_schema import close_order
from cloud.engine.store.visibility_sql import Lowering
from cloud.engine.store.visibility_values import (
    ACTIVITY_STATUS_NAMES,
    INT64_MAX,
    OPERATION_STATUS_NAMES,
    STATUS_NAMES,
)

PAGE_SIZE_MAX: Final = 1_000
"""Rows of a page, as the server of 1.32 bounds them (frontend.visibilityMaxPageSize)."""

_CACHED_CONDITIONS_MAX: Final = 8
"""Statements of larger filters are not kept compiled: their number is the caller's to choose, the memory
ours."""
_CURSOR_VERSION: Final = 1
_ORDERED_CURSOR_VERSION: Final = 2
_CURSOR: Final = struct.Struct(">Bqq")
"""Version, close order and start time of the last row, then its run id. Grows by a new version only."""


class CursorError(ValueError):
    """A cursor that no list made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibilityRow:
    """What lists show of a run, and filter by. Times in ns since 1970.

    The lengths and the duration are the closed run's; while it runs they are None, as the server of 1.32 has
    it.
    """

    run_id: str
    namespace_id: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    status: int
    start_time: int
    execution_time: int
    close_time: int | None = None
    history_length: int | None = None
    history_size_bytes: int | None = None
    state_transition_count: int | None = None
    execution_duration_ns: int | None = None
    parent_workflow_id: str | None = None
    parent_run_id: str | None = None
    root_workflow_id: str
    root_run_id: str
    first_run_id: str
    memo: bytes | None = None
    """A serialized ``temporal.api.common.v1.Memo``."""
    search_attributes: bytes | None = None
    """A serialized ``temporal.api.common.v1.SearchAttributes``, as lists send it back."""
    attributes: dict[str, IndexedValue] | None = None
    """The search attributes to filter by, as :func:`indexed` makes them; None when there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs that agree in the attribute that a count groups by."""

    value: str | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many runs a filter finds, and for GROUP BY how many of each group."""

    total: int
    groups: tuple[Group, ...] = ()


_NAMES: Final = tuple(field.name for field in fields(VisibilityRow))
_values = attrgetter(*_NAMES)


class Visibility:
    """Reads and writes the table `table` (:func:`cloud.engine.store.visibility_schema.visibility_table`) and its index of search
    attributes, `values` (:func:`cloud.engine.store.visibility_schema.values_table`)."""

    def __init__(self, table: Table, values: Table) -> None:
        if tuple(table.c.keys()) != _NAMES:
            raise ValueError(
                f"the columns of {table.name} are not the fields of VisibilityRow, in their order"
            )
        self._table = table
        self._values = values
        self._add_values = Statement(lambda _: values.insert())
        self._delete_values = Statement(
            lambda _: delete(values).where(values.c.run_id == bindparam("run_id"))
        )
        self._columns = [table.c[name] for name in _NAMES]
        self._upsert = Statement(lambda dialect: _upsert(table, dialect))
        self._delete = Statement(lambda _: delete(table).where(table.c.run_id == bindparam("run_id")))
        self._order = (close_order(table), table.c.start_time, table.c.run_id)

    def upsert(self, conn: Connection, rows: Sequence[VisibilityRow]) -> None:
        """Write `rows`, each whole, in place of what there was of its run; of two rows of a run the later
        counts."""
        latest = {row.run_id: row for row in rows}
        self._upsert.execute_many(conn, [_parameters(row) for row in latest.values()])
        self.index(conn, [row for row in latest.values() if row.attributes])

    def index(self, conn: Connection, rows: Sequence[VisibilityRow]) -> None:
        """Write what the index has of `rows`, in place of what it had of these runs.

        A run that lost all its attributes keeps its entries until it is deleted: what they find is looked at again.
        """
        entries = [
            entry
            for row in rows
            for entry in value_rows(
                row.namespace_id, row.run_id, row.start_time, row.close_time, row.attributes or {}
            )
        ]
        if not entries:
            return
        indexed = {entry[-1] for entry in entries}
        self._delete_values.execute_many(conn, [(run_id,) for run_id in indexed])
        self._add_values.execute_many(conn, entries)

    def delete(self, conn: Connection, run_ids: Iterable[str]) -> None:
        """Delete the rows of `run_ids`; unknown ones are passed over."""
        ids = [(run_id,) for run_id in run_ids]
        self._delete.execute_many(conn, ids)
        self._delete_values.execute_many(conn, ids)

    def list_page(
        self,
        conn: Connection,
        namespace_id: str,
        list_filter: ListFilter,
        page_size: int,
        cursor: bytes | None = None,
    ) -> tuple[list[VisibilityRow], bytes | None]:
        """The next `page_size` rows after `cursor`, and the cursor of the following page or None at the end.

        Running ones come first, then the latest closed; within these the latest started. A run that closes
        between two pages may be missed or seen twice; no other is.

        Raises:
            CursorError: `cursor` is not one that this returned.
            ValueError: `page_size` is not from 1 to PAGE_SIZE_MAX.
        """
        if not 1 <= page_size <= PAGE_SIZE_MAX:
            raise ValueError(f"a page has 1 to {PAGE_SIZE_MAX} rows, not {page_size}")
        if list_filter.order_by is not None:
            return self._ordered_page(
                conn, namespace_id, list_filter, list_filter.order_by, page_size, cursor
            )
        source = self._source(conn, namespace_id, list_filter.condition)
        order = closed, started, run = source.order or self._order
        query = select(*self._columns).select_from(source.tables).where(*source.conditions)
        if list_filter.condition is not None:
            query = query.where(Lowering(self._table, conn.dialect.name).clause(list_filter.condition))
        narrow = source.few
        if cursor is not None:
            after = _read_cursor(cursor)
            query = query.where(tuple_(*order) < tuple_(*after))
            if not narrow:  # implied by the former; SQLite seeks in its index by this one only
                query = query.where(closed <= after[0])
        # Few rows to sort: a sum, which no index has, keeps SQLite from walking all of them in order instead.
        first = closed + 0 if narrow else closed
        query = query.order_by(first.desc(), started.desc(), run.desc()).limit(page_size + 1)
        found = [_row(each) for each in _execute(conn, query, list_filter)]
        if len(found) <= page_size:
            return found, None
        del found[page_size:]
        return found, cursor_after(found[-1])

    def open_run_pinned_to(
        self, conn: Connection, *, namespace_id: str, version: str, run_id: str = ""
    ) -> str:
        """The id of an open run that is pinned to a version of workers ("" for none); only of `run_id` if that is named."""
        c = self._table.c
        query = select(c.run_id).where(
            c.namespace_id == namespace_id,
            close_order(self._table)
            == literal_column(str(INT64_MAX)),  # a range of the index by which lists page
            c.attributes["TemporalWorkerDeploymentVersion"].as_string() == version,
            c.attributes["TemporalWorkflowVersioningBehavior"].as_string() == "Pinned",
        )
        if run_id:
            query = query.where(c.run_id == run_id)
        return conn.execute(query.limit(1)).scalar_one_or_none() or ""

    def _ordered_page(
        self,
        conn: Connection,
        namespace_id: str,
        list_filter: ListFilter,
        by: Order,
        page_size: int,
        cursor: bytes | None,
    ) -> tuple[list[VisibilityRow], bytes | None]:
        """The same in the order that the filter asks for, by run ids where that leaves it open."""
        lowering = Lowering(self._table, conn.dialect.name)
        value, run = lowering.scalar(by.attribute), self._table.c.run_id
        source = self._source(conn, namespace_id, list_filter.condition)
        query = (
            select(*self._columns, value.label("order_value"))
            .select_from(source.tables)
            .where(*source.conditions)
        )
        if list_filter.condition is not None:
            query = query.where(lowering.clause(list_filter.condition))
        if cursor is not None:
            last, run_id = _read_ordered_cursor(cursor)
            if last is None:
                query = query.where(value.is_(None), run > run_id)
            else:
                at = literal(last)
                further = value < at if by.descending else value > at
                query = query.where(or_(further, and_(value == at, run > run_id), value.is_(None)))
        direction = value.desc() if by.descending else value.asc()
        query = query.order_by(value.is_(None), direction, run).limit(page_size + 1)
        found = [(_row(each[:-1]), each[-1]) for each in _execute(conn, query, list_filter)]
        rows = [row for row, _ in found[:page_size]]
        if len(found) <= page_size:
            return rows, None
        return rows, _ordered_cursor(found[page_size - 1][1], rows[-1].run_id)

    def count(self, conn: Connection, namespace_id: str, list_filter: ListFilter) -> Count:
        """Count the runs that `list_filter` finds, in groups if it says GROUP BY."""
        lowering = Lowering(self._table, conn.dialect.name)
        source = self._source(conn, namespace_id, list_filter.condition)
        conditions = list(source.conditions)
        if list_filter.condition is not None:
            conditions.append(lowering.clause(list_filter.condition))
        if list_filter.group_by is None:
            total = conn.execute(
                select(func.count()).select_from(source.tables).where(*conditions)
            ).scalar_one()
            return Count(total=total)
        by = lowering.scalar(list_filter.group_by).label("value")
        counted = (
            select(by, func.count().label("count"))
            .select_from(source.tables)
            .where(*conditions)
            .group_by(by)
            .order_by(by)
        )
        names = _STATUS_NAMES.get(list_filter.group_by.field)
        groups = tuple(
            Group(value=value if names is None else names[value], count=count)
            for value, count in _execute(conn, counted, list_filter)
        )
        return Count(total=sum(group.count for group in groups), groups=groups)

    def _source(self, conn: Connection, namespace_id: str, condition: Condition | None) -> _Source:
        """Where the rows come from that may fulfil `condition`."""
        table, values = self._table, self._values.c
        of_namespace = table.c.namespace_id == namespace_id
        if _is_narrow(condition):
            return _Source(table, (of_namespace,), few=True)
        keys = keys_for(condition)
        if keys is None:
            return _Source(table, (of_namespace,))
        found = [values.namespace_id == namespace_id, values.attribute == keys.attribute]
        if keys.single:
            joined = self._values.join(table, table.c.run_id == values.run_id)
            order = (values.close_order, values.start_time, values.run_id)
            return _Source(joined, (*found, values.value == keys.equal[0]), order)
        if keys.equal:
            found.append(values.value.in_(keys.equal))
        else:
            found += (values.value >= keys.low, values.value <= keys.high)
        some = select(values.run_id).where(*found).limit(RANGE_RUNS_MAX + 1).subquery()
        if conn.execute(select(func.count()).select_from(some)).scalar_one() > RANGE_RUNS_MAX:
            return _Source(table, (of_namespace,))
        return _Source(table, (table.c.run_id.in_(select(values.run_id).where(*found)),), few=True)


@dataclass(frozen=True, slots=True)
class _Source:
    """Tables and conditions that give a superset of the rows of a list. `order`: columns that stand in its order there;
    `few`: so few that sorting them costs less than any order."""

    tables: FromClause
    conditions: tuple[ColumnElement[bool], ...]
    order: tuple[ColumnElement[Any], ColumnElement[Any], ColumnElement[Any]] | None = None
    few: bool = False


_STATUS_NAMES: Final = {
    "ExecutionStatus": STATUS_NAMES,
    ACTIVITY_STATUS: ACTIVITY_STATUS_NAMES,
    OPERATION_STATUS: OPERATION_STATUS_NAMES,
}


def _execute(
    conn: Connection, query: Select[*tuple[Any, ...]], list_filter: ListFilter
) -> CursorResult[*tuple[Any, ...]]:
    keep = list_filter.size <= _CACHED_CONDITIONS_MAX
    return conn.execute(query, execution_options={} if keep else {"compiled_cache": None})


_FIXED: Final = frozenset(
    {"run_id", "namespace_id", "workflow_id", "workflow_type", "start_time", "first_run_id"}
    | {"parent_workflow_id", "parent_run_id", "root_workflow_id", "root_run_id"}
)
"""What never changes in a run's life; leaving it out of an update spares the indexes on it."""


def _is_narrow(condition: Condition | None) -> bool:
    """Whether `condition` asks for single workflows or runs, so that an index by id serves it best."""
    if isinstance(condition, All):
        return any(_is_narrow(each) for each in condition.conditions)
    if isinstance(condition, Within) or (isinstance(condition, Compare) and condition.operator == "="):
        return condition.attribute.field in {"WorkflowId", "RunId"}
    return False


def _upsert(table: Table, dialect: str) -> Executable:
    """The statement whose parameters are those of :func:`_parameters`, in the order of the table's columns."""
    statement = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    changed = {name: statement.excluded[name] for name in _NAMES if name not in _FIXED}
    return statement.on_conflict_do_update(index_elements=[table.c.run_id], set_=changed)


def _parameters(row: VisibilityRow) -> tuple[Any, ...]:
    *plain, attributes = _values(row)
    return (*plain, None if attributes is None else json.dumps(attributes, allow_nan=False))


def _row(found: Sequence[Any]) -> VisibilityRow:
    return VisibilityRow(**dict(zip(_NAMES, found, strict=True)))


def cursor_after(row: VisibilityRow) -> bytes:
    """The cursor of the page that begins behind `row`."""
    closed = INT64_MAX if row.close_time is None else row.close_time
    return _CURSOR.pack(_CURSOR_VERSION, closed, row.start_time) + row.run_id.encode()


def _read_cursor(cursor: bytes) -> tuple[int, int, str]:
    try:
        version, closed, started = _CURSOR.unpack_from(cursor)
        run_id = cursor[_CURSOR.size :].decode()
    except (struct.error, UnicodeDecodeError):
        raise CursorError("the page's cursor is malformed; list again from the first page") from None
    if version != _CURSOR_VERSION or not run_id or "\0" in run_id:
        raise CursorError("the page's cursor is not of this version; list again from the first page")
    return closed, started, run_id


def _ordered_cursor(value: object, run_id: str) -> bytes:
    """The cursor of an ordered list behind a row: its value by which it is sorted, and its run id."""
    if isinstance(value, Decimal):
        value = {"decimal": str(value)}
    return bytes([_ORDERED_CURSOR_VERSION]) + json.dumps([value, run_id]).encode()


def _read_ordered_cursor(cursor: bytes) -> tuple[Any, str]:
    if cursor[:1] != bytes([_ORDERED_CURSOR_VERSION]):
        raise CursorError("the page's cursor is of another order; list again from the first page")
    try:
        value, run_id = json.loads(cursor[1:])
    except ValueError:
        raise CursorError("the page's cursor is malformed; list again from the first page") from None
    return Decimal(value["decimal"]) if isinstance(value, dict) else value, run_id
