import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.cloud.identity.v1 import message_pb2 as identity_pb
from temporalio.api.cloud.namespace.v1 import message_pb2 as namespace_pb

from cloud.controlplane.controlplane import CLOUD_SERVICE, ControlPlane
from cloud.controlplane.ports import CellNamespace, CellNexusEndpoint, DayUsage
from cloud.controlplane.wire import Endpoints
from cloud.rpc import CallContext, Caller, CallerKind
from tenancy.access import Principal
from tenancy.service import SignedUp, Tenancy, open_tenancy

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> dt.datetime:
        return self.now


@dataclass
class MemoryCell:
    """A cell's namespaces in memory. `before` is awaited at each call, and may refuse or hang."""

    namespaces: dict[str, CellNamespace] = field(default_factory=dict)
    endpoints: dict[str, CellNexusEndpoint] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[], Awaitable[None]] | None = None

    async def create_namespace(self, namespace: CellNamespace) -> None:
        await self._called("create", namespace)
        self.namespaces[namespace.name] = namespace

    async def update_namespace(self, namespace: CellNamespace) -> None:
        await self._called("update", namespace)
        self.namespaces[namespace.name] = namespace

    async def delete_namespace(self, namespace: CellNamespace) -> None:
        await self._called("delete", namespace)
        self.namespaces.pop(namespace.name, None)

    async def put_nexus_endpoint(self, endpoint: CellNexusEndpoint) -> None:
        await self._called("put endpoint", endpoint)
        self.endpoints[endpoint.id] = endpoint

    async def delete_nexus_endpoint(self, endpoint: CellNexusEndpoint) -> None:
        await self._called("delete endpoint", endpoint)
        self.endpoints.pop(endpoint.id, None)

    async def _called(self, what: str, thing: CellNamespace | CellNexusEndpoint) -> None:
        self.calls.append((what, thing.name))
        if self.before is not None:
            await self.before()


@dataclass
class MemoryUsage:
    rows: list[DayUsage] = field(default_factory=list)
    asked: list[tuple[tuple[str, ...], dt.date, dt.date]] = field(default_factory=list)

    async def daily(self, namespaces: Sequence[str], start: dt.date, end: dt.date) -> Sequence[DayUsage]:
        self.asked.append((tuple(namespaces), start, end))
        return [row for row in self.rows if row.namespace in namespaces and start <= row.day < end]


@dataclass
class Plane:
    """A control plane over a real store, with a cell and usage in memory."""

    tenancy: Tenancy
    control_plane: ControlPlane
    cell: MemoryCell
    usage: MemoryUsage
    clock: Clock
    folder: Path

    async def customer(self, email: str = "ada@example.com") -> "Customer":
        signed_up = await self.tenancy.sign_up(email, "Example")
        return Customer(self, signed_up, self.tenancy.directory.authenticate_api_key(signed_up.api_key, NOW))

    async def restarted(self) -> "Plane":
        """The control plane after a crash: nothing is told to the old one."""
        return await open_plane(self.folder, self.cell, self.usage, self.clock)


@dataclass
class Customer:
    plane: Plane
    signed_up: SignedUp
    principal: Principal

    @property
    def account_id(self) -> str:
        return self.principal.account_id

    async def call(self, name: str, /, **fields: Any) -> Any:
        """Call CloudService's method `name` with a request of these fields."""
        method = CLOUD_SERVICE[name]
        handler = self.plane.control_plane.handlers()[name]
        return await handler(method.request_type(**fields), context_of(self.principal))

    def acting_by(self, token: str) -> "Customer":
        principal = self.plane.tenancy.directory.authenticate_api_key(token, self.plane.clock.now)
        return Customer(self.plane, self.signed_up, principal)

    async def service_account(
        self,
        name: str = "ci",
        role: identity_pb.AccountAccess.Role.ValueType = identity_pb.AccountAccess.ROLE_READ,
        **grants: str,
    ) -> "Customer":
        """Whoever acts by the key of a new service account; grants are NAME=permission in this account."""
        access = identity_pb.Access(account_access=identity_pb.AccountAccess(role=role))
        for bare_name, permission in grants.items():
            value = identity_pb.NamespaceAccess.Permission.Value(f"PERMISSION_{permission.upper()}")
            access.namespace_accesses[f"{bare_name}.{self.account_id}"].permission = value
        spec = identity_pb.ServiceAccountSpec(name=name, access=access)
        made = await self.call("CreateServiceAccount", spec=spec)
        key = identity_pb.ApiKeySpec(
            owner_id=made.service_account_id,
            owner_type=identity_pb.OWNER_TYPE_SERVICE_ACCOUNT,
            display_name="ci",
        )
        key.expiry_time.FromDatetime(NOW + dt.timedelta(days=30))
        return self.acting_by((await self.call("CreateApiKey", spec=key)).token)

    async def namespace(self, name: str = "orders", **fields: Any) -> namespace_pb.Namespace:
        spec = namespace_pb.NamespaceSpec(name=name, **fields)
        spec.api_key_auth.enabled = True
        made = await self.call("CreateNamespace", spec=spec)
        return (await self.call("GetNamespace", namespace=made.namespace)).namespace


def context_of(principal: Principal) -> CallContext:
    """The context that the gateway gives to a call of account scope."""
    return CallContext(
        caller=Caller(kind=CallerKind.API_KEY, id=principal.id),
        metadata={
            "tacit-account-id": principal.account_id,
            "tacit-principal-kind": principal.kind.value,
            "tacit-credential-id": principal.credential_id,
        },
        peer="ipv4:192.0.2.1:5000",
    )


async def open_plane(folder: Path, cell: MemoryCell, usage: MemoryUsage, clock: Clock) -> Plane:
    tenancy = await open_tenancy(f"sqlite:///{folder / 'control.db'}", folder / "signing.pem", clock=clock)
    await tenancy.start()
    endpoints = Endpoints(mtls="cloud.example:7233", api_key="cloud.example:7234")
    control_plane = ControlPlane(tenancy, cell, usage, clock, endpoints=lambda: endpoints)
    return Plane(tenancy, control_plane, cell, usage, clock, folder)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    opened = await open_plane(tmp_path, MemoryCell(), MemoryUsage(), Clock())
    yield opened
    await opened.control_plane.close()
    await opened.tenancy.close()


@pytest.fixture
async def customer(plane: Plane) -> Customer:
    return await plane.customer()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds, for five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)
