"""The rules of those who act: users and service accounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from tenancy import names, store
from tenancy.access import Permission, Principal
from tenancy.directory import KIND_API_KEY, KIND_SERVICE_ACCOUNT
from tenancy.errors import Exists, Fault, Forbidden, Invalid, LimitReached, Missing, refuse_faults
from tenancy.model import (
    AccountRole,
    Operation,
    OperationRequest,
    Page,
    PageRequest,
    ServiceAccount,
    User,
)
from tenancy.office import Change, Office, Standing, expect_version, standing
from tenancy.roles import Right, may, may_govern

SERVICE_ACCOUNTS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountSettings:
    """What is chosen for a service account. With a `scoped_namespace`, the grants hold that one alone."""

    name: str
    description: str = ""
    role: AccountRole = AccountRole.READ
    grants: Mapping[str, Permission]
    scoped_namespace: str | None = None


class Users:
    """The people of an account."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def get(self, actor: Principal, user_id: str) -> User:
        """One user of the actor's account.

        Raises:
            Missing: there is none of this id in it.
        """

        def work(connection: sa.Connection) -> User:
            user = store.user(connection, standing(connection, actor).account_id, user_id)
            if user is None:
                raise Missing(f"The account has no user {user_id[:64]}.")
            return user

        return await self._office.database.read(work)

    async def list(
        self, actor: Principal, page: PageRequest, *, email: str = "", namespace: str = ""
    ) -> Page[User]:
        """The users of the actor's account, of one e-mail or with a grant in one namespace if given."""

        def work(connection: sa.Connection) -> Page[User]:
            account_id = standing(connection, actor).account_id
            return store.users(connection, account_id, page, email=email.lower(), namespace=namespace)

        return await self._office.database.read(work)


class ServiceAccounts:
    """The programs of an account. Whoever governs one can never give it more than they could assign."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def get(self, actor: Principal, service_account_id: str) -> ServiceAccount:
        """One service account of the actor's account.

        Raises:
            Missing: there is none of this id in it.
        """
        return await self._office.database.read(
            lambda c: service_account_of(c, standing(c, actor).account_id, service_account_id)
        )

    async def list(self, actor: Principal, page: PageRequest) -> Page[ServiceAccount]:
        """The service accounts of the actor's account."""
        return await self._office.database.read(
            lambda c: store.service_accounts(c, standing(c, actor).account_id, page)
        )

    async def create(
        self, actor: Principal, settings: ServiceAccountSettings, request: OperationRequest
    ) -> Operation:
        """Make a service account.

        Raises:
            Invalid, Forbidden, Exists, LimitReached.
        """

        def work(change: Change) -> str:
            account_id = change.actor.account_id
            _require_govern(change.actor, settings.role, settings.scoped_namespace)
            _check_service_account(change, settings, before=None)
            listed = store.service_accounts(
                change.connection, account_id, PageRequest(size=SERVICE_ACCOUNTS_MAX)
            )
            if len(listed.items) >= SERVICE_ACCOUNTS_MAX:
                raise LimitReached(
                    f"The account has {SERVICE_ACCOUNTS_MAX} service accounts; delete one first."
                )
            one = ServiceAccount(
                id=names.new_id(),
                account_id=account_id,
                name=settings.name,
                description=settings.description,
                role=settings.role,
                scoped_namespace=settings.scoped_namespace,
                version=1,
                created_at=change.now,
                modified_at=change.now,
                operation_id=change.operation_id,
            )
            store.insert_service_account(change.connection, one)
            _put_grants(change, one.id, settings.grants)
            change.details.update(_told(settings))
            return one.id

        return await self._office.change(actor, request, work)

    async def update(
        self,
        actor: Principal,
        service_account_id: str,
        settings: ServiceAccountSettings,
        resource_version: str,
        request: OperationRequest,
    ) -> Operation:
        """Exchange the settings of a service account; its scope can't change.

        Raises:
            Missing, Forbidden, Invalid, Stale, Exists.
        """

        def work(change: Change) -> str:
            before = service_account_of(change.connection, change.actor.account_id, service_account_id)
            _require_govern(change.actor, before.role, before.scoped_namespace)
            _require_govern(change.actor, settings.role, before.scoped_namespace)
            expect_version(resource_version, before.version, f"The service account {before.name}")
            _check_service_account(change, settings, before=before)
            after = _changed(before, change)
            after = replace(after, name=settings.name, description=settings.description, role=settings.role)
            store.update_service_account(change.connection, after)
            _put_grants(change, before.id, settings.grants)
            change.details.update(_told(settings))
            return before.id

        return await self._office.change(actor, request, work)

    async def set_access(
        self,
        actor: Principal,
        service_account_id: str,
        namespace: str,
        permission: Permission,
        resource_version: str,
        request: OperationRequest,
    ) -> Operation:
        """Give a service account a permission in one namespace, or (NONE) take it away.

        Raises:
            Missing, Forbidden (an admin of the namespace may), Invalid, Stale.
        """

        def work(change: Change) -> str:
            before = service_account_of(change.connection, change.actor.account_id, service_account_id)
            known = store.namespace(change.connection, change.actor.account_id, namespace) is not None
            if not known or change.actor.permission(namespace) is Permission.NONE:
                raise Missing(
                    f"The namespace {namespace[:64]} does not exist, or you have no permission in it."
                )
            if change.actor.permission(namespace) < Permission.ADMIN:
                raise Forbidden(f"Only an admin of the namespace {namespace} may do this.")
            expect_version(resource_version, before.version, f"The service account {before.name}")
            if before.scoped_namespace is not None and (
                namespace != before.scoped_namespace or permission is Permission.NONE
            ):
                problem = (
                    f"the service account is bound to {before.scoped_namespace} and needs a permission there"
                )
                raise Invalid([Fault(field="namespace", problem=problem)])
            grants = {**before.grants, namespace: permission}
            store.update_service_account(change.connection, _changed(before, change))
            _put_grants(
                change, before.id, {name: p for name, p in grants.items() if p is not Permission.NONE}
            )
            change.details.update({"namespace": namespace, "permission": permission.name.lower()})
            return before.id

        return await self._office.change(actor, request, work)

    async def delete(
        self, actor: Principal, service_account_id: str, resource_version: str, request: OperationRequest
    ) -> Operation:
        """Take a service account away, with its API keys, which are worth nothing from the commit on.

        Raises:
            Missing, Forbidden, Invalid, Stale.
        """

        def work(change: Change) -> str:
            before = service_account_of(change.connection, change.actor.account_id, service_account_id)
            _require_govern(change.actor, before.role, before.scoped_namespace)
            expect_version(resource_version, before.version, f"The service account {before.name}")
            key_ids = store.api_key_ids(change.connection, before.account_id, [before.id])
            store.delete_api_keys(change.connection, key_ids)
            store.delete_service_account(change.connection, before.id)
            change.touch(KIND_SERVICE_ACCOUNT, before.id)
            for key_id in key_ids:
                change.touch(KIND_API_KEY, key_id)
            change.details.update({"name": before.name, "api_keys": key_ids})
            return before.id

        return await self._office.change(actor, request, work)


