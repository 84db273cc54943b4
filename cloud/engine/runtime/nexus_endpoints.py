"""The Nexus endpoints of a cell, in memory: few, small, looked up with every operation that is scheduled.

An endpoint has a name, by which namespaces call it, and a target. In the cloud the control plane makes them and says which namespaces
may call; to all others they do not exist, so tenants may use the same names. Under `tacit dev` every namespace may call every endpoint.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import Connection, delete, select

from cloud.engine.store import schema as s
from cloud.engine.store.database import Database
from cloud.engine.store.writing import check_epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class NexusEndpoint:
    """An endpoint. Its target is a task queue of a namespace, or else `url`. Times are ns; `description` a serialized Payload.

    `callers` are the ids of the namespaces that may call it; None lets all of them. May only grow by fields with a default.
    """

    endpoint_id: str
    name: str
    version: int = 1
    description: bytes = b""
    namespace_id: str = ""
    task_queue: str = ""
    url: str = ""
    created_at: int = 0
    modified_at: int = 0
    callers: tuple[str, ...] | None = None

    def may_be_called_from(self, namespace_id: str) -> bool:
        """Whether workflows of a namespace may use it."""
        return self.callers is None or namespace_id in self.callers


class NoSuchEndpoint(Exception):
    """There is no endpoint of this id."""


class EndpointExists(Exception):
    """The name is taken."""


class StaleEndpoint(Exception):
    """The endpoint is of another version than its changer knows."""


class NexusEndpoints:
    """Reads from memory, writes through to the store, one change at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changing = asyncio.Lock()
        self._by_id: dict[str, NexusEndpoint] = {}
        self._by_name: dict[str, NexusEndpoint] = {}  # those that all namespaces may call
        self._by_caller: dict[tuple[str, str], NexusEndpoint] = {}  # the others: (namespace id, name)

    async def load(self) -> None:
        """Read all from the store."""
        rows = await self._database.scan(
            lambda c: c.execute(select(s.nexus_endpoints.c.record)).scalars().all()
        )
        self._by_id.clear()
        self._by_name.clear()
        self._by_caller.clear()
        for row in rows:
            self._remember(msgspec.msgpack.decode(row, type=NexusEndpoint))

    def by_name(self, name: str) -> NexusEndpoint | None:
        """The endpoint `name` of those that all namespaces may call, None if there is none."""
        return self._by_name.get(name)

    def for_caller(self, namespace_id: str, name: str) -> NexusEndpoint | None:
        """The endpoint that a namespace calls by `name`, None if there is none that it may call."""
        return self._by_caller.get((namespace_id, name)) or self._by_name.get(name)

    def by_id(self, endpoint_id: str) -> NexusEndpoint | None:
        """The endpoint of this id, None if there is none."""
        return self._by_id.get(endpoint_id)

    def all(self) -> list[NexusEndpoint]:
        """All endpoints, by id."""
        return sorted(self._by_id.values(), key=lambda endpoint: endpoint.endpoint_id)

    async def create(self, endpoint: NexusEndpoint, epoch: int) -> None:
        """Add an endpoint, durably.

        Raises:
            EndpointExists: its name is taken.
        """
        async with self._changing:
            if endpoint.name in self._by_name:
                raise EndpointExists(
                    f"error creating Nexus endpoint. Endpoint with name {endpoint.name} already registered"
                )

            def insert(connection: Connection) -> None:
                check_epoch(connection, epoch)
                connection.execute(s.nexus_endpoints.insert().values(**_row(endpoint)))

            await self._database.write(insert)
            self._remember(endpoint)

    async def update(self, endpoint: NexusEndpoint, epoch: int) -> None:
        """Replace an endpoint, durably, by one whose version is the next.

        Raises:
            NoSuchEndpoint: there is none of its id.
            StaleEndpoint: the one that is there is of another version than the one before.
            EndpointExists: its new name is another's.
        """
        async with self._changing:
            previous = self._by_id.get(endpoint.endpoint_id)
            if previous is None:
                raise NoSuchEndpoint(
                    f"error updating Nexus endpoint. endpoint ID {endpoint.endpoint_id} not found"
                )
            if endpoint.version != previous.version + 1:
                raise StaleEndpoint(
                    f"nexus endpoint version mismatch. received: {endpoint.version - 1} expected {previous.version}"
                )
            other = self._by_name.get(endpoint.name)
            if other is not None and other.endpoint_id != endpoint.endpoint_id:
                raise EndpointExists(
                    f"error updating Nexus endpoint. Endpoint with name {endpoint.name} already registered"
                )

            def put(connection: Connection) -> None:
                check_epoch(connection, epoch)
                key = s.nexus_endpoints.c.endpoint_id == endpoint.endpoint_id
                connection.execute(s.nexus_endpoints.update().where(key).values(**_row(endpoint)))

            await self._database.write(put)
            self._forget(previous)
            self._remember(endpoint)

    async def delete(self, endpoint_id: str, version: int, epoch: int) -> None:
        """Remove an endpoint, durably. Operations that were sent to it are not called back.

        Raises:
            NoSuchEndpoint: there is none.
            StaleEndpoint: it is of another version.
        """
        async with self._changing:
            found = self._by_id.get(endpoint_id)
            if found is None:
                raise NoSuchEndpoint(f"error deleting nexus endpoint with ID: {endpoint_id}")
            if found.version != version:
                raise StaleEndpoint(
                    f"nexus endpoint version mismatch. received: {version} expected {found.version}"
                )

            def remove(connection: Connection) -> None:
                check_epoch(connection, epoch)
                connection.execute(
                    delete(s.nexus_endpoints).where(s.nexus_endpoints.c.endpoint_id == endpoint_id)
                )

            await self._database.write(remove)
            self._forget(found)

    async def put(self, endpoint: NexusEndpoint, epoch: int) -> None:
        """Make an endpoint that only some may call, or bring the one of its id to what it is now, durably."""
        if endpoint.callers is None:
            raise ValueError("an endpoint that everyone may call has a name of its own: create it")
        async with self._changing:
            previous = self._by_id.get(endpoint.endpoint_id)
            if previous is not None:
                endpoint = replace(
                    endpoint,
                    version=previous.version + 1,
                    created_at=previous.created_at,
                    modified_at=endpoint.created_at,
                )

            def put(connection: Connection) -> None:
                check_epoch(connection, epoch)
                key = s.nexus_endpoints.c.endpoint_id == endpoint.endpoint_id
                connection.execute(delete(s.nexus_endpoints).where(key))
                connection.execute(s.nexus_endpoints.insert().values(**_row(endpoint)))

            await self._database.write(put)
            if previous is not None:
                self._forget(previous)
            self._remember(endpoint)

    def _remember(self, endpoint: NexusEndpoint) -> None:
        self._by_id[endpoint.endpoint_id] = endpoint
        if endpoint.callers is None:
            self._by_name[endpoint.name] = endpoint
        for namespace_id in endpoint.callers or ():
            self._by_caller[(namespace_id, endpoint.name)] = endpoint

    def _forget(self, endpoint: NexusEndpoint) -> None:
        self._by_id.pop(endpoint.endpoint_id, None)
        if endpoint.callers is None:
            self._by_name.pop(endpoint.name, None)
        for namespace_id in endpoint.callers or ():
            key = (namespace_id, endpoint.name)
            if self._by_caller.get(key) is endpoint:
                del self._by_caller[key]


def _row(endpoint: NexusEndpoint) -> dict[str, object]:
    # The table has each name once: those that only some may call are told apart by their ids.
    of_all = endpoint.callers is None
    return {
        "endpoint_id": endpoint.endpoint_id,
        "name": endpoint.name if of_all else f"{endpoint.endpoint_id}/{endpoint.name}",
        "record": msgspec.msgpack.encode(endpoint),
    }
