"""How every change is made: one transaction with its rights, its operation and its audit record, then the
directory.

    change(actor, request, work)
      ├─ transaction: count the version up (waits for other writers) → the same operation id again? return
      that one │               → read the actor's present role → work (checks, rows) → operation row → audit
      rows → commit └─ refresh the directory of this process; those of others poll

A caller that gives up half-way changes nothing of this: the change runs to its end and its operation can be
read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import sqlalchemy as sa
import structlog

from tenancy import names, store
from tenancy.access import Permission, Principal, PrincipalKind
from tenancy.database import Database
from tenancy.directory import Directory
from tenancy.errors import Exists, Fault, Forbidden, Invalid, LimitReached, Stale, refuse_faults
from tenancy.model import (
    AccountRole,
    AuditRecord,
    Operation,
    OperationRequest,
    OperationState,
)
from tenancy.roles import Right, may, namespace_permission

# Temporal Cloud's limit on changes under way in one account.
OPERATIONS_UNFINISHED_MAX = 10

_log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Who acts, with the rights of this moment, read in the transaction that uses them."""

    principal: Principal
    name: str
    role: AccountRole
    grants: Mapping[str, Permission]

    @property
    def account_id(self) -> str:
        """The account that all of it is about."""
        return self.principal.account_id

    @property
    def bare_id(self) -> str:
        """The user's or service account's id, without its kind."""
        return self.principal.id.partition(":")[2]

    def permission(self, namespace: str) -> Permission:
        """The permission in a namespace that is known to be of this account."""
        return namespace_permission(self.role, self.grants.get(namespace))

    def require(self, right: Right) -> None:
        """Raise Forbidden unless the role includes `right`."""
        if not may(self.role, right):
            raise Forbidden(
                f"The role {self.role.value} may not {right.value}; ask an account owner or admin."
            )


@dataclass(slots=True)
class Change:
    """A change being made; lives as long as its transaction."""

    connection: sa.Connection
    actor: Standing
    operation_id: str
    version: int
    now: datetime
    in_progress: bool = False
    details: dict[str, object] = field(default_factory=dict)
    touched: set[tuple[str, str]] = field(default_factory=set)

    def touch(self, kind: str, thing: str) -> None:
        """Tell the directories that this thing changed."""
        self.touched.add((kind, thing))


def standing(connection: sa.Connection, principal: Principal) -> Standing:
    """The actor's present role and grants.

    Raises:
        Forbidden: a certificate, which speaks for a namespace and not for an account, or an identity that is
            gone.
    """
    _, _, bare_id = principal.id.partition(":")
    if principal.kind is PrincipalKind.USER:
        user = store.user(connection, principal.account_id, bare_id)
        if user is not None:
            return Standing(principal=principal, name=user.email, role=user.role, grants=user.grants)
    elif principal.kind is PrincipalKind.SERVICE_ACCOUNT:
        one = store.service_account(connection, principal.account_id, bare_id)
        if one is not None:
            return Standing(principal=principal, name=one.name, role=one.role, grants=one.grants)
    raise Forbidden("Only users and service accounts may do this; call with an API key.")


def expect_version(given: str, actual: int, thing: str) -> None:
    """Compare the version that a change was based on.

    Raises:
        Invalid: none was given.
        Stale: the thing changed since.
    """
    if not given:
        raise Invalid(
            [Fault(field="resource_version", problem=f"is needed; read {thing} and give the one it has")]
        )
    if given != str(actual):
        raise Stale(
            f"{thing} changed since it was read (version {given}, now {actual}); read it again and retry."
        )


