"""The access directory: who may call what, answered from memory in microseconds.

    store ──load──▶ entries by name and id ◀──ask── gateway, on every call
      └── changes after version N ──refresh──▶ exchanged entries (right after a commit here; by polling
      elsewhere)

Each entry is immutable and is exchanged whole, with the caches that hang on it: a changed namespace starts
with no accepted certificates, a deleted key is unknown from that moment. A cached certificate still carries
the time in which its chain is in date, and is compared with the clock on every call. What was refused is not
remembered, so a refusal can't outlive its cause.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa

from tenancy import store
from tenancy.access import (
    NamespaceAccess,
    NotAllowed,
    NotAuthenticated,
    Permission,
    Principal,
    PrincipalKind,
)
from tenancy.apikeys import ApiKeyVerifier, TokenRefused
from tenancy.certificates import CertificateRefused, ClientCertificates, parse_bundle
from tenancy.database import Database
from tenancy.model import OPEN_STATES, AccountRole, ApiKey, Namespace, ServiceAccount, User
from tenancy.roles import Right, may, namespace_permission

# One namespace's clients: pods each with a certificate of their own, with room for those being rotated.
CERTIFICATES_CACHED_PER_NAMESPACE = 4_096
TOKENS_CACHED = 65_536

_UNAUTHORIZED = "Request unauthorized."
_NO_KEY = "The API key is missing, malformed, expired, disabled or unknown."

K = TypeVar("K")
V = TypeVar("V")
Changed = set[tuple[str, str]]

KIND_NAMESPACE = "namespace"
KIND_USER = "user"
KIND_SERVICE_ACCOUNT = "service-account"
KIND_API_KEY = "api-key"


@dataclass(frozen=True, slots=True)
class _CachedCertificate:
    principal: Principal
    not_before: datetime
    not_after: datetime


class _NamespaceEntry:
    """A namespace as a front door sees it, with the certificates that passed under these very settings."""

    __slots__ = (
        "_certificates",
        "_filters",
        "accepted",
        "access",
        "api_key_enabled",
        "ca_bundle_pem",
        "created_at",
        "open",
    )

    def __init__(self, one: Namespace) -> None:
        settings = one.settings
        self.access = NamespaceAccess(
            name=one.name,
            account_id=one.account_id,
            cell=one.cell,
            guard=one.guard,
            requests_per_second_max=one.requests_per_second_max,
        )
        self.created_at = one.created_at
        self.open = one.state in OPEN_STATES
        self.api_key_enabled = settings.api_key_enabled
        self.ca_bundle_pem = settings.ca_bundle_pem if settings.mtls_enabled and self.open else b""
        self.accepted: OrderedDict[tuple[bytes, ...], _CachedCertificate] = OrderedDict()
        self._filters = settings.certificate_filters
        self._certificates: ClientCertificates | None = None

    def certificates(self) -> ClientCertificates:
        # Made on the first call for the namespace: reading a bundle costs milliseconds, and most rest at a
        # start. It was checked when it was stored, so what is read back has no faults.
        if self._certificates is None:
            certificates, _ = parse_bundle(self.ca_bundle_pem)
            self._certificates = ClientCertificates(certificates, self._filters)
        return self._certificates


@dataclass(frozen=True, slots=True)
class _PrincipalEntry:
    account_id: str
    role: AccountRole
    grants: Mapping[str, Permission]


@dataclass(frozen=True, slots=True)
class _KeyEntry:
    principal: Principal
    expires_at: datetime
    disabled: bool


class Directory:
    """The `AccessDirectory` over a store. Call `refresh` once before the first question."""

    def __init__(self, database: Database, keys: ApiKeyVerifier) -> None:
        self._database = database
        self._verifier = keys
        self._version = -1
        self._refreshing = asyncio.Lock()
        self._namespaces: dict[str, _NamespaceEntry] = {}
        self._principals: dict[str, _PrincipalEntry] = {}
        self._keys: dict[str, _KeyEntry] = {}
        self._tokens: OrderedDict[bytes, str] = OrderedDict()
        self._client_roots: tuple[int, bytes] = (-1, b"")

    @property
    def version(self) -> int:
        """The version of the store that the answers show; -1 before the first refresh."""
        return self._version

    # --- questions of a front door ---

    def namespace(self, name: str) -> NamespaceAccess:
        """See `AccessDirectory.namespace`."""
        entry = self._namespaces.get(name)
        if entry is None or not entry.open:
            raise NotAllowed(_UNAUTHORIZED)
        return entry.access

    def authenticate_certificate(
        self, leaf_pem: bytes, intermediates_pem: Sequence[bytes], namespace: str, now: datetime
    ) -> Principal:
        """See `AccessDirectory.authenticate_certificate`."""
        entry = self._namespaces.get(namespace)
        if entry is None or not entry.ca_bundle_pem:
            raise NotAllowed(_UNAUTHORIZED)
        presented = (leaf_pem, *intermediates_pem)
        cached = entry.accepted.get(presented)
        if cached is not None and cached.not_before <= now <= cached.not_after:
            return cached.principal
        try:
            accepted = entry.certificates().check(leaf_pem, intermediates_pem, now)
        except CertificateRefused as refusal:
            entry.accepted.pop(presented, None)
            raise NotAllowed(_UNAUTHORIZED) from refusal
        principal = Principal(
            kind=PrincipalKind.CERTIFICATE,
            id=f"certificate:{namespace}:{accepted.fingerprint}",
            account_id=entry.access.account_id,
            credential_id=accepted.fingerprint,
        )
        cached = _CachedCertificate(principal, accepted.not_before, accepted.not_after)
        _remember(entry.accepted, presented, cached, CERTIFICATES_CACHED_PER_NAMESPACE)
        return principal

    def authenticate_api_key(self, token: str, now: datetime) -> Principal:
        """See `AccessDirectory.authenticate_api_key`."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        key_id = self._tokens.get(digest)
        if key_id is None:
            try:
                key_id = self._verifier.verify(token, now).key_id
            except TokenRefused as refusal:
                raise NotAuthenticated(_NO_KEY) from refusal
            if key_id in self._keys:
                _remember(self._tokens, digest, key_id, TOKENS_CACHED)
        entry = self._keys.get(key_id)
        # The store's expiry is compared too: it is the token's own, unless the two were ever to differ.
        if entry is None or entry.disabled or entry.expires_at <= now:
            raise NotAuthenticated(_NO_KEY)
        if entry.principal.id not in self._principals:
            raise NotAuthenticated(_NO_KEY)
        return entry.principal

    def permission(self, principal: Principal, namespace: str) -> Permission:
        """See `AccessDirectory.permission`."""
        entry = self._namespaces.get(namespace)
        if entry is None or not entry.open or entry.access.account_id != principal.account_id:
            return Permission.NONE
        if principal.kind is PrincipalKind.CERTIFICATE:
            # A namespace's name holds no colon, so the prefix can't be that of another.
            vouched = bool(entry.ca_bundle_pem) and principal.id.startswith(f"certificate:{namespace}:")
            return Permission.WRITE if vouched else Permission.NONE
        owner = self._principals.get(principal.id)
        if owner is None or not entry.api_key_enabled or owner.account_id != principal.account_id:
            return Permission.NONE
        return namespace_permission(owner.role, owner.grants.get(namespace))

    # --- questions of the composition ---

    def usage_namespaces(self, principal: Principal) -> list[str]:
        """The namespaces whose usage `principal` may see: all of its account by role, else those it administers."""
        owner = self._principals.get(principal.id)
        if owner is None or owner.account_id != principal.account_id:
            return []
        everything = may(owner.role, Right.READ_USAGE)
        return [
            name
            for name, entry in list(self._namespaces.items())
            if entry.access.account_id == owner.account_id
            and (everything or owner.grants.get(name, Permission.NONE) is Permission.ADMIN)
        ]

    def client_roots_pem(self) -> bytes:
        """Every CA that some open namespace accepts, oldest namespace first; empty if there is none.

        For the TLS listener, which may ask from any thread. Passing its handshake proves nothing about a
        namespace: `authenticate_certificate` does.
        """
        # The version is read first: what is built while a change is being taken up is built again after it.
        version = self._version
        if self._client_roots[0] != version:
            entries = [entry for entry in list(self._namespaces.values()) if entry.ca_bundle_pem]
            entries.sort(key=lambda entry: (entry.created_at, entry.access.name))
            self._client_roots = (version, b"".join(dict.fromkeys(entry.ca_bundle_pem for entry in entries)))
        return self._client_roots[1]

    def namespace_names(self) -> list[str]:
        """The full names of all namespaces that are open for calls."""
        return sorted(name for name, entry in self._namespaces.items() if entry.open)

    # --- following the store ---

    async def refresh(self) -> bool:
        """Take up what was committed since the last time, by any process; True if there was anything.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the store can't be read; the answers stay those of the last
            version.
        """
        async with self._refreshing:
            before = self._version
            loaded = await self._database.read(lambda connection: _load(connection, before))
            if loaded is None:
                return False
            # No await from here on: a question sees the old version or the new one, never a mixture.
            self._take(loaded)
            return True

    def _take(self, loaded: _Loaded) -> None:
        if loaded.changed is None:
            self._namespaces.clear()
            self._principals.clear()
            self._keys.clear()
        else:
            for kind, thing in loaded.changed:
                if kind == KIND_NAMESPACE:
                    self._namespaces.pop(thing, None)
                elif kind == KIND_API_KEY:
                    self._keys.pop(thing, None)
                else:
                    self._principals.pop(f"{kind}:{thing}", None)
        for namespace in loaded.namespaces:
            self._namespaces[namespace.name] = _NamespaceEntry(namespace)
        for user in loaded.users:
            self._principals[f"user:{user.id}"] = _PrincipalEntry(user.account_id, user.role, user.grants)
        for one in loaded.service_accounts:
            entry = _PrincipalEntry(one.account_id, one.role, one.grants)
            self._principals[f"service-account:{one.id}"] = entry
        for key in loaded.api_keys:
            principal = Principal(
                kind=key.owner_kind,
                id=f"{key.owner_kind.value}:{key.owner_id}",
                account_id=key.account_id,
                credential_id=key.id,
            )
            self._keys[key.id] = _KeyEntry(principal, key.expires_at, key.disabled)
        self._version = loaded.version


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """A reading of the store: all of it, or (with `changed`) what changed since a version."""

    version: int
    changed: Changed | None
    namespaces: Sequence[Namespace]
    users: Sequence[User]
    service_accounts: Sequence[ServiceAccount]
    api_keys: Sequence[ApiKey]


def _load(connection: sa.Connection, since: int) -> _Loaded | None:
    version = store.current_version(connection)
    if version == since:
        return None
    changed = None if since < 0 else store.changes_since(connection, since)
    return _Loaded(
        version=version,
        changed=changed,
        namespaces=store.load_namespaces(connection, _ids(changed, KIND_NAMESPACE)),
        users=store.load_users(connection, _ids(changed, KIND_USER)),
        service_accounts=store.load_service_accounts(connection, _ids(changed, KIND_SERVICE_ACCOUNT)),
        api_keys=store.load_api_keys(connection, _ids(changed, KIND_API_KEY)),
    )


def _ids(changed: Iterable[tuple[str, str]] | None, kind: str) -> list[str] | None:
    return None if changed is None else [thing for of, thing in changed if of == kind]


def _remember(cache: OrderedDict[K, V], key: K, value: V, size_max: int) -> None:
    cache[key] = value
    if len(cache) > size_max:
        cache.popitem(last=False)
