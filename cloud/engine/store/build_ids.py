"""Build ids of task queues (the older forms of worker versioning): a row for each queue that has any."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, delete, select

from cloud.engine.core.build_ids import BuildIds
from cloud.engine.store import schema as s
from cloud.engine.store.writing import check_epoch

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(BuildIds)
_c = s.build_ids.c


def read_all_build_ids(connection: Connection) -> dict[tuple[str, str], BuildIds]:
    """All of the cell, by namespace id and queue."""
    rows = connection.execute(select(_c.namespace_id, _c.queue, _c.state))
    return {(row.namespace_id, row.queue): _decoder.decode(row.state) for row in rows}


def size_of(data: BuildIds) -> int:
    """Bytes that a queue's data takes where it is stored."""
    return len(_encoder.encode(data))


def write_build_ids(
    connection: Connection, namespace_id: str, queue: str, data: BuildIds, epoch: int
) -> None:
    """Replace what is known of a queue's build ids.

    Raises:
        LeaseLost: the lease is another's; nothing is written.
    """
    check_epoch(connection, epoch)
    connection.execute(delete(s.build_ids).where(_c.namespace_id == namespace_id, _c.queue == queue))
    connection.execute(
        s.build_ids.insert().values(namespace_id=namespace_id, queue=queue, state=_encoder.encode(data))
    )
