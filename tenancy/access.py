"""What a front door asks of tenancy on every call: who is this, and may they?

The answers come from memory and follow each committed change within seconds. Every check raises; none returns a
bool that could be ignored. The sentences of these errors are for logs and for the caller alike: they never tell an
unknown namespace from a forbidden one.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class Permission(enum.IntEnum):
    """Rights in one namespace, each including those below it (Temporal Cloud's namespace permissions)."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3


class GuardMode(enum.Enum):
    """What the gateway does with payloads that are not encrypted."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
    OFF = "off"


class PrincipalKind(enum.Enum):
    """What a principal is: a certificate speaks for a namespace, the others are people and programs."""

    CERTIFICATE = "certificate"
    USER = "user"
    SERVICE_ACCOUNT = "service-account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated identity. No field is secret.

    `account_id` is the owning account, `credential_id` the API key's id or the certificate's SHA-256 fingerprint.
    """

    kind: PrincipalKind
    id: str
    account_id: str
    credential_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceAccess:
    """What the gateway needs to know of a namespace. `name` is the full ``<name>.<account>``."""

    name: str
    account_id: str
    cell: str
    guard: GuardMode
    requests_per_second_max: float


class AccessRefused(Exception):
    """Not proven, or not allowed. One error for every cause, told apart by subclass only."""


class NotAuthenticated(AccessRefused):
    """The credential is missing, malformed, expired, disabled, revoked or unknown."""


class NotAllowed(AccessRefused):
    """The credential is good; the namespace is unknown to it or the right is missing."""


class AccessDirectory(Protocol):
    """The questions of a front door. Implementations answer from memory, without waiting."""

    def namespace(self, name: str) -> NamespaceAccess:
        """The namespace `name`.

        Raises:
            NotAllowed: there is none of this name that is open for calls.
        """

    def authenticate_certificate(
        self, leaf_pem: bytes, intermediates_pem: Sequence[bytes], namespace: str, now: datetime
    ) -> Principal:
        """Check a presented client certificate against `namespace`'s own CA bundle and filters.

        Raises:
            NotAllowed: it does not chain to this namespace's bundle, is out of date, or no filter matches.
        """

    def authenticate_api_key(self, token: str, now: datetime) -> Principal:
        """Check an API key (a signed JWT) and that its id is enabled.

        Raises:
            NotAuthenticated: for every cause alike.
        """

    def permission(self, principal: Principal, namespace: str) -> Permission:
        """The most that `principal` may do in `namespace`; NONE where it may nothing or there is no such namespace."""
