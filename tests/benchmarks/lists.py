"""`python -m tests.benchmarks.lists`: what lists and counts cost over many runs, with the index of search attributes and without it.

Also what the index costs those who write: a run without search attributes, and one with three.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

from sqlalchemy import Connection, MetaData, create_engine, event
from temporalio.api.enums.v1 import IndexedValueType

from cloud.engine.store import visibility as visibility_module
from cloud.engine.store.visibility import Visibility, VisibilityRow
from cloud.engine.store.visibility_filter import parse_filter
from cloud.engine.store.visibility_schema import values_table, visibility_table

TYPES = {
    "Customer": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "Amount": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "Tags": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}
QUERIES = {
    "Customer = (20 runs)": "Customer = 'customer-77'",
    "Customer = (10 % of the runs)": "Customer = 'everybody'",
    "Customer STARTS_WITH (200 runs)": "Customer STARTS_WITH 'customer-77'",
    "Amount BETWEEN (100 runs)": "Amount BETWEEN 5000 AND 5099",
    "Amount > (half of the runs)": "Amount > 100000",
    "Tags = (1 in 500)": "Tags = 'tag-7'",
    "Customer = and still running (none)": "Customer = 'customer-77' AND ExecutionStatus = 'Running'",
}
BATCH = 500


def rows(count: int, *, attributes: bool = True) -> Iterator[VisibilityRow]:
    """Closed runs, the last hundred still running."""
    for number in range(count):
        run_id = f"{number:08d}-0000-4000-8000-{number:012d}"
        ended = number < count - 100
        yield VisibilityRow(
            run_id=run_id,
            namespace_id="n",
            workflow_id=f"w-{number}",
            workflow_type="Order",
            task_queue="q",
            status=2 if ended else 1,
            start_time=number * 1_000,
            execution_time=number * 1_000,
            close_time=number * 1_000 + 500 if ended else None,
            root_workflow_id=f"w-{number}",
            root_run_id=run_id,
            first_run_id=run_id,
            attributes={
                "Customer": "everybody"
                if number % 10 == 0
                else f"customer-{number % 9_000 if number % 2 else number}",
                "Amount": number,
                "Tags": ["all", f"tag-{number % 500}"],
            }
            if attributes
            else None,
        )


def milliseconds(work: Callable[[], object], times: int = 7) -> float:
    """The median of some."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1_000)
    return statistics.median(taken)


def _write(connection: Connection, visibility: Visibility, made: Sequence[VisibilityRow]) -> None:
    for begin in range(0, len(made), BATCH):
        visibility.upsert(connection, made[begin : begin + BATCH])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200_000)
    count = parser.parse_args().runs
    metadata = MetaData()
    visibility = Visibility(visibility_table(metadata), values_table(metadata))
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{Path(folder) / 'lists.db'}")

        @event.listens_for(engine, "connect")
        def _(connection, _record) -> None:  # type: ignore[no-untyped-def]
            connection.execute("PRAGMA journal_mode = WAL")

        metadata.create_all(engine)
        with engine.begin() as connection:
            _write(connection, visibility, list(rows(count)))
        print(f"{'list of 100':44} {'before':>10} {'after':>10}   (ms, SQLite, {count:,} runs)")
        for name, query in QUERIES.items():
            parsed = parse_filter(query, TYPES)

            def page(connection: Connection, parsed=parsed) -> object:  # type: ignore[no-untyped-def]
                return visibility.list_page(connection, "n", parsed, 100)

            with engine.connect() as connection:
                after = milliseconds(lambda c=connection: page(c))  # type: ignore[misc]
                with mock.patch.object(visibility_module, "keys_for", return_value=None):
                    before = milliseconds(lambda c=connection: page(c), 3)  # type: ignore[misc]
            print(f"{name:44} {before:10.2f} {after:10.2f}")
        for attributes in (False, True):
            made = [
                dataclasses.replace(row, run_id=f"x{row.run_id[1:]}", namespace_id="m")
                for row in rows(20_000, attributes=attributes)
            ]
            taken = []
            for _ in range(2):  # started, then closed
                with engine.begin() as connection:
                    began = time.perf_counter()
                    _write(connection, visibility, made)
                    taken.append((time.perf_counter() - began) * 1e6 / len(made))
                made = [dataclasses.replace(row, close_time=row.start_time + 900) for row in made]
            label = "with three attributes" if attributes else "without attributes"
            print(f"write of a run {label:29} start {taken[0]:6.1f} close {taken[1]:6.1f}   (us)")
            with engine.begin() as connection:
                visibility.delete(connection, [row.run_id for row in made])
        engine.dispose()


if __name__ == "__main__":
    main()
