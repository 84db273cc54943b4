import datetime as dt
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from tenancy.access import Principal, PrincipalKind
from tenancy.model import Namespace, NamespaceSettings, OperationRequest
from tenancy.service import SignedUp, Tenancy, open_tenancy

from .certificates_made import NOW


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> dt.datetime:
        return self.now


@dataclass
class Cloud:
    """A tenancy on one kind of database, with helpers that say what a test means."""

    tenancy: Tenancy
    clock: Clock
    url: str
    signing_key: Path

    async def customer(self, email: str = "ada@example.com") -> "Customer":
        return Customer(self, await self.tenancy.sign_up(email, "Example"))

    async def other_process(self) -> Tenancy:
        """A second tenancy over the same store, as another process has it."""
        return await open_tenancy(self.url, self.signing_key, clock=self.clock)


@dataclass
class Customer:
    cloud: Cloud
    signed_up: SignedUp

    @property
    def account_id(self) -> str:
        return self.signed_up.account.id

    @property
    def owner(self) -> Principal:
        return Principal(
            kind=PrincipalKind.USER,
            id=f"user:{self.signed_up.user.id}",
            account_id=self.account_id,
            credential_id=self.signed_up.api_key_id,
        )

    async def namespace(
        self,
        name: str = "orders",
        settings: NamespaceSettings | None = None,
        tags: dict[str, str] | None = None,
        actor: Principal | None = None,
    ) -> Namespace:
        namespaces = self.cloud.tenancy.namespaces
        wanted = settings or NamespaceSettings(api_key_enabled=True)
        who = actor or self.owner
        operation = await namespaces.create(who, name, wanted, tags or {}, request("CreateNamespace"))
        await namespaces.settle(operation)
        return await namespaces.get(self.owner, operation.resource_id)


def request(kind: str = "Test", operation_id: str = "", given: bytes = b"") -> OperationRequest:
    return OperationRequest(id=operation_id, type=kind, input_type="test", input=given)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cloud]:
    """A started tenancy over an empty database, once on SQLite and once on Postgres."""
    clock = Clock()
    key = tmp_path / "signing.pem"
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'control.db'}"
        tenancy = await open_tenancy(url, key, clock=clock)
        await tenancy.start()
        yield Cloud(tenancy, clock, url, key)
        await tenancy.close()
        return
    base = sa.make_url(request.getfixturevalue("postgres_url"))
    name = f"tenancy_{uuid.uuid4().hex[:12]}"
    admin = create_async_engine(base.set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT")
    async with admin.connect() as connection:
        await connection.execute(sa.text(f"CREATE DATABASE {name}"))
    url = base.set(database=name).render_as_string(hide_password=False)
    tenancy = await open_tenancy(url, key, clock=clock)
    await tenancy.start()
    yield Cloud(tenancy, clock, url, key)
    await tenancy.close()
    async with admin.connect() as connection:
        await connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    await admin.dispose()
