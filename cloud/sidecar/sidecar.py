"""The pass of one call: whose namespace → encode the request → the service → decode the response.

What can hold nothing that users wrote is never taken apart, and goes on as the bytes it came in. A request is read all the same, for
its namespace decides where it goes. What can't be encoded does not leave; what can't be decoded does not reach the worker (see
`codec.proxy.tasks` for what becomes of tasks).
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import hmac
from collections import Counter
from collections.abc import Mapping
from typing import Any

import structlog
from google.protobuf.message import DecodeError, Message
from temporalio.converter import SerializationContext

from cloud.rpc import (
    InvalidArgument,
    Method,
    PermissionDenied,
    RpcError,
    Unauthenticated,
    Unavailable,
)
from cloud.sidecar.audit import AuditLog
from cloud.sidecar.failing import Failing
from cloud.sidecar.plans import Plan, Plans, Rename, raise_limits
from cloud.sidecar.refusals import lasts, refusal_of
from cloud.sidecar.routes import Route, Routes
from cloud.transport.calls import NAMESPACE_HEADER, CallParts
from cloud.transport.grpc_status import Ended
from codec import CodecError, PlaintextRefused
from codec.decode_bound import one_message
from codec.places import Places
from codec.proxy import messages
from codec.proxy.messages import Batch
from codec.proxy.namespaces import SeveralNamespaces
from codec.proxy.tasks import failed_instead, is_task, outside_tasks
from codec.proxy.unknown import first_unknown, without_unknown

_log = structlog.get_logger(__name__)

METADATA_KNOWN_MAX = 256

_DROPPED = frozenset({"user-agent", "accept-encoding", NAMESPACE_HEADER})
"""Headers of the connection, or that are written anew."""


class Unknown(enum.StrEnum):
    """What becomes of what is not known: a namespace without a profile, a field that is newer than this."""

    REFUSE = "refuse"
    PASS = "pass"  # noqa: S105 # a word, no password


@dataclasses.dataclass(frozen=True, slots=True)
class _Caller:
    """Who asked: what it calls itself, and its address."""

    identity: str
    peer: str


class Sidecar:
    """Answers the calls of workers and clients. `token`: what they must show as a bearer, if it is set."""

    def __init__(
        self,
        routes: Routes,
        *,
        audit: AuditLog,
        unknown_namespaces: Unknown = Unknown.REFUSE,
        unknown_fields: Unknown = Unknown.REFUSE,
        token: str | None = None,
    ) -> None:
        self._routes = routes
        self._audit = audit
        self._unknown_namespaces = unknown_namespaces
        self._unknown_fields = unknown_fields
        self._token = None if token is None else f"Bearer {token}".encode()
        self.asks_token = token is not None
        self._plans = Plans()
        self._known_metadata: dict[
            tuple[int, str | None], tuple[Mapping[str, str], tuple[tuple[str, str], ...]]
        ] = {}
        self.counts: Counter[str] = Counter()
        """Calls, payloads encoded and decoded, tasks failed, calls refused; for the summary."""
        self._failing = Failing(self._plans, self.counts)

    @property
    def methods(self) -> Mapping[str, Method]:
        """See :class:`cloud.transport.calls.Answers`."""
        return {path: plan.method for path, plan in self._plans.by_path.items()}

    async def answer(self, method: Method, message: bytes, parts: CallParts) -> bytes:
        """See :class:`cloud.transport.calls.Answers`."""
        self.counts["calls"] += 1
        try:
            self._admit(parts)
            return await self._answer(self._plans.by_path[method.path], message, parts)
        except CodecError as error:
            self.counts["refused"] += 1
            raise refusal_of(method.name, error) from None
        except RpcError:
            self.counts["refused"] += 1
            raise

    async def _answer(self, plan: Plan, message: bytes, parts: CallParts) -> bytes:
        # What can hold nothing that users write has newer fields of the same kind: names of pollers, settings of workers.
        looks = plan.walk_request is not None and self._unknown_fields is Unknown.REFUSE
        request, unknown = _parsed(plan.method.request_type, message, looks=looks)
        if unknown is not None:
            raise _unknown_field(plan, unknown)
        chained = self._route(plan, request)
        route = chained or self._routes.first
        asked = chained.owners.of_request(request) if chained is not None and chained.chain.asks else None
        message = await self._outgoing(plan, request, message, chained, asked)
        caller = _Caller(getattr(request, "identity", ""), parts.peer)
        del request  # a long poll would keep it
        metadata = self._metadata(parts.metadata, chained)
        timeout_s = None
        if parts.deadline_s is not None:
            timeout_s = max(0.0, parts.deadline_s - asyncio.get_running_loop().time())
        try:
            # The transport ends this call at its deadline, and with it that of the service.
            answering = route.upstream.call(plan.method.path, message, metadata, timeout_s, timed=True)
            del message
            response = await answering
        except Ended as ended:
            raise await self._ended(plan, ended, chained, asked, caller) from None
        return await self._incoming(plan, response, chained, asked, caller)

    def _metadata(self, shown: Mapping[str, str], route: Route | None) -> tuple[tuple[str, str], ...]:
        """The headers that go on. A transport shows the same object for all calls with the same headers: those are worked out once."""
        name = None if route is None else route.remote
        key = (id(shown), name)
        known = self._known_metadata.get(key)
        if known is None or known[0] is not shown:
            if len(self._known_metadata) >= METADATA_KNOWN_MAX:
                self._known_metadata.clear()
            passed = tuple((key, value) for key, value in shown.items() if key not in _DROPPED)
            if name is not None:
                passed = (*passed, (NAMESPACE_HEADER, name))
            known = self._known_metadata[key] = (shown, passed)
        return known[1]

    def _admit(self, parts: CallParts) -> None:
        if self._token is not None:
            shown = (parts.authorization or "").encode()
            if not hmac.compare_digest(shown, self._token):
                raise Unauthenticated(
                    "This proxy asks for a token: send `authorization: Bearer <token>` (TEMPORAL_API_KEY)."
                )
        if parts.proved is not None:
            parts.proved()

    def _route(self, plan: Plan, request: Message) -> Route | None:
        """Where a request goes, None for the first service without any chain.

        Raises:
            PermissionDenied: its namespace has no profile here.
            InvalidArgument: it is about several.
            PlaintextRefused: it holds payloads, and no namespace says what they are to be encrypted with.
        """
        name = ""
        if plan.namespace_of is not None:
            try:
                name = plan.namespace_of(request)
            except SeveralNamespaces:
                raise InvalidArgument(
                    f"{plan.method.name}: all parts of one call are about one namespace."
                ) from None
            route = self._routes.get(name)
            if route is not None:
                return route
        if name and self._unknown_namespaces is Unknown.REFUSE:
            known = ", ".join(route.local for route in self._routes.all)
            raise PermissionDenied(
                f"{plan.method.name}: this proxy has no profile for the namespace {name!r} (it has {known}), so it has no "
                "keys for it. Start it with another --profile, or with `--unknown-namespaces pass`."
            )
        if (
            self._unknown_namespaces is Unknown.REFUSE
            and plan.walk_request is not None
            and plan.walk_request(request)
        ):
            raise PlaintextRefused(
                "It holds payloads and is about no namespace, so there are no keys for them. Leave them out, or start "
                "the proxy with `--unknown-namespaces pass`."
            )
        return None

    async def _outgoing(
        self,
        plan: Plan,
        request: Message,
        message: bytes,
        route: Route | None,
        asked: SerializationContext | None,
    ) -> bytes:
        """The request's bytes as the service gets them."""
        if route is None:
            return message
        places = plan.walk_request(request) if plan.walk_request is not None else None
        if places is not None and self._unknown_fields is Unknown.REFUSE:
            for packed in places.inner:
                unknown = first_unknown(packed)
                if unknown is not None:
                    raise _unknown_field(plan, unknown)
        changed = self._renamed(plan.rename_request, request, places, self._routes.to_remote)
        if route.indexed is not None and route.indexed.concerns(request):
            for one in (request, *(places.inner if places is not None else ())):
                route.indexed.blind(one)
            changed = True
        if places is not None and (places or changed):
            try:
                encoded = await messages.encode(places, route.chain, route.whose(asked))
            except CodecError as error:
                answer = failed_instead(plan.method.name, request, error) if lasts(error) else None
                if answer is not None:
                    await self._failing.tell(*answer, route)
                raise
            self.counts["payloads encoded"] += encoded
        elif not changed:
            return message
        return request.SerializeToString()

    async def _incoming(
        self,
        plan: Plan,
        data: bytes,
        route: Route | None,
        asked: SerializationContext | None,
        caller: _Caller,
    ) -> bytes:
        """The response's bytes as the worker gets them."""
        if route is None or not data:
            return data
        rename = plan.rename_response if self._routes.to_local else None
        if plan.walk_response is None and rename is None and not plan.tells_limits and route.indexed is None:
            return data
        try:
            response: Any = plan.method.response_type.FromString(data)
        except DecodeError:
            raise Unavailable(f"{plan.method.name}: what the service answered can't be read.") from None
        places = plan.walk_response(response) if plan.walk_response is not None else None
        changed = self._renamed(rename, response, places, self._routes.to_local)
        if route.indexed is not None and route.indexed.concerns(response):
            for one in (response, *(places.inner if places is not None else ())):
                route.indexed.reveal(one)
            changed = True
        if places is not None and (places or changed):
            failed = await self._decoded(plan, response, places, route, asked, caller)
            changed = changed or failed or bool(places)
        if plan.tells_limits and route.chain.offloads:
            changed |= raise_limits(response)
        return response.SerializeToString() if changed else data

    async def _decoded(
        self,
        plan: Plan,
        response: Any,
        places: Places,
        route: Route,
        asked: SerializationContext | None,
        caller: _Caller,
    ) -> bool:
        """Decode a response in place; tasks that can't be decoded are taken out, and the service is told: whether there were any."""
        told, chain = self._audited(plan, route, caller), route.chain
        whose = None
        if chain.asks:
            whose = route.whose(route.owners.of_response(response, asked), reading=True)
            for task in plan.find_tasks(response) if plan.find_tasks is not None else ():
                route.owners.remember(task.message)
        try:
            await messages.decode(places, chain, whose, told)
        except CodecError as error:
            tasks = list(plan.find_tasks(response)) if plan.find_tasks is not None else []
            if not tasks:
                raise
            fault = error
        else:
            return False
        if is_task(response):
            await self._failing.fail(tasks[0], fault, route, caller.identity)
            return True
        # What is no task goes first: if that can't be decoded, the whole call fails, and no task was answered yet.
        with one_message(chain.decode_bytes_max):
            await messages.decode_some(outside_tasks(places), chain, whose, told)
            messages.finish(places)
            for task in tasks:
                walk = self._plans.walkers.of(task.message.DESCRIPTOR)
                within = walk(task.message) if walk is not None else Places()
                try:
                    await messages.decode(within, chain, whose, told)
                except CodecError as error:
                    await self._failing.fail(task, error, route, caller.identity)
        return True

    def _audited(self, plan: Plan, route: Route, caller: _Caller) -> messages.Told:
        """What is told of each batch that is decoded for a call, before the batch is handed out."""

        async def told(batch: Batch) -> None:
            await self._audit.decoded(
                namespace=route.remote,
                method=plan.method.name,
                payloads=batch.payloads,
                key_ids=batch.key_ids,
                identity=caller.identity,
                peer=caller.peer,
            )
            self.counts["payloads decoded"] += batch.payloads

        return told

    def _renamed(
        self,
        rename: Rename | None,
        message: Message,
        places: Places | None,
        names: Mapping[str, str],
    ) -> bool:
        """Give namespaces the names that the other side knows; whether any was there."""
        if not names:
            return False
        changed = rename is not None and rename(message, names)
        for inner in places.inner if places is not None else ():
            rename_inner = self._plans.renaming.of(inner.DESCRIPTOR)
            changed |= rename_inner is not None and rename_inner(inner, names)
        return changed

    async def _ended(
        self,
        plan: Plan,
        ended: Ended,
        route: Route | None,
        asked: SerializationContext | None,
        caller: _Caller,
    ) -> Ended:
        """The service's status, with the failure that a worker wrote into it."""
        status = ended.status
        if route is None or not status.details:
            return ended
        try:
            details, sentence = await messages.decode_status(
                status.details,
                status.sentence,
                route.chain,
                self._plans.walkers,
                route.whose(asked, reading=True),
                self._audited(plan, route, caller),
            )
        except CodecError as error:
            _log.warning("sidecar.status_undecodable", namespace=route.remote, reason=str(error))
            return ended
        return Ended(dataclasses.replace(status, details=details, sentence=sentence))


def _parsed(request_type: type[Message], data: bytes, *, looks: bool) -> tuple[Message, str | None]:
    """A request, and the first field in it that is not known, if one `looks` for that."""
    try:
        return without_unknown(request_type, data) if looks else (request_type.FromString(data), None)
    except DecodeError:
        raise InvalidArgument(
            f"The request is no {request_type.DESCRIPTOR.full_name}: its bytes can't be read."
        ) from None


def _unknown_field(plan: Plan, field: str) -> InvalidArgument:
    return InvalidArgument(
        f"{plan.method.name}: {field} is not known to this proxy, which therefore can't tell whether it is to "
        "be encrypted. Use a newer Tacit, or let such fields pass with `--unknown-fields pass`."
    )
