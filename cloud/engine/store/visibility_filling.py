"""Fills the index of search attributes from rows that a release wrote which does not know it.

Done once per database, by who has the lease, before anything is served; a fact of the cell says that it is done.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from cloud.engine.store import schema as s
from cloud.engine.store.reading import read_fact
from cloud.engine.store.visibility import VisibilityRow
from cloud.engine.store.writing import check_epoch

PAGE_ROWS = 2_000
"""Rows of one transaction."""

_FACT = "visibility_values_filled"


def is_filled(connection: Connection) -> bool:
    """Whether there is nothing to do."""
    return read_fact(connection, _FACT) is not None


def fill_page(connection: Connection, after: str, epoch: int) -> str:
    """Index the next rows behind run id `after`. Returns the last one's run id, empty once all are done.

    Raises:
        LeaseLost: the lease is another's; nothing is written.
    """
    check_epoch(connection, epoch)
    table = s.metadata.tables["visibility"]
    query = select(table).where(table.c.run_id > after).order_by(table.c.run_id).limit(PAGE_ROWS)
    page = [VisibilityRow(**row) for row in connection.execute(query).mappings()]
    s.visibility.index(connection, [row for row in page if row.attributes])
    if len(page) == PAGE_ROWS:
        return page[-1].run_id
    connection.execute(s.cell_facts.insert().values(name=_FACT, value=b"1"))
    return ""
