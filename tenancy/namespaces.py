"""The rules of namespaces: made, changed and taken away in two steps, as the cell has to follow.

create ─▶ activating ─▶ active ◀──▶ updating          A step's second half is `settle`, called once the
cell
             │            │            │              has done its part, or has refused for good.
             ▼            ▼            ▼
     activation_failed  deleting   update_failed       deleting ─▶ (gone) or delete_failed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa
from cryptography.x509 import Certificate

from tenancy import certificates, names, store
from tenancy.access import GuardMode, Permission, Principal
from tenancy.directory import KIND_API_KEY, KIND_NAMESPACE, KIND_SERVICE_ACCOUNT
from tenancy.errors import Exists, Fault, Forbidden, LimitReached, Missing, Refused, refuse_faults
from tenancy.model import (
    OPEN_STATES,
    REQUESTS_PER_SECOND_MAX_DEFAULT,
    RETENTION_DAYS_MAX,
    RETENTION_DAYS_MIN,
    SEARCH_ATTRIBUTES_MAX,
    Namespace,
    NamespaceSettings,
    Operation,
    OperationRequest,
    Page,
    PageRequest,
    ResourceState,
)
from tenancy.office import Change, Office, Standing, expect_version, standing
from tenancy.roles import Right

# Temporal Cloud begins with 10 and raises by itself to 100 as they are used; this is where it ends.
NAMESPACES_MAX = 100

GUARD_TAG = "tacit.guard"
"""The tag through which the guard mode is read and set: the official messages have no field for it."""

CREATE = "CreateNamespace"
UPDATE = "UpdateNamespace"
DELETE = "DeleteNamespace"
UPDATE_TAGS = "UpdateNamespaceTags"


class Namespaces:
    """The namespaces of all accounts. Every method takes who asks and sees that account alone."""

    def __init__(self, office: Office, cell: str) -> None:
        self._office = office
        self._cell = cell

    async def create(
        self,
        actor: Principal,
        name: str,
        settings: NamespaceSettings,
        tags: Mapping[str, str],
        request: OperationRequest,
    ) -> Operation:
        """Begin to make the namespace `name` (bare) in the actor's account; the actor becomes its admin.

        Raises:
            Invalid, Forbidden, Exists, LimitReached.
        """

        def work(change: Change) -> str:
            change.actor.require(Right.CREATE_NAMESPACE)
            guard, plain_tags, faults = _split_tags(tags)
            faults.extend(names.namespace_name_faults(name))
            account_id = change.actor.account_id
            full = names.full_name(name, account_id)
            checked = _checked(settings, full, None, faults, change)
            if store.namespace(change.connection, account_id, full) is not None:
                raise Exists(f"The namespace {full} exists already.")
            if store.count_namespaces(change.connection, account_id) >= NAMESPACES_MAX:
                raise LimitReached(f"The account has {NAMESPACES_MAX} namespaces, the most there may be.")
            namespace = Namespace(
                name=full,
                account_id=account_id,
                state=ResourceState.ACTIVATING,
                settings=checked,
                guard=guard,
                tags=plain_tags,
                cell=self._cell,
                requests_per_second_max=REQUESTS_PER_SECOND_MAX_DEFAULT,
                version=1,
                created_at=change.now,
                modified_at=change.now,
                operation_id=change.operation_id,
            )
            store.insert_namespace(change.connection, namespace)
            principal = change.actor.principal
            grants = {**change.actor.grants, full: Permission.ADMIN}
            store.set_grants(change.connection, principal.id, grants)
            change.touch(principal.kind.value, change.actor.bare_id)
            change.touch(KIND_NAMESPACE, full)
            change.in_progress = True
            change.details.update(_told(namespace))
            return full

        return await self._office.change(actor, request, work)

    async def get(self, actor: Principal, name: str) -> Namespace:
        """One namespace by its full name.

        Raises:
            Missing: unknown, or the actor has no permission in it.
        """
        return await self._office.database.read(lambda c: _visible(c, standing(c, actor), name))

    async def list(self, actor: Principal, page: PageRequest, name: str = "") -> Page[Namespace]:
        """The namespaces in which the actor has any permission, by name."""

        def work(connection: sa.Connection) -> Page[Namespace]:
            who = standing(connection, actor)
            everywhere = who.permission("") > Permission.NONE
            only = None if everywhere else sorted(who.grants)
            return store.namespaces(connection, who.account_id, page, name=name, only=only)

        return await self._office.database.read(work)

    async def update(
        self,
        actor: Principal,
        name: str,
        settings: NamespaceSettings,
        resource_version: str,
        request: OperationRequest,
    ) -> Operation:
        """Exchange the whole settings of a namespace; it stays open meanwhile.

        Who may connect changes with the commit. What the cell must follow (retention, search attributes) is
        left in progress.

        Raises:
            Invalid, Missing, Forbidden, Stale, Refused, LimitReached.
        """

        def work(change: Change) -> str:
            before = _governed(change, name)
            expect_version(resource_version, before.version, f"The namespace {name}")
            _refuse_closed(before)
            checked = _checked(settings, name, before.settings, [], change)
            cell_follows = before.state is ResourceState.UPDATE_FAILED or _cell_part(checked) != _cell_part(
                before.settings
            )
            if before.state is ResourceState.UPDATING and cell_follows:
                raise Refused(
                    f"The namespace {name} is being updated (operation {before.operation_id}); wait for it."
                )
            after = replace(before, settings=checked, version=before.version + 1, modified_at=change.now)
            if before.state is not ResourceState.UPDATING:
                after = replace(after, operation_id=change.operation_id)
            if cell_follows:
                after = replace(after, state=ResourceState.UPDATING)
                change.in_progress = True
            store.update_namespace(change.connection, after)
            change.touch(KIND_NAMESPACE, name)
            change.details.update(_told(after))
            return name

        return await self._office.change(actor, request, work)

    async def update_tags(
        self,
        actor: Principal,
        name: str,
        upsert: Mapping[str, str],
        remove: frozenset[str],
        request: OperationRequest,
    ) -> Operation:
        """Set and remove tags; the tag ``tacit.guard`` (enforce, observe, off) sets the guard.

        Raises:
            Invalid, Missing, Forbidden, Refused.
        """

        def work(change: Change) -> str:
            before = _governed(change, name)
            change.actor.require(Right.EDIT_TAGS)
            _refuse_closed(before)
            merged = {**tags_of(before), **upsert}
            guard, tags, faults = _split_tags(
                {key: value for key, value in merged.items() if key not in remove}
            )
            refuse_faults(faults)
            after = replace(
                before, tags=tags, guard=guard, version=before.version + 1, modified_at=change.now
            )
            store.update_namespace(change.connection, after)
            change.touch(KIND_NAMESPACE, name)
            change.details.update(_told(after))
            return name

        return await self._office.change(actor, request, work)

    async def delete(
        self, actor: Principal, name: str, resource_version: str, request: OperationRequest
    ) -> Operation:
        """Close a namespace at once and begin to take it away. There is no way back.

        Raises:
            Missing, Forbidden, Invalid, Stale, Refused (protected, or a change is under way), LimitReached.
        """

        def work(change: Change) -> str:
            before = _governed(change, name)
            expect_version(resource_version, before.version, f"The namespace {name}")
            if before.state in (ResourceState.ACTIVATING, ResourceState.UPDATING, ResourceState.DELETING):
                state = before.state.value
                raise Refused(
                    f"The namespace {name} is {state} (operation {before.operation_id}); wait for it."
                )
            if before.settings.delete_protection:
                raise Refused(
                    f"The namespace {name} is protected from deletion; switch the protection off first."
                )
            page = PageRequest(size=1)
            targeting = store.nexus_endpoints(change.connection, before.account_id, page, target=name)
            if targeting.items:
                endpoint = targeting.items[0].settings.name
                raise Refused(
                    f"The namespace {name} is the target of the Nexus endpoint {endpoint}; delete or change that first."
                )
            after = replace(
                before,
                state=ResourceState.DELETING,
                version=before.version + 1,
                modified_at=change.now,
                operation_id=change.operation_id,
            )
            store.update_namespace(change.connection, after)
            change.touch(KIND_NAMESPACE, name)
            change.in_progress = True
            return name

        return await self._office.change(actor, request, work)

    async def of_operation(self, operation: Operation) -> Namespace | None:
        """The namespace that an operation is about, whoever asks (for carrying the operation out)."""
        return await self._office.database.read(
            lambda c: store.namespace(c, operation.account_id, operation.resource_id)
        )

    async def settle(self, operation: Operation, failure: str = "") -> Operation:
        """Finish an operation after the cell did its part, or (with a `failure`) refused for good.

        Settling twice is harmless: the second time finds it finished.
        """
        return await self._office.settle(operation, failure, _settle)


def tags_of(namespace: Namespace) -> dict[str, str]:
    """The tags as the API shows them: the guard among them unless it is the default."""
    guard = {} if namespace.guard is GuardMode.ENFORCE else {GUARD_TAG: namespace.guard.value}
    return {**namespace.tags, **guard}


def _settle(connection: sa.Connection, operation: Operation, failure: str) -> set[tuple[str, str]]:
    name = operation.resource_id
    touched = {(KIND_NAMESPACE, name)}
    before = store.namespace(connection, operation.account_id, name)
    if before is None:
        return touched
    if operation.type == DELETE and not failure:
        for principal in store.principals_with_grant(connection, name):
            kind, _, bare_id = principal.partition(":")
            touched.add((kind, bare_id))
        scoped = store.service_accounts_of_namespace(connection, name)
        key_ids = store.api_key_ids(connection, operation.account_id, scoped)
        store.delete_api_keys(connection, key_ids)
        touched.update((KIND_API_KEY, key_id) for key_id in key_ids)
        for service_account_id in scoped:
            store.delete_service_account(connection, service_account_id)
            touched.add((KIND_SERVICE_ACCOUNT, service_account_id))
        for endpoint in store.nexus_endpoints_called_from(connection, operation.account_id, name):
            # A later namespace of the name must not inherit the right; the cell knows it by an id that is gone.
            callers = tuple(caller for caller in endpoint.settings.callers if caller != name)
            settings = replace(endpoint.settings, callers=callers)
            changed = replace(endpoint, settings=settings, version=endpoint.version + 1)
            store.update_nexus_endpoint(connection, changed)
        store.delete_namespace(connection, name)
        return touched
    failed = {
        CREATE: ResourceState.ACTIVATION_FAILED,
        UPDATE: ResourceState.UPDATE_FAILED,
        DELETE: ResourceState.DELETE_FAILED,
    }
    state = failed[operation.type] if failure else ResourceState.ACTIVE
    store.update_namespace(connection, replace(before, state=state, version=before.version + 1))
    return touched


def _visible(connection: sa.Connection, who: Standing, name: str) -> Namespace:
    namespace = store.namespace(connection, who.account_id, name)
    if namespace is None or who.permission(name) is Permission.NONE:
        raise Missing(f"The namespace {name[:64]} does not exist, or you have no permission in it.")
    return namespace


def _governed(change: Change, name: str) -> Namespace:
    namespace = _visible(change.connection, change.actor, name)
    if change.actor.permission(name) < Permission.ADMIN:
        raise Forbidden(f"Only an admin of the namespace {name} may do this; ask one, or an account owner.")
    return namespace


def _refuse_closed(namespace: Namespace) -> None:
    if namespace.state not in OPEN_STATES:
        state = namespace.state.value
        raise Refused(f"The namespace {namespace.name} is {state} and can't be changed now.")


def _cell_part(settings: NamespaceSettings) -> object:
    return settings.retention_days, dict(settings.search_attributes)


def _checked(
    settings: NamespaceSettings,
    name: str,
    before: NamespaceSettings | None,
    faults: list[Fault],
    change: Change,
) -> NamespaceSettings:
    """`settings` with a normalised bundle; every fault of them (and those given) raised at once."""
    if not RETENTION_DAYS_MIN <= settings.retention_days <= RETENTION_DAYS_MAX:
        allowed = f"{RETENTION_DAYS_MIN}-{RETENTION_DAYS_MAX}"
        faults.append(
            Fault(field="retention_days", problem=f"must be {allowed}, got {settings.retention_days}")
        )
    bundle, bundle_faults = certificates.parse_bundle(settings.ca_bundle_pem)
    faults.extend(bundle_faults)
    faults.extend(certificates.filter_faults(settings.certificate_filters))
    normalised = certificates.normalised_pem(bundle)
    if not bundle_faults:
        if settings.mtls_enabled and not bundle:
            faults.append(
                Fault(field="ca_bundle", problem="is needed for mTLS; upload your CA's certificate")
            )
        if not settings.certificate_filters and certificates.has_public_ca(bundle):
            problem = "holds a public CA, which vouches for everyone; add certificate filters, or use a CA of your own"
            faults.append(Fault(field="ca_bundle", problem=problem))
        is_new = before is None or normalised != before.ca_bundle_pem
        if is_new and bundle and all(one.not_valid_after_utc <= change.now for one in bundle):
            faults.append(
                Fault(field="ca_bundle", problem="every certificate of it is expired; make a new CA")
            )
        if settings.mtls_enabled:
            faults.extend(_subject_faults(bundle, name, before, change))
    if not (settings.mtls_enabled or settings.api_key_enabled):
        problem = "neither client certificates nor API keys are enabled, so nobody could connect; enable one"
        faults.append(Fault(field="mtls_auth", problem=problem))
    faults.extend(_search_attribute_faults(settings, before))
    codec_server = settings.codec_server
    if codec_server is not None and not codec_server.endpoint.startswith(("https://", "http://localhost")):
        faults.append(
            Fault(field="codec_server.endpoint", problem="must begin with https:// (or http://localhost)")
        )
    refuse_faults(faults)
    return replace(settings, ca_bundle_pem=normalised)


def _subject_faults(
    bundle: Sequence[Certificate], name: str, before: NamespaceSettings | None, change: Change
) -> list[Fault]:
    """See `certificates.subject_faults`; the transaction that stores the bundle sees all others' bundles."""
    accepted = before.ca_bundle_pem if before is not None and before.mtls_enabled else b""
    known = frozenset(certificates.read_bundle(accepted))
    if known.issuperset(bundle):
        return []
    own: list[Certificate] = []
    foreign: list[Certificate] = []
    # All of them are read, 50 us each, where an index would be one more thing to keep true: a new CA is rare, and the
    # listener reads them all again after it anyway.
    for account_id, bundle_pem in store.accepted_ca_bundles(change.connection, name):
        of = own if account_id == change.actor.account_id else foreign
        of.extend(certificates.read_bundle(bundle_pem))
    return certificates.subject_faults(bundle, known, own, foreign)


