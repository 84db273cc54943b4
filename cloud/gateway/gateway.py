"""The front door: one pass from a call to the cell, or the control plane, that answers it.

    identity → authorise → limits → guard → route

It holds no state that matters: counters, and proofs remembered for a moment. Any number of gateways may run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog
from google.protobuf.message import Message
from temporalio.api.errordetails.v1 import PermissionDeniedFailure

from cloud.cells.base import Cell
from cloud.gateway.guard import PlaintextGuard, PlaintextRefused
from cloud.gateway.identity import (
    DEVELOPMENT_CALLER,
    Directory,
    Identities,
    caller_of,
    unauthorised,
)
from cloud.gateway.limits import Limits, Place
from cloud.gateway.method_table import METHOD_TABLE, LimitClass, Needs, Scope
from cloud.gateway.namespace_of import NamespaceOf, namespace_accessor
from cloud.rpc import (
    ACCOUNT_HEADER,
    CREDENTIAL_HEADER,
    PRINCIPAL_KIND_HEADER,
    CallContext,
    Caller,
    CallerKind,
    Code,
    Handler,
    InvalidArgument,
    Method,
    PermissionDenied,
    RpcError,
    Unavailable,
    Unimplemented,
)
from cloud.transport.calls import (
    NAMESPACE_HEADER,
    CallParts,
    ListenerKind,
    MessageAnswers,
)
from tenancy.access import NamespaceAccess, NotAllowed, Permission, Principal

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the table with what is derived from its request type."""

    needs: Needs
    method: Method
    namespace_of: NamespaceOf | None
    admit: Callable[[_Row, Message, CallParts], _Route]


@dataclass(frozen=True, slots=True)
class _Route:
    """Where an admitted call goes, with what, and the place among the polls that it holds meanwhile."""

    answer: Handler
    context: CallContext
    place: Place | None


