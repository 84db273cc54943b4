"""The namespaces of a cell, in memory: few, small, asked for on every call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, delete, select

from cloud.engine.core.limits import Limits
from cloud.engine.store import schema as s
from cloud.engine.store.database import Database
from cloud.engine.store.writing import check_epoch

log = structlog.get_logger(__name__)

REGISTERED = 1
DEPRECATED = 2
DELETED = 3

DAY = 86_400 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace as its cell knows it. `state` is a NamespaceState, times are ns, `search_attributes` IndexedValueTypes."""

    namespace_id: str
    name: str
    state: int = REGISTERED
    description: str = ""
    owner_email: str = ""
    data: dict[str, str] = field(default_factory=dict)
    retention: int = DAY
    search_attributes: dict[str, int] = field(default_factory=dict)
    created_at: int = 0
    workflow_rules: dict[str, bytes] = field(default_factory=dict)  # serialized WorkflowRules, by id


class NoSuchNamespace(Exception):
    """There is no namespace of this name or id."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Namespace {name} is not found.")
        self.name = name


class NamespaceExists(Exception):
    """The name is taken."""


async def _whole(change: Coroutine[Any, Any, None]) -> None:
    """Carry a change of store and memory out to its end, also for a caller that goes away; it leaves only then, so that the
    lock that it holds outlasts the change."""
    task = asyncio.ensure_future(change)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("namespace_not_changed", reason=str(error))
        raise


class Namespaces:
    """Reads from memory, writes through to the store; a change is made in both or in none.

    Who changes a record by what it says now holds `changing` from the look to the change: else one of two loses.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self.limits = limits
        self.changing = asyncio.Lock()
        self._by_name: dict[str, Namespace] = {}
        self._by_id: dict[str, Namespace] = {}

    async def load(self) -> None:
        """Read all from the store."""
        rows = await self._database.scan(lambda c: c.execute(select(s.namespaces.c.record)).scalars().all())
        self._by_name.clear()
        self._by_id.clear()
        for row in rows:
            self._remember(msgspec.msgpack.decode(row, type=Namespace))

    def _remember(self, namespace: Namespace) -> None:
        self._by_name[namespace.name] = namespace
        self._by_id[namespace.namespace_id] = namespace

    def by_name(self, name: str) -> Namespace:
        """The namespace `name`.

        Raises:
            NoSuchNamespace: there is none.
        """
        found = self._by_name.get(name)
        if found is None:
            raise NoSuchNamespace(name)
        return found

    def by_id(self, namespace_id: str) -> Namespace:
        """The namespace of this id.

        Raises:
            NoSuchNamespace: there is none.
        """
        found = self._by_id.get(namespace_id)
        if found is None:
            raise NoSuchNamespace(namespace_id)
        return found

    def serves(self, namespace_id: str) -> bool:
        """Whether runs of the namespace may be in memory: it is there, and it is not being deleted."""
        found = self._by_id.get(namespace_id)
        return found is not None and found.state != DELETED

    def all(self) -> list[Namespace]:
        """All namespaces, by name."""
        return sorted(self._by_name.values(), key=lambda namespace: namespace.name)

    async def create(self, namespace: Namespace, epoch: int) -> None:
        """Add a namespace.

        Raises:
            NamespaceExists: the name is taken.
        """
        if namespace.name in self._by_name:
            raise NamespaceExists(f"Namespace {namespace.name} already exists.")
        self._remember(namespace)  # at once: of two who want the name one gets it
        await _whole(self._create(namespace, epoch))

    async def _create(self, namespace: Namespace, epoch: int) -> None:
        try:
            await self._save(namespace, epoch)
        except BaseException:
            self._forget(namespace)
            raise

    async def update(self, namespace: Namespace, epoch: int) -> None:
        """Replace a namespace's record (its name and id stay)."""
        await _whole(self._update(namespace, epoch))

    async def _update(self, namespace: Namespace, epoch: int) -> None:
        await self._save(namespace, epoch)
        self._remember(namespace)

    async def delete(self, namespace: Namespace, epoch: int) -> None:
        """Remove a namespace's record; its runs are the caller's to remove first."""
        await _whole(self._delete(namespace, epoch))

    async def _delete(self, namespace: Namespace, epoch: int) -> None:
        def remove(connection: Connection) -> None:
            check_epoch(connection, epoch)
            connection.execute(
                delete(s.namespaces).where(s.namespaces.c.namespace_id == namespace.namespace_id)
            )

        await self._database.write(remove)
        self._forget(namespace)

    async def rename(self, namespace: Namespace, renamed: Namespace, epoch: int) -> None:
        """Replace a record by one of the same id under another name."""
        await _whole(self._rename(namespace, renamed, epoch))

    async def _rename(self, namespace: Namespace, renamed: Namespace, epoch: int) -> None:
        def save(connection: Connection) -> None:
            check_epoch(connection, epoch)
            connection.execute(
                s.namespaces.update()
                .where(s.namespaces.c.namespace_id == namespace.namespace_id)
                .values(name=renamed.name, record=msgspec.msgpack.encode(renamed))
            )

        await self._database.write(save)
        self._by_name.pop(namespace.name, None)
        self._remember(renamed)

    async def deprecate(self, namespace: Namespace, epoch: int) -> None:
        """Refuse new workflows from now on."""
        await self.update(replace(namespace, state=DEPRECATED), epoch)

    def _forget(self, namespace: Namespace) -> None:
        self._by_name.pop(namespace.name, None)
        self._by_id.pop(namespace.namespace_id, None)

    async def _save(self, namespace: Namespace, epoch: int) -> None:
        record = msgspec.msgpack.encode(namespace)

        def save(connection: Connection) -> None:
            check_epoch(connection, epoch)
            key = s.namespaces.c.namespace_id == namespace.namespace_id
            if connection.execute(select(s.namespaces.c.name).where(key)).one_or_none() is None:
                connection.execute(
                    s.namespaces.insert().values(
                        namespace_id=namespace.namespace_id, name=namespace.name, record=record
                    )
                )
            else:
                connection.execute(s.namespaces.update().where(key).values(record=record))

        await self._database.write(save)