def _search_attribute_faults(settings: NamespaceSettings, before: NamespaceSettings | None) -> list[Fault]:
    faults = [
        fault for name in settings.search_attributes for fault in names.search_attribute_name_faults(name)
    ]
    for kind, count in Counter(settings.search_attributes.values()).items():
        if count > SEARCH_ATTRIBUTES_MAX[kind]:
            problem = f"there may be at most {SEARCH_ATTRIBUTES_MAX[kind]} of type {kind.value}, got {count}"
            faults.append(Fault(field="search_attributes", problem=problem))
    for name, kind in before.search_attributes.items() if before is not None else ():
        if settings.search_attributes.get(name) is not kind:
            problem = f"is a {kind.value} in use; it can be neither removed nor given another type"
            faults.append(Fault(field=f"search_attributes[{name!r}]", problem=problem))
    return faults


def _split_tags(tags: Mapping[str, str]) -> tuple[GuardMode, dict[str, str], list[Fault]]:
    plain = {key: value for key, value in tags.items() if key != GUARD_TAG}
    faults = names.tag_faults(plain)
    guard = GuardMode.ENFORCE
    try:
        guard = GuardMode(tags.get(GUARD_TAG, guard.value))
    except ValueError:
        allowed = ", ".join(mode.value for mode in GuardMode)
        faults.append(Fault(field=f"tags[{GUARD_TAG!r}]", problem=f"must be one of {allowed}"))
    return guard, plain, faults


def _told(namespace: Namespace) -> dict[str, object]:
    """What the audit log keeps of a namespace's settings: nothing secret is among them."""
    settings = namespace.settings
    bundle, _ = certificates.parse_bundle(settings.ca_bundle_pem)
    return {
        "retention_days": settings.retention_days,
        "mtls_enabled": settings.mtls_enabled,
        "ca_fingerprints": [certificates.fingerprint_of(one) for one in bundle],
        "certificate_filters": len(settings.certificate_filters),
        "api_key_enabled": settings.api_key_enabled,
        "delete_protection": settings.delete_protection,
        "search_attributes": {name: kind.value for name, kind in settings.search_attributes.items()},
        "guard": namespace.guard.value,
        "tags": dict(namespace.tags),
    }
