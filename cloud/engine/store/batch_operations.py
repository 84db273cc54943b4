"""Batch operations as they are stored: how far one is, reads, and the removal of old ones."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, delete, select, tuple_

from cloud.engine.store import schema as s
from cloud.engine.store.rows import BatchOperationRow
from cloud.engine.store.writing import check_epoch

RUNNING = 1
"""BATCH_OPERATION_STATE_RUNNING."""


@dataclass(slots=True)
class BatchProgress:
    """How far a batch operation is. May only grow by fields with a default.

    Of a query `cursor` stands behind the last run that was done, of a list of executions `position` does.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    cursor: bytes = b""
    position: int = 0
    counted: bool = False  # `total` is what the query found at the start


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(BatchProgress)
_t = s.batch_operations.c


def encode_batch_progress(progress: BatchProgress) -> bytes:
    """Progress as MessagePack."""
    return _encoder.encode(progress)


def decode_batch_progress(data: bytes) -> BatchProgress:
    """The inverse of `encode_batch_progress`.

    Raises:
        msgspec.DecodeError: the bytes are none of ours.
    """
    return _decoder.decode(data)


def read_batch_operation(connection: Connection, namespace_id: str, job_id: str) -> BatchOperationRow | None:
    """The row of a batch operation, None if there is none."""
    found = connection.execute(
        select(s.batch_operations).where(_t.namespace_id == namespace_id, _t.job_id == job_id)
    ).one_or_none()
    return None if found is None else BatchOperationRow._make(found)


def read_running_batch_operations(connection: Connection) -> list[tuple[str, str]]:
    """(namespace id, job id) of all that run."""
    rows = connection.execute(select(_t.namespace_id, _t.job_id).where(_t.state == RUNNING))
    return [(namespace_id, job_id) for namespace_id, job_id in rows]


def list_batch_operations(
    connection: Connection, namespace_id: str, count_max: int, before: tuple[int, str] | None
) -> list[BatchOperationRow]:
    """A namespace's batch operations, newest first, started before `before` (start time, job id)."""
    query = select(s.batch_operations).where(_t.namespace_id == namespace_id)
    if before is not None:
        query = query.where(tuple_(_t.start_time, _t.job_id) < tuple_(*before))
    query = query.order_by(_t.start_time.desc(), _t.job_id.desc()).limit(count_max)
    return [BatchOperationRow._make(row) for row in connection.execute(query)]


def delete_old_batch_operations(
    connection: Connection, namespace_id: str, closed_before: int, epoch: int
) -> None:
    """Delete what closed before `closed_before` (ns).

    Raises:
        LeaseLost: the lease is another's; nothing is deleted.
    """
    check_epoch(connection, epoch)
    connection.execute(
        delete(s.batch_operations).where(
            _t.namespace_id == namespace_id, _t.state != RUNNING, _t.close_time < closed_before
        )
    )
