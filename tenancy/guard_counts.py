"""What the plaintext guard counted, by namespace, day, field and outcome: added to in batches by gateways, kept for 90 days.

What a namespace's clients send decides the fields, so each day has a bound of them; the rest is one field of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tenancy import tables
from tenancy.database import Database

DAYS_KEPT = 90
FIELDS_PER_DAY_MAX = 2_000
OTHER_FIELDS = "(other fields)"
ROWS_MAX = 20_000
"""Of one reading."""

_t = tables.guard_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardCount:
    """Calls of one day in which one field was readable. `last_seen_at` is to a few seconds."""

    namespace: str
    day: date
    field: str
    outcome: str
    count: int
    last_seen_at: datetime


class GuardCountStore:
    """Keeps the counts. Its rows are nobody's secret and no rule hangs on them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._swept: date | None = None

    async def add(self, counts: Iterable[tuple[str, str, str, int]], now: datetime) -> None:
        """Add (namespace, field, outcome, calls), all of today's; in one transaction.

        Raises:
            sqlalchemy.exc.SQLAlchemyError, OSError: nothing was added.
        """
        # In order, so that two gateways never wait for each other's rows crosswise.
        listed = sorted(counts)
        today = now.astimezone(UTC).date()
        sweep = self._swept != today
        await self._database.write(lambda connection: _add(connection, listed, now, sweep=sweep))
        self._swept = today

    async def read(self, namespaces: Sequence[str], since: date) -> list[GuardCount]:
        """What was counted on `since` and later, in these namespaces, the newest day first.

        Raises:
            sqlalchemy.exc.SQLAlchemyError, OSError: it can't be read.
        """
        return await self._database.read(lambda connection: _read(connection, namespaces, since))


def _add(
    connection: sa.Connection, counts: list[tuple[str, str, str, int]], now: datetime, *, sweep: bool
) -> None:
    today = now.astimezone(UTC).date()
    day = today.isoformat()
    if sweep:
        oldest = (today - timedelta(days=DAYS_KEPT)).isoformat()
        connection.execute(sa.delete(_t).where(_t.c.day < oldest))
    sums: Counter[tuple[str, str, str]] = Counter()
    known: dict[str, set[str]] = {}
    for namespace, field, outcome, count in counts:
        fields = known.get(namespace)
        if fields is None:
            found = connection.execute(
                sa.select(_t.c.field).where(_t.c.namespace == namespace, _t.c.day == day).distinct()
            )
            fields = known[namespace] = set(found.scalars())
        if field not in fields and len(fields) >= FIELDS_PER_DAY_MAX:
            field = OTHER_FIELDS
        fields.add(field)
        sums[namespace, field, outcome] += count
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for (namespace, field, outcome), count in sorted(sums.items()):
        row = {"namespace": namespace, "day": day, "field": field, "outcome": outcome}
        statement = insert(_t).values(**row, count=count, last_seen_at=now)
        statement = statement.on_conflict_do_update(
            index_elements=list(row),
            set_={
                "count": _t.c.count + statement.excluded.count,
                "last_seen_at": statement.excluded.last_seen_at,
            },
        )
        connection.execute(statement)


def _read(connection: sa.Connection, namespaces: Sequence[str], since: date) -> list[GuardCount]:
    if not namespaces:
        return []
    statement = (
        sa.select(_t)
        .where(_t.c.namespace.in_(namespaces), _t.c.day >= since.isoformat())
        .order_by(_t.c.day.desc(), _t.c.count.desc(), _t.c.namespace, _t.c.field, _t.c.outcome)
        .limit(ROWS_MAX)
    )
    return [
        GuardCount(
            namespace=row["namespace"],
            day=date.fromisoformat(row["day"]),
            field=row["field"],
            outcome=row["outcome"],
            count=row["count"],
            last_seen_at=row["last_seen_at"],
        )
        for row in connection.execute(statement).mappings()
    ]