class Gateway(MessageAnswers):
    """Answers every call of every listener of this process.

    `cells` finds a cell by the name in a placement and raises KeyError for a name it does not know.
    `default_cell` answers what is about no namespace (the system's information). `account_handlers` are the
    control plane's methods by path. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        directory: Directory,
        cells: Callable[[str], Cell],
        account_handlers: Mapping[str, Handler],
        *,
        default_cell: str,
        limits: Limits | None = None,
        identities: Identities | None = None,
        table: Mapping[str, Needs] = METHOD_TABLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._cells = cells
        self._default_cell = default_cell
        self._account_handlers = account_handlers
        self._limits = limits if limits is not None else Limits(clock)
        self._identities = identities if identities is not None else Identities(directory, clock)
        admit = {
            Scope.NAMESPACE: self._admit_to_namespace,
            Scope.CLUSTER: self._admit_to_cluster,
            Scope.ACCOUNT: self._admit_to_account,
            Scope.PUBLIC: self._admit_to_public,
        }
        self._rows = {
            path: _Row(
                needs,
                needs.method,
                namespace_accessor(needs.method.request_type),
                admit[needs.scope],
            )
            for path, needs in table.items()
            if needs.method is not None
        }
        self.guard = PlaintextGuard(
            row.method for row in self._rows.values() if row.needs.scope is Scope.NAMESPACE
        )

    @property
    def methods(self) -> Mapping[str, Method]:
        """All methods that this gateway answers or refuses by name, by path."""
        return {path: row.method for path, row in self._rows.items()}

    @property
    def limits(self) -> Limits:
        """The counters of requests and polls."""
        return self._limits

    async def call(self, method: Method, request: Message, parts: CallParts) -> Message:
        """Answer one call.

        Raises:
            RpcError: it is refused, here or by what answers it.
        """
        row = self._rows.get(method.path)
        if row is None:
            raise Unimplemented(f"{method.path} is not served here.")
        try:
            if parts.listener not in row.needs.listeners:
                raise PermissionDenied(
                    f"{row.needs.name} is not served on this listener. {row.needs.instead}".rstrip(),
                    PermissionDeniedFailure(),
                )
            route = row.admit(row, request, parts)
        except RpcError as refusal:
            _log_refusal(row, request, parts, refusal)
            raise
        if parts.proved is not None and row.needs.scope is not Scope.PUBLIC:
            parts.proved()
        if route.place is None:
            return await route.answer(request, route.context)
        try:
            return await route.answer(request, route.context)
        finally:
            route.place.give_back()

    def _admit_to_namespace(self, row: _Row, request: Message, parts: CallParts) -> _Route:
        needs = row.needs
        namespace = row.namespace_of(request) if row.namespace_of is not None else ""
        if parts.listener is ListenerKind.DEVELOPMENT:
            access, caller = self._namespace(namespace, parts), DEVELOPMENT_CALLER
        else:
            access, caller = self._authorise(needs.permission, namespace, parts)
            limit_class = needs.limit_class
            if needs.waits_field is not None and getattr(request, needs.waits_field):
                limit_class = LimitClass.P5
            self._limits.take(access.name, limit_class, access.requests_per_second_max)
        self.guard.check(row.method, request, access.name, access.guard)
        place = None
        if needs.poll is not None and parts.listener is not ListenerKind.DEVELOPMENT:
            place = self._limits.take_place(access.name, needs.poll)
        return _Route(partial(self._cell(access.cell).call, row.method), _context(caller, parts), place)

    def _admit_to_cluster(self, row: _Row, request: Message, parts: CallParts) -> _Route:
        namespace = parts.metadata.get(NAMESPACE_HEADER)
        if parts.listener is ListenerKind.DEVELOPMENT:
            cell, caller = self._default_cell, DEVELOPMENT_CALLER
        elif namespace:
            access, caller = self._authorise(Permission.READ, namespace, parts)
            cell = access.cell
        elif parts.listener is ListenerKind.API_KEY:
            cell, caller = self._default_cell, caller_of(self._identities.api_key(parts))
        elif parts.leaf_pem is not None:
            # The handshake proved a certificate of some tenant. That is enough to be told what the system can
            # do.
            cell, caller = self._default_cell, Caller(kind=CallerKind.CERTIFICATE, id="any-namespace")
        else:
            raise unauthorised(parts.listener)
        return _Route(partial(self._cell(cell).call, row.method), _context(caller, parts), None)

    def _admit_to_account(self, row: _Row, request: Message, parts: CallParts) -> _Route:
        handler = self._account_handlers.get(row.needs.path)
        if parts.listener is ListenerKind.DEVELOPMENT:
            context = _context(DEVELOPMENT_CALLER, parts)
        else:
            principal = self._identities.api_key(parts)
            self._limits.take_account(principal.account_id, principal.kind.value, principal.id)
            context = _context(caller_of(principal), parts, _trusted_headers(principal))
        if handler is None:
            raise Unimplemented(f"{row.needs.name} is not available in this cloud.")
        return _Route(handler, context, None)

    def _admit_to_public(self, row: _Row, request: Message, parts: CallParts) -> _Route:
        if parts.listener is not ListenerKind.DEVELOPMENT:
            # All who have no account yet share one allowance.
            self._limits.take_account("", CallerKind.ANONYMOUS.value, row.needs.path)
        handler = self._account_handlers.get(row.needs.path)
        if handler is None:
            raise Unimplemented(f"{row.needs.name} is not available in this cloud.")
        caller = Caller(kind=CallerKind.ANONYMOUS, id="anonymous")
        return _Route(handler, _context(caller, parts), None)

    def _authorise(
        self, needed: Permission, namespace: str, parts: CallParts
    ) -> tuple[NamespaceAccess, Caller]:
        """Prove the caller, find the namespace, and the caller's right in it."""
        principal = None
        if parts.listener is ListenerKind.API_KEY:
            # First of all, so that a bad key is told so whatever it asks for.
            principal = self._identities.api_key(parts)
        if not namespace:
            raise InvalidArgument("Namespace is empty.")
        named = parts.metadata.get(NAMESPACE_HEADER)
        if named and named != namespace:
            raise InvalidArgument(
                f"The header {NAMESPACE_HEADER} and the request name different namespaces; "
                "let them agree, or leave the header out."
            )
        access = self._namespace(namespace, parts)
        if principal is None:
            principal = self._identities.certificate(parts, access.name)
        if self._directory.permission(principal, access.name) < needed:
            raise unauthorised(parts.listener)
        return access, caller_of(principal)

    def _namespace(self, name: str, parts: CallParts) -> NamespaceAccess:
        try:
            return self._directory.namespace(name)
        except NotAllowed:
            raise unauthorised(parts.listener) from None

    def _cell(self, name: str) -> Cell:
        try:
            return self._cells(name)
        except KeyError:
            # A placement that this gateway has not heard of yet, or a cell that is gone: both pass.
            _log.error("gateway.cell_unknown", cell=name)
            raise Unavailable("The namespace's cell can't be reached now; try again.") from None


def _context(caller: Caller, parts: CallParts, trusted: Mapping[str, str] | None = None) -> CallContext:
    metadata = parts.metadata if trusted is None else {**parts.metadata, **trusted}
    return CallContext(caller=caller, deadline_s=parts.deadline_s, metadata=metadata, peer=parts.peer)


def _trusted_headers(principal: Principal) -> dict[str, str]:
    return {
        ACCOUNT_HEADER: principal.account_id,
        PRINCIPAL_KIND_HEADER: principal.kind.value,
        CREDENTIAL_HEADER: principal.credential_id,
    }


_EVENTS = {
    Code.UNAUTHENTICATED: "gateway.unauthenticated",
    Code.PERMISSION_DENIED: "gateway.unauthorised",
    Code.RESOURCE_EXHAUSTED: "gateway.limited",
    Code.INVALID_ARGUMENT: "gateway.invalid",
    Code.UNIMPLEMENTED: "gateway.unimplemented",
    Code.UNAVAILABLE: "gateway.unavailable",
}
_NAME_LOGGED_MAX = 255


def _log_refusal(row: _Row, request: Message, parts: CallParts, refusal: RpcError) -> None:
    event = (
        "gateway.plaintext_refused"
        if isinstance(refusal, PlaintextRefused)
        else _EVENTS.get(refusal.code, "gateway.refused")
    )
    namespace = getattr(request, "namespace", "")
    _log.info(
        event,
        method=row.needs.name,
        namespace=namespace[:_NAME_LOGGED_MAX] if isinstance(namespace, str) else "",
        listener=parts.listener.value,
        peer=parts.peer,
        **({"field": refusal.field} if isinstance(refusal, PlaintextRefused) else {}),
    )
