"""API keys of the service as proofs at the codec server: the service is asked, with the caller's own key, who it is and
which of the served namespaces it may read and write.

This trusts the service to say who somebody is. Where that is too much (whoever controls the service could then ask for
plaintext, if it can reach the codec server), let people sign in by an issuer of your own, and leave this off.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import jwt
from google.protobuf.message import Message
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb
from temporalio.api.cloud.identity.v1 import message_pb2 as identity_pb

from cloud.cli.usage_client import Connection
from codec.server.access import SERVICE_ISSUER, Caller, CallerKind, Right
from codec.server.jwt_check import TokenRefused
from codec.server.protocol import Refusal
from tenancy.apikeys import TOKEN_LENGTH_MAX, TOKEN_TYPE

CALL_TIMEOUT_S = 5.0
REMEMBERED_S = 10.0
"""How long an answer counts: a key that is disabled, or a right that is taken, ends here within it."""
REMEMBERED_MAX = 1_000
_SERVICE = "/temporal.api.cloud.cloudservice.v1.CloudService"
_Permission = identity_pb.NamespaceAccess
_ADMINS = frozenset({identity_pb.AccountAccess.ROLE_OWNER, identity_pb.AccountAccess.ROLE_ADMIN})
_WRITERS = frozenset({_Permission.PERMISSION_ADMIN, _Permission.PERMISSION_WRITE})


@dataclasses.dataclass(slots=True)
class _Known:
    answer: asyncio.Task[Caller]
    until_s: float


class ServiceKeys:
    """Proves API keys. Belongs to one event loop."""

    def __init__(
        self, connection: Connection, namespaces: Sequence[str], *, clock: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._namespaces = tuple(namespaces)
        self._clock = clock
        self._channel: grpc.aio.Channel | None = None
        self._known: OrderedDict[bytes, _Known] = OrderedDict()

    def may_be(self, token: str) -> bool:
        """Whether `token` looks like an API key of a Tacit service."""
        if len(token) > TOKEN_LENGTH_MAX:
            return False
        try:
            return jwt.get_unverified_header(token).get("typ") == TOKEN_TYPE
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            return False

    async def prove(self, token: str) -> Caller:
        """The key's owner, and what it may do in the served namespaces.

        Raises:
            TokenRefused: the service does not accept the key.
            Refusal: the service can't be asked (503).
        """
        digest, now_s = hashlib.sha256(token.encode()).digest(), self._clock()
        known = self._known.get(digest)
        if known is None or known.until_s <= now_s:
            # Many requests of one caller wait for one answer. It is asked for in a task of its own, so that a
            # caller who goes away does not take it from the others.
            known = _Known(asyncio.create_task(self._ask(token)), now_s + REMEMBERED_S)
            known.answer.add_done_callback(_seen)
            self._known[digest] = known
            if len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)
        try:
            return await asyncio.shield(known.answer)
        except Refusal:
            self._known.pop(digest, None)
            raise

    async def close(self) -> None:
        """Let go of the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _ask(self, token: str) -> Caller:
        try:
            who = await self._call("GetCurrentIdentity", pb.GetCurrentIdentityRequest(), token)
            seen = [name for name in self._namespaces if await self._sees(name, token)]
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                raise TokenRefused("the service does not accept the API key") from None
            raise Refusal(
                503,
                "The service can't be asked about your API key now; try again.",
                "service-unreachable",
                headers={"retry-after": "5"},
            ) from None
        is_user = who.HasField("user")
        spec = who.user.spec if is_user else who.service_account.spec
        rights = {(Right.DECODE, name) for name in seen}
        rights |= {(Right.ENCODE, name) for name in seen if _writes(spec, name)}
        return Caller(
            kind=CallerKind.API_KEY,
            subject=f"user:{who.user.id}" if is_user else f"service-account:{who.service_account.id}",
            issuer=SERVICE_ISSUER,
            email=who.user.spec.email or None if is_user else None,
            within=frozenset(rights),
        )

    async def _sees(self, namespace: str, token: str) -> bool:
        """Whether the key's owner has any right in the namespace; its account is the service's to compare."""
        try:
            await self._call("GetNamespace", pb.GetNamespaceRequest(namespace=namespace), token)
        except grpc.aio.AioRpcError as error:
            refused = (
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.PERMISSION_DENIED,
                grpc.StatusCode.INVALID_ARGUMENT,
            )
            if error.code() in refused:
                return False
            raise
        return True

    async def _call(self, name: str, request: Message, token: str) -> Any:
        channel = self._channel or self._open()
        call = channel.unary_unary(
            f"{_SERVICE}/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=getattr(pb, f"{name}Response").FromString,
        )
        return await call(request, timeout=CALL_TIMEOUT_S, metadata=(("authorization", f"Bearer {token}"),))

    def _open(self) -> grpc.aio.Channel:
        tls = self._connection.tls
        if tls is None:
            self._channel = grpc.aio.insecure_channel(self._connection.address)
        else:
            options = [("grpc.ssl_target_name_override", tls.domain)] if tls.domain else []
            credentials = grpc.ssl_channel_credentials(tls.server_root_ca_cert)
            self._channel = grpc.aio.secure_channel(self._connection.address, credentials, options)
        return self._channel


def _writes(spec: identity_pb.UserSpec | identity_pb.ServiceAccountSpec, namespace: str) -> bool:
    if spec.access.account_access.role in _ADMINS:
        return True
    granted = spec.access.namespace_accesses.get(namespace)
    if granted is None and isinstance(spec, identity_pb.ServiceAccountSpec):
        scoped = spec.namespace_scoped_access
        granted = scoped.access if scoped.namespace == namespace else None
    return granted is not None and granted.permission in _WRITERS


def _seen(task: asyncio.Task[Caller]) -> None:
    # Whoever waited has been told; without this, an answer that nobody waits for any more would be complained of.
    if not task.cancelled():
        task.exception()
