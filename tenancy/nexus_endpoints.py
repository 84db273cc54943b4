"""The rules of Nexus endpoints: names by which namespaces of an account call a task queue of one of them.

An endpoint is its account's: two accounts may have one of the same name, and neither sees the other's. Nobody may call it but the
namespaces that it names. It is made, changed and taken away in two steps, as namespaces are, since the cell has to follow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from tenancy import names, store
from tenancy.access import Permission, Principal
from tenancy.errors import Exists, Fault, Forbidden, LimitReached, Missing, Refused, refuse_faults
from tenancy.model import (
    OPEN_STATES,
    NexusEndpoint,
    NexusEndpointSettings,
    Operation,
    OperationRequest,
    Page,
    PageRequest,
    ResourceState,
)
from tenancy.office import Change, Office, Standing, expect_version, standing
from tenancy.roles import Right

# Temporal Cloud's limits.
ENDPOINTS_MAX = 100
CALLERS_MAX = 1_000
NAME_LENGTH_MAX = 200
TASK_QUEUE_LENGTH_MAX = 1_000
DESCRIPTION_BYTES_MAX = 20_000

CREATE = "CreateNexusEndpoint"
UPDATE = "UpdateNexusEndpoint"
DELETE = "DeleteNexusEndpoint"
OPERATIONS = frozenset({CREATE, UPDATE, DELETE})

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*[a-zA-Z0-9]")
_UNDER_WAY = frozenset({ResourceState.ACTIVATING, ResourceState.UPDATING, ResourceState.DELETING})


class NexusEndpoints:
    """The endpoints of all accounts. Every method takes who asks and sees that account alone."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def create(
        self, actor: Principal, settings: NexusEndpointSettings, request: OperationRequest
    ) -> Operation:
        """Begin to make an endpoint in the actor's account.

        Raises:
            Invalid, Forbidden, Exists, LimitReached.
        """

        def work(change: Change) -> str:
            change.actor.require(Right.MANAGE_NEXUS_ENDPOINTS)
            account_id = change.actor.account_id
            cell = _checked(change, settings)
            _refuse_taken(change, settings.name)
            if store.count_nexus_endpoints(change.connection, account_id) >= ENDPOINTS_MAX:
                raise LimitReached(f"The account has {ENDPOINTS_MAX} Nexus endpoints, the most there may be.")
            endpoint = NexusEndpoint(
                id=names.new_id(),
                account_id=account_id,
                state=ResourceState.ACTIVATING,
                settings=settings,
                cell=cell,
                version=1,
                created_at=change.now,
                modified_at=change.now,
                operation_id=change.operation_id,
            )
            store.insert_nexus_endpoint(change.connection, endpoint)
            change.in_progress = True
            change.details.update(_told(settings))
            return endpoint.id

        return await self._office.change(actor, request, work)

    async def get(self, actor: Principal, endpoint_id: str) -> NexusEndpoint:
        """One endpoint of the actor's account; every role may read them.

        Raises:
            Missing: there is none of this id in it.
        """
        return await self._office.database.read(lambda c: _found(c, standing(c, actor), endpoint_id))

    async def list(
        self, actor: Principal, page: PageRequest, *, name: str = "", target: str = "", task_queue: str = ""
    ) -> Page[NexusEndpoint]:
        """The endpoints of the actor's account by id; of one name or target, if given."""
        return await self._office.database.read(
            lambda c: store.nexus_endpoints(
                c, standing(c, actor).account_id, page, name=name, target=target, task_queue=task_queue
            )
        )

    async def update(
        self,
        actor: Principal,
        endpoint_id: str,
        settings: NexusEndpointSettings,
        resource_version: str,
        request: OperationRequest,
    ) -> Operation:
        """Begin to exchange the whole settings of an endpoint.

        Raises:
            Invalid, Missing, Forbidden, Exists, Stale, Refused, LimitReached.
        """

        def work(change: Change) -> str:
            before = _governed(change, endpoint_id, resource_version)
            cell = _checked(change, settings)
            if cell != before.cell:
                raise Refused("The target lies on another cell; make a new endpoint.")
            if settings.name != before.settings.name:
                _refuse_taken(change, settings.name)
            after = replace(
                before,
                settings=settings,
                state=ResourceState.UPDATING,
                version=before.version + 1,
                modified_at=change.now,
                operation_id=change.operation_id,
            )
            store.update_nexus_endpoint(change.connection, after)
            change.in_progress = True
            change.details.update(_told(settings))
            return endpoint_id

        return await self._office.change(actor, request, work)

    async def delete(
        self, actor: Principal, endpoint_id: str, resource_version: str, request: OperationRequest
    ) -> Operation:
        """Begin to take an endpoint away. Operations that were sent by it are not called back.

        Raises:
            Missing, Forbidden, Invalid, Stale, Refused, LimitReached.
        """

        def work(change: Change) -> str:
            before = _governed(change, endpoint_id, resource_version)
            after = replace(
                before,
                state=ResourceState.DELETING,
                version=before.version + 1,
                modified_at=change.now,
                operation_id=change.operation_id,
            )
            store.update_nexus_endpoint(change.connection, after)
            change.in_progress = True
            return endpoint_id

        return await self._office.change(actor, request, work)

    async def of_operation(self, operation: Operation) -> NexusEndpoint | None:
        """The endpoint that an operation is about, whoever asks (for carrying the operation out)."""
        return await self._office.database.read(
            lambda c: store.nexus_endpoint(c, operation.account_id, operation.resource_id)
        )

    async def settle(self, operation: Operation, failure: str = "") -> Operation:
        """Finish an operation after the cell did its part, or (with a `failure`) refused for good.

        Settling twice is harmless: the second time finds it finished.
        """
        return await self._office.settle(operation, failure, _settle)


