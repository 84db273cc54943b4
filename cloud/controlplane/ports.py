"""What the control plane asks of others; composition answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Protocol

from temporalio.api.enums.v1 import IndexedValueType


@dataclass(frozen=True, slots=True, kw_only=True)
class CellNamespace:
    """A namespace as its cell needs to know it. `name` is the full ``<name>.<account>``."""

    name: str
    cell: str
    retention: timedelta
    description: str = ""
    search_attributes: Mapping[str, IndexedValueType.ValueType] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellNexusEndpoint:
    """A Nexus endpoint as its cell needs to know it. Namespaces by their full names; `description` is a serialized Payload."""

    id: str
    cell: str
    name: str
    target_namespace: str
    target_task_queue: str
    callers: Sequence[str] = ()
    description: bytes = b""


class Provisioner(Protocol):
    """Makes namespaces and Nexus endpoints on cells. Every method may be called again with the same values, after a crash or a lost
    reply, and then succeeds without doing anything twice.

    An RpcError that no repetition can help (INVALID_ARGUMENT, FAILED_PRECONDITION, ALREADY_EXISTS, UNIMPLEMENTED, …)
    fails the operation with its sentence, which the tenant reads; after any other the call is made again later.
    """

    async def create_namespace(self, namespace: CellNamespace) -> None:
        """Make the namespace, or find it made."""

    async def update_namespace(self, namespace: CellNamespace) -> None:
        """Bring the namespace to these values."""

    async def delete_namespace(self, namespace: CellNamespace) -> None:
        """Take the namespace and its data away, or find it gone."""

    async def put_nexus_endpoint(self, endpoint: CellNexusEndpoint) -> None:
        """Make the endpoint, or bring it to these values."""

    async def delete_nexus_endpoint(self, endpoint: CellNexusEndpoint) -> None:
        """Take the endpoint away, or find it gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayUsage:
    """What one namespace used in one day (UTC)."""

    namespace: str
    day: date
    actions: float
    active_storage_byte_seconds: float = 0.0
    retained_storage_byte_seconds: float = 0.0


class UsageReader(Protocol):
    """Reads metered usage."""

    async def daily(self, namespaces: Sequence[str], start: date, end: date) -> Sequence[DayUsage]:
        """The usage of these namespaces on the days in [start, end); days without any may be left out."""
