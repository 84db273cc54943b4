"""Tenancy as one thing to hold.

The services of accounts, namespaces and identities over one store and directory.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
import structlog

from tenancy import names, store
from tenancy.access import Principal, PrincipalKind
from tenancy.apikeys import ApiKeySigner, ApiKeyVerifier, load_or_create_signer
from tenancy.database import Database, open_database
from tenancy.directory import KIND_API_KEY, KIND_USER, Directory
from tenancy.errors import Missing, TenancyError, refuse_faults
from tenancy.guard_counts import GuardCountStore
from tenancy.identities import ServiceAccounts, Users
from tenancy.keys import ApiKeys, ApiKeySettings, new_api_key, sign
from tenancy.model import (
    Account,
    AccountRole,
    AuditRecord,
    Operation,
    OperationState,
    Page,
    PageRequest,
    User,
)
from tenancy.namespaces import CREATE, Namespaces
from tenancy.nexus_endpoints import NexusEndpoints
from tenancy.office import Clock, Office, standing
from tenancy.roles import Right

SIGNUP_KEY_LIFETIME = timedelta(days=90)
# How stale the answers of another process may be. One indexed read of one row costs next to nothing.
REFRESH_INTERVAL_SECONDS = 1.0
SIGNUP = "Signup"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedUp:
    """A new account with its owner; `api_key` is in no repr and nowhere else."""

    account: Account
    user: User
    api_key_id: str
    api_key: str
    api_key_expires_at: datetime

    def __repr__(self) -> str:
        return f"SignedUp(account={self.account.id!r}, user={self.user.id!r}, api_key_id={self.api_key_id!r})"


def utc_now() -> datetime:
    """The time of the machine, in UTC."""
    return datetime.now(UTC)


class Tenancy:
    """Everything of tenancy.

    Make it with `open_tenancy`, then `start` it; `close` may be called at any time.
    """

    def __init__(
        self, database: Database, signer: ApiKeySigner, *, clock: Clock = utc_now, cell: str
    ) -> None:
        self._database = database
        self._signer = signer
        self._clock = clock
        self._poll: asyncio.Task[None] | None = None
        self.directory = Directory(database, ApiKeyVerifier(signer.public_keys))
        office = Office(database, self.directory, clock)
        self._office = office
        self.namespaces = Namespaces(office, cell)
        self.nexus_endpoints = NexusEndpoints(office)
        self.users = Users(office)
        self.service_accounts = ServiceAccounts(office)
        self.api_keys = ApiKeys(office, signer)
        self.guard_counts = GuardCountStore(database)

    async def start(self) -> None:
        """Load the directory and keep it fresh with what other processes commit. Starting twice is harmless.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store can't be read.
        """
        if self._poll is None:
            await self.directory.refresh()
            self._poll = asyncio.create_task(self._keep_fresh(), name="tenancy-directory")

    async def close(self) -> None:
        """Stop polling, let running changes end, let go of the store."""
        if self._poll is not None:
            self._poll.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poll
            self._poll = None
        await self._office.settle_down()
        await self._database.close()

    async def sign_up(self, email: str, display_name: str) -> SignedUp:
        """Make an account, its owner, and the owner's first API key.

        Raises:
            Invalid: the e-mail or the name won't do.
        """
        address = email.strip().lower()
        refuse_faults(names.email_faults(address) + names.display_name_faults(display_name))
        made: list[SignedUp] = []

        def transaction(connection: sa.Connection) -> Operation:
            signed_up, operation = _sign_up(connection, address, display_name, self._signer, self._clock())
            made.append(signed_up)
            return operation

        await self._office.commit(transaction)
        return made[0]

    async def account(self, actor: Principal) -> Account:
        """The actor's account."""

        def work(connection: sa.Connection) -> Account:
            account = store.account(connection, standing(connection, actor).account_id)
            if account is None:
                raise Missing("The account is gone.")
            return account

        return await self._database.read(work)

    async def operation(self, actor: Principal, operation_id: str) -> Operation:
        """One operation of the actor's account.

        Raises:
            Missing: there is none of this id in it.
        """

        def work(connection: sa.Connection) -> Operation:
            operation = store.operation(connection, standing(connection, actor).account_id, operation_id)
            if operation is None:
                raise Missing(f"The account has no operation {operation_id[:128]}.")
            return operation

        return await self._database.read(work)

    async def unfinished_operations(self) -> list[Operation]:
        """What was under way, of all accounts, oldest first."""
        return await self._database.read(store.unfinished_operations)

    async def audit_log(
        self, actor: Principal, page: PageRequest, start: datetime, end: datetime
    ) -> Page[AuditRecord]:
        """The audit records of the actor's account in [start, end), oldest first.

        Raises:
            Forbidden: the actor's role may not read them.
        """

        def work(connection: sa.Connection) -> Page[AuditRecord]:
            who = standing(connection, actor)
            who.require(Right.READ_AUDIT)
            return store.audit_records(connection, who.account_id, page, start, end)

        return await self._database.read(work)

    async def usage_namespaces(self, actor: Principal) -> list[str]:
        """Every namespace that the actor's account has or had, for reading their usage.

        Raises:
            Forbidden: the actor's role may not read it.
        """

        def work(connection: sa.Connection) -> list[str]:
            who = standing(connection, actor)
            who.require(Right.READ_USAGE)
            return store.namespaces_ever_created(connection, who.account_id, CREATE)

        return await self._database.read(work)

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_INTERVAL_SECONDS)
            try:
                await self.directory.refresh()
            except (sa.exc.SQLAlchemyError, OSError, TenancyError) as error:
                # The last known answers go on being given; a revocation waits for the store, as it does to
                # commit.
                _log.warning("tenancy.refresh_failed", error=type(error).__name__)


