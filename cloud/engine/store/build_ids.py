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

QUEUES_MAX = 1_000
"""Queues of a namespace that are looked through for a build id."""


def read_build_ids(connection: Connection, namespace_id: str, queue: str) -> BuildIds:
    """What is known of a queue's build ids, empty if nothing is."""
    found = connection.execute(
        select(_c.state).where(_c.namespace_id == namespace_id, _c.queue == queue)
    ).scalar_one_or_none()
    return BuildIds() if found is None else _decoder.decode(found)


def queues_of_build_id(connection: Connection, namespace_id: str, build_id: str) -> list[str]:
    """The queues in whose sets a build id is, by their names."""
    rows = connection.execute(
        select(_c.queue, _c.state).where(_c.namespace_id == namespace_id).order_by(_c.queue).limit(QUEUES_MAX)
    )
    return [row.queue for row in rows if _decoder.decode(row.state).set_of(build_id) >= 0]


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
