"""Worker deployments as they are stored: a row for each, and one for each of its versions."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, delete, select

from cloud.engine.core.deployment import Deployment, Version, Whole
from cloud.engine.store import schema as s
from cloud.engine.store.writing import check_epoch

_encoder = msgspec.msgpack.Encoder()
_deployment = msgspec.msgpack.Decoder(Deployment)
_version = msgspec.msgpack.Decoder(Version)
_d, _v = s.worker_deployments.c, s.worker_deployment_versions.c


def read_deployments(connection: Connection) -> dict[tuple[str, str], Whole]:
    """All of the cell, by namespace id and name."""
    found = {
        (row.namespace_id, row.name): Whole(_deployment.decode(row.state))
        for row in connection.execute(select(s.worker_deployments))
    }
    versions = [
        (row.namespace_id, row.name, _version.decode(row.state))
        for row in connection.execute(select(s.worker_deployment_versions))
    ]
    for namespace_id, name, version in sorted(versions, key=lambda each: each[2].created_at):
        whole = found.get((namespace_id, name))
        if whole is not None:
            whole.versions[version.build_id] = version
    return found


def write_deployment(
    connection: Connection, namespace_id: str, whole: Whole, changed: Iterable[Version], epoch: int
) -> None:
    """Write a deployment, and those of its versions that changed.

    Raises:
        LeaseLost: the lease is another's; nothing is written.
    """
    check_epoch(connection, epoch)
    name = whole.deployment.name
    connection.execute(delete(s.worker_deployments).where(_d.namespace_id == namespace_id, _d.name == name))
    connection.execute(
        s.worker_deployments.insert().values(
            namespace_id=namespace_id, name=name, state=_encoder.encode(whole.deployment)
        )
    )
    for version in changed:
        _remove_version(connection, namespace_id, name, version.build_id)
        connection.execute(
            s.worker_deployment_versions.insert().values(
                namespace_id=namespace_id,
                name=name,
                build_id=version.build_id,
                state=_encoder.encode(version),
            )
        )


def remove_versions(
    connection: Connection, namespace_id: str, name: str, build_ids: Iterable[str], epoch: int
) -> None:
    """Remove versions of a deployment.

    Raises:
        LeaseLost: the lease is another's; nothing is removed.
    """
    check_epoch(connection, epoch)
    for build_id in build_ids:
        _remove_version(connection, namespace_id, name, build_id)


def _remove_version(connection: Connection, namespace_id: str, name: str, build_id: str) -> None:
    connection.execute(
        delete(s.worker_deployment_versions).where(
            _v.namespace_id == namespace_id, _v.name == name, _v.build_id == build_id
        )
    )


def remove_deployment(connection: Connection, namespace_id: str, name: str, epoch: int) -> None:
    """Remove a deployment without versions.

    Raises:
        LeaseLost: the lease is another's; nothing is removed.
    """
    check_epoch(connection, epoch)
    connection.execute(delete(s.worker_deployments).where(_d.namespace_id == namespace_id, _d.name == name))


def remove_of_namespace(connection: Connection, namespace_id: str) -> None:
    """Remove all that is known of a namespace's versions, which is little."""
    connection.execute(delete(s.build_ids).where(s.build_ids.c.namespace_id == namespace_id))
    connection.execute(delete(s.worker_deployment_versions).where(_v.namespace_id == namespace_id))
    connection.execute(delete(s.worker_deployments).where(_d.namespace_id == namespace_id))
