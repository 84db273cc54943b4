"""Who calls: a client certificate, an API key, or anybody on the development listener.

Checking a chain or a signature costs more than all else that the gateway does in a call, so a good answer is
kept for a moment, and no longer than the directory stays as it is. A bad answer is never kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from temporalio.api.errordetails.v1 import PermissionDeniedFailure

from cloud.rpc import Caller, CallerKind, PermissionDenied, Unauthenticated
from cloud.transport.calls import CallParts, ListenerKind
from tenancy.access import AccessDirectory, NotAllowed, NotAuthenticated, Principal, PrincipalKind

REMEMBERED_S = 1.0
"""An expiry between two calls is noticed this much late; a change of the directory, at once."""

REMEMBERED_MAX = 10_000
"""Credentials kept at once; beyond it all are dropped and checked again."""

DEVELOPMENT_CALLER = Caller(kind=CallerKind.DEVELOPMENT, id="development")


class Directory(AccessDirectory, Protocol):
    """A directory that tells when anything in it changed."""

    @property
    def version(self) -> int:
        """Grows with every change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remembered:
    principal: Principal
    version: int
    until_s: float


class Identities:
    """Authenticates callers. `clock` is monotonic, in seconds; validity is held against `wall_clock`."""

    def __init__(
        self,
        directory: Directory,
        clock: Callable[[], float],
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._wall_clock = wall_clock
        self._remembered: dict[Hashable, _Remembered] = {}

    def certificate(self, parts: CallParts, namespace: str) -> Principal:
        """The certificate that the TLS handshake proved, for `namespace`.

        Raises:
            PermissionDenied: no certificate, or none that this namespace accepts.
        """
        leaf = parts.leaf_pem
        if leaf is None:
            raise unauthorised(parts.listener)

        def check() -> Principal:
            return self._directory.authenticate_certificate(
                leaf, parts.intermediates_pem, namespace, self._wall_clock()
            )

        try:
            return self._remember((leaf, parts.intermediates_pem, namespace), check)
        except (NotAllowed, NotAuthenticated):
            raise unauthorised(parts.listener) from None

    def api_key(self, parts: CallParts) -> Principal:
        """The owner of the key in ``authorization: Bearer <key>``.

        Raises:
            Unauthenticated: there is none, or it is not good, for whatever reason.
        """
        scheme, _, token = (parts.authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated(
                "No API key was given: send it as the header `authorization: Bearer <key>` "
                "(TEMPORAL_API_KEY, or api_key in the profile). Client certificates are taken on the service's "
                "other port."
            )

        def check() -> Principal:
            return self._directory.authenticate_api_key(token, self._wall_clock())

        try:
            # By digest, so that no key stays here. The connection that it came on has it still, as HTTP/2's header
            # compression has both sides remember headers, and forgets it with itself.
            return self._remember(hashlib.sha256(token.encode()).digest(), check)
        except (NotAuthenticated, NotAllowed):
            raise Unauthenticated(
                "The API key is not valid: it may be mistyped, expired, disabled or deleted. "
                "Make a new one with `tacit apikey create` and another key that is still valid; "
                "an admin of the account can give you one."
            ) from None

    def _remember(self, key: Hashable, check: Callable[[], Principal]) -> Principal:
        now = self._clock()
        version = self._directory.version
        known = self._remembered.get(key)
        if known is not None and known.version == version and now < known.until_s:
            return known.principal
        principal = check()
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[key] = _Remembered(principal=principal, version=version, until_s=now + REMEMBERED_S)
        return principal


def caller_of(principal: Principal) -> Caller:
    """What API methods are told of `principal`."""
    kind = CallerKind.CERTIFICATE if principal.kind is PrincipalKind.CERTIFICATE else CallerKind.API_KEY
    return Caller(kind=kind, id=principal.id)


# What to look at, by how the caller came. A hint follows from the listener alone and never from what was found, so that it
# is the same for a namespace that is another's and for one that is nobody's.
_HINTS = {
    ListenerKind.MTLS: (
        "The caller showed a client certificate: check that the namespace is named in full, <name>.<account>, and that "
        "it accepts this certificate (its CAs, certificate filters and dates: `tacit namespace get`, `tacit cert show`)."
    ),
    ListenerKind.API_KEY: (
        "The caller sent an API key: check that the namespace is named in full, <name>.<account>, that it takes API "
        "keys (`tacit namespace get`), and that the key's owner has the role in it that this call needs (`tacit whoami`)."
    ),
}


def unauthorised(listener: ListenerKind) -> PermissionDenied:
    """The one answer on a listener to every caller without a right, whether the namespace exists or not.

    The first sentence is the field's own and stays as it is, as clients and people know it.
    """
    return PermissionDenied(
        f"Request unauthorized. {_HINTS.get(listener, '')}".rstrip(), PermissionDeniedFailure()
    )