def service_account_of(connection: sa.Connection, account_id: str, service_account_id: str) -> ServiceAccount:
    """A service account that must be there; raises Missing."""
    one = store.service_account(connection, account_id, service_account_id)
    if one is None:
        raise Missing(f"The account has no service account {service_account_id[:64]}.")
    return one


def governs(who: Standing, role: AccountRole, scoped_namespace: str | None) -> bool:
    """Whether `who` may make, change or delete a service account of this role and scope."""
    if scoped_namespace is not None and who.permission(scoped_namespace) is Permission.ADMIN:
        return True
    return may(who.role, Right.MANAGE_SERVICE_ACCOUNTS) and may_govern(who.role, role)


def _require_govern(who: Standing, role: AccountRole, scoped_namespace: str | None) -> None:
    if not governs(who, role, scoped_namespace):
        own = who.role.value
        raise Forbidden(f"The role {own} may not manage service accounts of the role {role.value}.")


def _check_service_account(
    change: Change, settings: ServiceAccountSettings, before: ServiceAccount | None
) -> None:
    account_id = change.actor.account_id
    faults = names.display_name_faults(settings.name, "name") + names.description_faults(settings.description)
    if settings.role is AccountRole.OWNER:
        faults.append(Fault(field="access.account_access.role", problem="an owner must be a user"))
    scope = settings.scoped_namespace
    if scope is not None and (settings.role is not AccountRole.READ or set(settings.grants) != {scope}):
        problem = "one bound to a namespace has the role read and one permission, in that namespace"
        faults.append(Fault(field="namespace_scoped_access", problem=problem))
    if before is not None and before.scoped_namespace != scope:
        faults.append(
            Fault(field="namespace_scoped_access", problem="the scope can't change; make a new one")
        )
    faults.extend(
        Fault(field=f"access.namespace_accesses[{name[:64]!r}]", problem="the account has no such namespace")
        for name in settings.grants
        if store.namespace(change.connection, account_id, name) is None
    )
    refuse_faults(faults)
    namesake = store.service_account_named(change.connection, account_id, settings.name)
    if namesake is not None and (before is None or namesake != before.id):
        raise Exists(f"The account has a service account {settings.name} already; give another name.")


def _put_grants(change: Change, service_account_id: str, grants: Mapping[str, Permission]) -> None:
    store.set_grants(change.connection, f"service-account:{service_account_id}", grants)
    change.touch(KIND_SERVICE_ACCOUNT, service_account_id)


def _changed(one: ServiceAccount, change: Change) -> ServiceAccount:
    return replace(one, version=one.version + 1, modified_at=change.now, operation_id=change.operation_id)


def _told(settings: ServiceAccountSettings) -> dict[str, object]:
    return {
        "name": settings.name,
        "role": settings.role.value,
        "grants": {name: permission.name.lower() for name, permission in settings.grants.items()},
        "scoped_namespace": settings.scoped_namespace,
    }
