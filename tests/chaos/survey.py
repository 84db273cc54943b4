"""The server's side after the chaos: every run by its history, and the ledger from its database."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncpg
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from billing import BrokenHistory, Recount, recount_run
from tests.chaos.observations import SeenRun, SeenSignal
from tests.chaos.workflows import Outcome

E = EventType
CLOSING = frozenset(
    {
        E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        E.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        E.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
        E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        E.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
        E.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
    }
)
LEDGER_QUERY = (
    "SELECT run_id, kind, SUM(quantity) FROM usage_records WHERE run_id <> '' GROUP BY run_id, kind"
)


async def runs(
    client: Client, on_progress: Callable[[int], None]
) -> tuple[list[SeenRun], dict[str, Recount], list[str]]:
    """All runs that the server lists, their recounts by run id, and what could not be read."""
    seen: list[SeenRun] = []
    recounts: dict[str, Recount] = {}
    errors: list[str] = []
    async for listed in client.list_workflows():
        handle = client.get_workflow_handle(listed.id, run_id=listed.run_id)
        events = [event async for event in handle.fetch_history_events()]
        seen.append(await _seen(client, listed.id, listed.run_id, events))
        try:
            recounts[listed.run_id] = recount_run(events)
        except BrokenHistory as error:
            errors.append(f"{listed.id}: {error}")
        on_progress(len(seen))
    return seen, recounts, errors


async def ledger(database: str | Path) -> dict[str, dict[str, int]]:
    """Usage by run id and kind, straight from the database (an SQLite file, or a Postgres URL)."""
    rows: Sequence[tuple[str, str, int]]
    if isinstance(database, Path):
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as reader:
            rows = reader.execute(LEDGER_QUERY).fetchall()
    else:
        connection = await asyncpg.connect(database)
        try:
            rows = [tuple(row) for row in await connection.fetch(LEDGER_QUERY)]
        finally:
            await connection.close()
    by_run: dict[str, dict[str, int]] = defaultdict(dict)
    for run_id, kind, quantity in rows:
        by_run[run_id][kind] = int(quantity)
    return dict(by_run)


async def _seen(client: Client, workflow_id: str, run_id: str, events: Sequence[HistoryEvent]) -> SeenRun:
    first, last = events[0], events[-1]
    started = first.workflow_execution_started_event_attributes
    closed = last.event_type in CLOSING
    return SeenRun(
        workflow_id=workflow_id,
        run_id=run_id,
        started_at=first.event_time.ToNanoseconds(),
        ended_at=last.event_time.ToNanoseconds() if closed else 0,
        closing_event=E.Name(last.event_type).removeprefix("EVENT_TYPE_") if closed else "",
        result=await _result(client, last),
        event_ids=[event.event_id for event in events],
        closing_events=sum(event.event_type in CLOSING for event in events),
        signals=[await _signal(client, event) for event in events if _is_signal(event)],
        is_child=started.HasField("parent_workflow_execution"),
    )


async def _result(client: Client, last: HistoryEvent) -> object:
    payloads = last.workflow_execution_completed_event_attributes.result.payloads
    if not payloads:
        return None
    child = payloads[0].data.startswith(b'"')
    (result,) = await client.data_converter.decode(payloads, [str if child else Outcome])
    return result


def _is_signal(event: HistoryEvent) -> bool:
    return event.event_type == E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED


async def _signal(client: Client, event: HistoryEvent) -> SeenSignal:
    attributes = event.workflow_execution_signaled_event_attributes
    (word,) = await client.data_converter.decode(attributes.input.payloads, [str])
    return SeenSignal(request_id=attributes.request_id or f"event {event.event_id}", word=word)
