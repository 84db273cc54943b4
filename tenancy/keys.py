"""The rules of API keys: who may have how many, for how long, and who may end them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from tenancy import names, store
from tenancy.access import Principal, PrincipalKind
from tenancy.apikeys import ApiKeySigner, TokenClaims
from tenancy.directory import KIND_API_KEY
from tenancy.errors import Fault, Forbidden, LimitReached, Missing, refuse_faults
from tenancy.identities import governs, service_account_of
from tenancy.model import ApiKey, Operation, OperationRequest, Page, PageRequest
from tenancy.office import Change, Office, Standing, expect_version, standing
from tenancy.roles import Right, may, may_govern

API_KEY_LIFETIME_MAX = timedelta(days=731)  # two years, a leap day among them
API_KEYS_PER_USER_MAX = 10
API_KEYS_PER_SERVICE_ACCOUNT_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeySettings:
    """What is chosen for an API key."""

    owner_kind: PrincipalKind
    owner_id: str
    display_name: str
    description: str = ""
    expires_at: datetime
    disabled: bool = False


class ApiKeys:
    """The API keys of an account. The key itself is given out once and is nowhere kept."""

    def __init__(self, office: Office, signer: ApiKeySigner) -> None:
        self._office = office
        self._signer = signer

    async def create(
        self, actor: Principal, settings: ApiKeySettings, request: OperationRequest
    ) -> tuple[Operation, str]:
        """Make an API key; the second value is the key, empty if `request` repeats an earlier operation.

        A user's keys are made by that user alone; a service account's by itself or whoever governs it.

        Raises:
            Invalid, Forbidden, Missing, LimitReached.
        """
        made: list[str] = []

        def work(change: Change) -> str:
            one = new_api_key(change.actor.account_id, settings, change.now, change.operation_id)
            _require_own_or_governed(change, one)
            _check_api_key(settings, change.now)
            limit = (
                API_KEYS_PER_USER_MAX
                if one.owner_kind is PrincipalKind.USER
                else API_KEYS_PER_SERVICE_ACCOUNT_MAX
            )
            live = store.count_live_api_keys(change.connection, one.account_id, one.owner_id, change.now)
            if live >= limit:
                raise LimitReached(
                    f"The owner has {live} unexpired API keys, the most is {limit}; delete one."
                )
            store.insert_api_key(change.connection, one)
            change.touch(KIND_API_KEY, one.id)
            change.details.update(_told_key(one))
            made.append(sign(self._signer, one))
            return one.id

        operation = await self._office.change(actor, request, work)
        return operation, made[0] if made else ""

    async def get(self, actor: Principal, key_id: str) -> ApiKey:
        """The record of one API key that the actor owns or governs.

        Raises:
            Missing: unknown, or neither.
        """

        def work(connection: sa.Connection) -> ApiKey:
            who = standing(connection, actor)
            return _api_key(connection, who, key_id)

        return await self._office.database.read(work)

    async def list(
        self,
        actor: Principal,
        page: PageRequest,
        *,
        owner_id: str = "",
        owner_kind: PrincipalKind | None = None,
    ) -> Page[ApiKey]:
        """API keys by id: the actor's own, or for administrators those of the account."""

        def work(connection: sa.Connection) -> Page[ApiKey]:
            who = standing(connection, actor)
            if not may(who.role, Right.MANAGE_KEYS):
                if owner_id not in ("", who.bare_id):
                    return Page(items=(), next="")
                return store.api_keys(connection, who.account_id, page, owner_id=who.bare_id)
            return store.api_keys(connection, who.account_id, page, owner_id=owner_id, owner_kind=owner_kind)

        return await self._office.database.read(work)

    async def update(
        self,
        actor: Principal,
        key_id: str,
        settings: ApiKeySettings,
        resource_version: str,
        request: OperationRequest,
    ) -> Operation:
        """Rename, disable or enable an API key. Its owner and expiry stay: they are signed into it.

        Raises:
            Missing, Forbidden, Invalid, Stale.
        """

        def work(change: Change) -> str:
            before = _alterable_api_key(change, key_id, resource_version)
            faults = names.display_name_faults(settings.display_name) + names.description_faults(
                settings.description
            )
            if (settings.owner_kind, settings.owner_id) != (before.owner_kind, before.owner_id):
                faults.append(Fault(field="owner_id", problem="can't be changed; make a new key"))
            if settings.expires_at.replace(microsecond=0) != before.expires_at:
                faults.append(Fault(field="expiry_time", problem="can't be changed; make a new key"))
            refuse_faults(faults)
            after = replace(
                before,
                display_name=settings.display_name,
                description=settings.description,
                disabled=settings.disabled,
                version=before.version + 1,
                modified_at=change.now,
                operation_id=change.operation_id,
            )
            store.update_api_key(change.connection, after)
            change.touch(KIND_API_KEY, key_id)
            change.details.update(_told_key(after))
            return key_id

        return await self._office.change(actor, request, work)

    async def delete(
        self, actor: Principal, key_id: str, resource_version: str, request: OperationRequest
    ) -> Operation:
        """Revoke an API key for ever.

        Raises:
            Missing, Forbidden, Invalid, Stale.
        """

        def work(change: Change) -> str:
            before = _alterable_api_key(change, key_id, resource_version)
            store.delete_api_keys(change.connection, [key_id])
            change.touch(KIND_API_KEY, key_id)
            change.details.update(_told_key(before))
            return key_id

        return await self._office.change(actor, request, work)


