"""Peers of the gateway at its two ports: a cell that notes what it was asked, and a directory in memory."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from google.protobuf.message import Message

from cloud.rpc import CallContext, Method
from tenancy.access import (
    GuardMode,
    NamespaceAccess,
    NotAllowed,
    NotAuthenticated,
    Permission,
    Principal,
    PrincipalKind,
)


class EchoCell:
    """Answers every call with an empty response, and remembers what it was asked."""

    name = "native"

    def __init__(self) -> None:
        self.calls: list[tuple[Method, Message, CallContext]] = []
        self.cancelled = asyncio.Event()
        self.entered = asyncio.Event()
        self.answer: Callable[[Method, Message, CallContext], Awaitable[Message]] | None = None

    async def call(self, method: Method, request: Message, context: CallContext) -> Message:
        self.calls.append((method, request, context))
        self.entered.set()
        if self.answer is not None:
            return await self.answer(method, request, context)
        return method.response_type()

    async def forever(self, method: Method, request: Message, context: CallContext) -> Message:
        """An answer for long polls: never, until the caller gives up."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError


class MemoryDirectory:
    """Namespaces with their CA bundles and keys; certificates are checked for real."""

    def __init__(self) -> None:
        self.version = 1
        self.namespaces: dict[str, NamespaceAccess] = {}
        self.bundles: dict[str, bytes] = {}
        self.keys: dict[str, Principal] = {}
        self.permissions: dict[tuple[str, str], Permission] = {}

    def add(
        self,
        name: str,
        *,
        bundle: bytes = b"",
        guard: GuardMode = GuardMode.OFF,
        requests_per_second_max: float = math.inf,
        cell: str = "native",
    ) -> None:
        self.namespaces[name] = NamespaceAccess(
            name=name,
            account_id=name.rpartition(".")[2],
            cell=cell,
            guard=guard,
            requests_per_second_max=requests_per_second_max,
        )
        self.bundles[name] = bundle
        self.version += 1

    def add_key(self, token: str, permissions: dict[str, Permission], *, account: str = "acme") -> Principal:
        principal = Principal(
            kind=PrincipalKind.SERVICE_ACCOUNT,
            id=f"robot-{len(self.keys)}",
            account_id=account,
            credential_id=f"key-{len(self.keys)}",
        )
        self.keys[token] = principal
        for namespace, permission in permissions.items():
            self.permissions[principal.id, namespace] = permission
        self.version += 1
        return principal

    def namespace(self, name: str) -> NamespaceAccess:
        try:
            return self.namespaces[name]
        except KeyError:
            raise NotAllowed("no such namespace") from None

    def authenticate_certificate(
        self, leaf_pem: bytes, intermediates_pem: Sequence[bytes], namespace: str, now: datetime
    ) -> Principal:
        bundle = self.bundles.get(namespace)
        if not bundle:
            raise NotAllowed("no bundle")
        leaf = x509.load_pem_x509_certificate(leaf_pem)
        verifier = (
            PolicyBuilder()
            .store(Store(x509.load_pem_x509_certificates(bundle)))
            .time(now)
            .extension_policies(
                ca_policy=ExtensionPolicy.webpki_defaults_ca(),
                ee_policy=ExtensionPolicy.permit_all().may_be_present(
                    x509.SubjectAlternativeName, Criticality.AGNOSTIC, None
                ),
            )
            .build_client_verifier()
        )
        try:
            verifier.verify(leaf, [x509.load_pem_x509_certificate(pem) for pem in intermediates_pem])
        except VerificationError as error:
            raise NotAllowed(str(error)) from None
        return Principal(
            kind=PrincipalKind.CERTIFICATE,
            id=f"certificate of {namespace}",
            account_id=namespace.rpartition(".")[2],
            credential_id=hashlib.sha256(leaf_pem).hexdigest(),
        )

    def authenticate_api_key(self, token: str, now: datetime) -> Principal:
        try:
            return self.keys[token]
        except KeyError:
            raise NotAuthenticated("unknown key") from None

    def permission(self, principal: Principal, namespace: str) -> Permission:
        if principal.kind is PrincipalKind.CERTIFICATE:
            return Permission.WRITE
        return self.permissions.get((principal.id, namespace), Permission.NONE)

    def client_roots_pem(self) -> bytes:
        return b"".join(self.bundles.values())