async def open_tenancy(
    url: str, signing_key: Path, *, clock: Clock = utc_now, cell: str = "local"
) -> Tenancy:
    """Open the store at `url` and the signing key at `signing_key` (made if absent, mode 0600).

    `cell` is the cell on which new namespaces are placed.

    Raises:
        ValueError, PermissionError, OSError: the URL or the key file won't do; the sentence says why.
        sqlalchemy.exc.SQLAlchemyError: the database can't be reached or written.
    """
    signer = load_or_create_signer(signing_key)
    return Tenancy(await open_database(url), signer, clock=clock, cell=cell)


def _sign_up(
    connection: sa.Connection, email: str, display_name: str, signer: ApiKeySigner, now: datetime
) -> tuple[SignedUp, Operation]:
    version = store.next_version(connection)
    account_id = names.new_account_id()
    while store.account(connection, account_id) is not None:
        account_id = names.new_account_id(len(account_id) + 1)
    account = Account(id=account_id, display_name=display_name, version=1, created_at=now)
    operation_id = names.new_id()
    user = User(
        id=names.new_id(),
        account_id=account_id,
        email=email,
        role=AccountRole.OWNER,
        version=1,
        created_at=now,
        modified_at=now,
        operation_id=operation_id,
    )
    settings = ApiKeySettings(
        owner_kind=PrincipalKind.USER,
        owner_id=user.id,
        display_name="signup",
        description="The first key, made at signup.",
        expires_at=now + SIGNUP_KEY_LIFETIME,
    )
    key = new_api_key(account_id, settings, now, operation_id)
    operation = Operation(
        id=operation_id,
        account_id=account_id,
        type=SIGNUP,
        input_type="",
        input=b"",
        state=OperationState.FULFILLED,
        failure_reason="",
        resource_id=account_id,
        started_at=now,
        finished_at=now,
    )
    store.insert_account(connection, account)
    store.insert_user(connection, user)
    store.insert_api_key(connection, key)
    store.insert_operation(connection, operation)
    store.insert_audit(
        connection,
        AuditRecord(
            id=names.new_id(),
            account_id=account_id,
            at=now,
            operation=SIGNUP,
            principal_kind=PrincipalKind.USER.value,
            principal_id=user.id,
            principal_name=email,
            api_key_id="",
            details={"resource": account_id, "email": email, "api_key": key.id},
            operation_id=operation_id,
        ),
    )
    store.record_changes(connection, version, [(KIND_USER, user.id), (KIND_API_KEY, key.id)])
    signed_up = SignedUp(
        account=account,
        user=user,
        api_key_id=key.id,
        api_key=sign(signer, key),
        api_key_expires_at=key.expires_at,
    )
    return signed_up, operation