def _settle(connection: sa.Connection, operation: Operation, failure: str) -> set[tuple[str, str]]:
    before = store.nexus_endpoint(connection, operation.account_id, operation.resource_id)
    if before is None:
        return set()
    if operation.type == DELETE and not failure:
        store.delete_nexus_endpoint(connection, before.id)
        return set()
    failed = {
        CREATE: ResourceState.ACTIVATION_FAILED,
        UPDATE: ResourceState.UPDATE_FAILED,
        DELETE: ResourceState.DELETE_FAILED,
    }
    state = failed[operation.type] if failure else ResourceState.ACTIVE
    store.update_nexus_endpoint(connection, replace(before, state=state, version=before.version + 1))
    return set()


def _found(connection: sa.Connection, who: Standing, endpoint_id: str) -> NexusEndpoint:
    endpoint = store.nexus_endpoint(connection, who.account_id, endpoint_id)
    if endpoint is None:
        raise Missing(f"The account has no Nexus endpoint {endpoint_id[:64]}.")
    return endpoint


def _governed(change: Change, endpoint_id: str, resource_version: str) -> NexusEndpoint:
    endpoint = _found(change.connection, change.actor, endpoint_id)
    change.actor.require(Right.MANAGE_NEXUS_ENDPOINTS)
    _require_target_admin(change, endpoint.settings.target_namespace)
    expect_version(resource_version, endpoint.version, f"The Nexus endpoint {endpoint.settings.name}")
    if endpoint.state in _UNDER_WAY:
        state = f"{endpoint.state.value} (operation {endpoint.operation_id})"
        raise Refused(f"The Nexus endpoint {endpoint.settings.name} is {state}; wait for it.")
    return endpoint


def _require_target_admin(change: Change, namespace: str) -> None:
    if change.actor.permission(namespace) < Permission.ADMIN:
        raise Forbidden(
            f"Only an admin of the target namespace {namespace[:64]} may do this; ask one, or an account owner."
        )


def _refuse_taken(change: Change, name: str) -> None:
    page = store.nexus_endpoints(change.connection, change.actor.account_id, PageRequest(size=1), name=name)
    if page.items:
        raise Exists(f"The account has a Nexus endpoint {name} already.")


def _checked(change: Change, settings: NexusEndpointSettings) -> str:
    """The cell of the target; every fault of the settings raised at once."""
    faults: list[Fault] = []
    if len(settings.name) > NAME_LENGTH_MAX or not _NAME.fullmatch(settings.name):
        rule = (
            f"2-{NAME_LENGTH_MAX} letters, digits and hyphens, starting with a letter, ending with no hyphen"
        )
        faults.append(Fault(field="spec.name", problem=f"must be {rule}"))
    queue = settings.target_task_queue
    if (
        not queue
        or len(queue.encode()) > TASK_QUEUE_LENGTH_MAX
        or "\0" in queue
        or queue.startswith("/_sys/")
    ):
        problem = f"must be a task queue's name of at most {TASK_QUEUE_LENGTH_MAX} bytes"
        faults.append(Fault(field="spec.target_spec.worker_target_spec.task_queue", problem=problem))
    if len(settings.description) > DESCRIPTION_BYTES_MAX:
        problem = f"must have at most {DESCRIPTION_BYTES_MAX} bytes"
        faults.append(Fault(field="spec.description", problem=problem))
    faults.extend(_caller_faults(change, settings.callers))
    account_id = change.actor.account_id
    target = store.namespace(change.connection, account_id, settings.target_namespace)
    if target is None or target.state not in OPEN_STATES:
        named = settings.target_namespace[:64]
        hint = "" if "." in named else "; give its full name"
        problem = f"the account has no such open namespace: {named!r}{hint}"
        faults.append(Fault(field="spec.target_spec.worker_target_spec.namespace_id", problem=problem))
    refuse_faults(faults)
    assert target is not None
    _require_target_admin(change, target.name)
    return target.cell


def _caller_faults(change: Change, callers: Sequence[str]) -> list[Fault]:
    field = "spec.policy_specs"
    if len(callers) > CALLERS_MAX:
        return [Fault(field=field, problem=f"may name at most {CALLERS_MAX} namespaces, got {len(callers)}")]
    known = store.namespaces_among(change.connection, change.actor.account_id, callers)
    return [
        Fault(field=field, problem=f"{caller[:64]!r} is no namespace of this account; give full names")
        for caller in callers
        if caller not in known
    ]


def _told(settings: NexusEndpointSettings) -> dict[str, object]:
    """What the audit log keeps of an endpoint."""
    return {
        "name": settings.name,
        "target_namespace": settings.target_namespace,
        "target_task_queue": settings.target_task_queue,
        "callers": list(settings.callers),
    }