class Office:
    """What the services of tenancy share. `clock` gives the time in UTC."""

    def __init__(self, database: Database, directory: Directory, clock: Clock) -> None:
        self.database = database
        self.directory = directory
        self.clock = clock
        self._running: set[asyncio.Task[Operation]] = set()

    async def change(
        self, actor: Principal, request: OperationRequest, work: Callable[[Change], str]
    ) -> Operation:
        """Make one change; `work` returns the id of what it changed, and may leave the change in progress.

        Raises:
            TenancyError: refused by `work`, by a limit, or the operation's id stands for another request.
        """
        if request.id:
            refuse_faults(names.operation_id_faults(request.id))

        def transaction(connection: sa.Connection) -> Operation:
            version = store.next_version(connection)
            if request.id:
                earlier = store.operation(connection, actor.account_id, request.id)
                if earlier is not None:
                    return _same_operation(earlier, request)
            change = Change(
                connection=connection,
                actor=standing(connection, actor),
                operation_id=request.id or names.new_id(),
                version=version,
                now=self.clock(),
            )
            return _carry_out(change, request, work)

        return await self.commit(transaction)

    async def settle(
        self,
        operation: Operation,
        failure: str,
        work: Callable[[sa.Connection, Operation, str], set[tuple[str, str]]],
    ) -> Operation:
        """Finish an operation that was left in progress; `work` returns what directories must look at again.

        Settling twice is harmless: the second time finds it finished.
        """

        def transaction(connection: sa.Connection) -> Operation:
            version = store.next_version(connection)
            present = store.operation(connection, operation.account_id, operation.id)
            if present is None or present.state is not OperationState.IN_PROGRESS:
                return present or operation
            now = self.clock()
            touched = work(connection, present, failure)
            state = OperationState.FAILED if failure else OperationState.FULFILLED
            store.finish_operation(connection, present.account_id, present.id, state, failure, now)
            store.insert_audit(
                connection,
                AuditRecord(
                    id=names.new_id(),
                    account_id=present.account_id,
                    at=now,
                    operation=f"{present.type}{state.value.capitalize()}",
                    principal_kind="service",
                    principal_id="",
                    principal_name="tacit",
                    api_key_id="",
                    details={"resource": present.resource_id, "failure": failure},
                    operation_id=present.id,
                ),
            )
            store.record_changes(connection, version, touched)
            return replace(present, state=state, failure_reason=failure, finished_at=now)

        return await self.commit(transaction)

    async def commit(self, transaction: Callable[[sa.Connection], Operation]) -> Operation:
        """Run a writing transaction to its end, even if the caller goes, then refresh the directory."""
        task = asyncio.create_task(self._commit(transaction))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _commit(self, transaction: Callable[[sa.Connection], Operation]) -> Operation:
        operation = await self.database.write(transaction)
        try:
            await self.directory.refresh()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            # The change stands. The directory's own polling takes it up as soon as the store answers.
            _log.warning("tenancy.refresh_failed", error=type(error).__name__, operation_id=operation.id)
        return operation

    async def settle_down(self) -> None:
        """Wait for changes whose callers have gone."""
        await asyncio.gather(*self._running, return_exceptions=True)


def _carry_out(change: Change, request: OperationRequest, work: Callable[[Change], str]) -> Operation:
    connection, account_id = change.connection, change.actor.account_id
    resource_id = work(change)
    if change.in_progress:
        unfinished = store.count_unfinished_operations(connection, account_id)
        if unfinished >= OPERATIONS_UNFINISHED_MAX:
            limit = f"{unfinished} operations of the account are under way, the most is {OPERATIONS_UNFINISHED_MAX}"
            raise LimitReached(f"{limit}; wait for one to finish.")
    operation = Operation(
        id=change.operation_id,
        account_id=account_id,
        type=request.type,
        input_type=request.input_type,
        input=request.input,
        state=OperationState.IN_PROGRESS if change.in_progress else OperationState.FULFILLED,
        failure_reason="",
        resource_id=resource_id,
        started_at=change.now,
        finished_at=None if change.in_progress else change.now,
    )
    store.insert_operation(connection, operation)
    principal = change.actor.principal
    store.insert_audit(
        connection,
        AuditRecord(
            id=names.new_id(),
            account_id=account_id,
            at=change.now,
            operation=request.type,
            principal_kind=principal.kind.value,
            principal_id=change.actor.bare_id,
            principal_name=change.actor.name,
            api_key_id=principal.credential_id,
            details={"resource": resource_id, **change.details},
            operation_id=operation.id,
        ),
    )
    store.record_changes(connection, change.version, change.touched)
    return operation


def _same_operation(earlier: Operation, request: OperationRequest) -> Operation:
    if (earlier.type, earlier.input_type, earlier.input) != (request.type, request.input_type, request.input):
        raise Exists(f"The operation id {request.id} was used for another request; give a new one.")
    return earlier