def new_api_key(account_id: str, settings: ApiKeySettings, now: datetime, operation_id: str) -> ApiKey:
    """The record of a new API key. Its expiry is cut to whole seconds, as the token has them."""
    return ApiKey(
        id=names.new_id(),
        account_id=account_id,
        owner_kind=settings.owner_kind,
        owner_id=settings.owner_id,
        display_name=settings.display_name,
        description=settings.description,
        expires_at=settings.expires_at.astimezone(UTC).replace(microsecond=0),
        disabled=settings.disabled,
        version=1,
        created_at=now,
        modified_at=now,
        operation_id=operation_id,
    )


def sign(signer: ApiKeySigner, one: ApiKey) -> str:
    """The API key itself, to be shown once."""
    owner = f"{one.owner_kind.value}:{one.owner_id}"
    return signer.sign(TokenClaims(key_id=one.id, owner=owner, expires_at=one.expires_at), one.created_at)


def _governs_owner(connection: sa.Connection, who: Standing, key: ApiKey) -> bool:
    if key.owner_kind is PrincipalKind.SERVICE_ACCOUNT:
        owner = store.service_account(connection, who.account_id, key.owner_id)
        return owner is not None and governs(who, owner.role, owner.scoped_namespace)
    user = store.user(connection, who.account_id, key.owner_id)
    return user is not None and may(who.role, Right.MANAGE_KEYS) and may_govern(who.role, user.role)


def _is_own(who: Standing, key: ApiKey) -> bool:
    return (key.owner_kind, key.owner_id) == (who.principal.kind, who.bare_id)


def _require_own_or_governed(change: Change, key: ApiKey) -> None:
    if _is_own(change.actor, key):
        return
    if key.owner_kind is PrincipalKind.USER:
        raise Forbidden("A user's API keys are made by that user; make one for a service account instead.")
    service_account_of(change.connection, change.actor.account_id, key.owner_id)
    if not _governs_owner(change.connection, change.actor, key):
        raise Forbidden("You may not make API keys for this service account; ask an account admin.")


def _api_key(connection: sa.Connection, who: Standing, key_id: str) -> ApiKey:
    key = store.api_key(connection, who.account_id, key_id)
    if key is None or not (_is_own(who, key) or _governs_owner(connection, who, key)):
        raise Missing(f"There is no API key {key_id[:64]} that you own or manage.")
    return key


def _alterable_api_key(change: Change, key_id: str, resource_version: str) -> ApiKey:
    key = _api_key(change.connection, change.actor, key_id)
    # A leaked key of a service account must not be able to lock its rightful users out.
    if key.owner_kind is PrincipalKind.SERVICE_ACCOUNT and not _governs_owner(
        change.connection, change.actor, key
    ):
        raise Forbidden("A service account may make API keys of its own, but not change or delete them.")
    expect_version(resource_version, key.version, f"The API key {key_id}")
    return key


def _check_api_key(settings: ApiKeySettings, now: datetime) -> None:
    faults = names.display_name_faults(settings.display_name) + names.description_faults(settings.description)
    if settings.expires_at.replace(microsecond=0) <= now:
        faults.append(Fault(field="expiry_time", problem="must be in the future"))
    elif settings.expires_at > now + API_KEY_LIFETIME_MAX:
        faults.append(Fault(field="expiry_time", problem="must be within two years"))
    refuse_faults(faults)


def _told_key(key: ApiKey) -> dict[str, object]:
    return {
        "owner": f"{key.owner_kind.value}:{key.owner_id}",
        "display_name": key.display_name,
        "expires_at": key.expires_at.isoformat(),
        "disabled": key.disabled,
    }
