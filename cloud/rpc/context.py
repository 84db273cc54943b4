"""What an API method is told about the call beside its request."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

ACCOUNT_HEADER = "tacit-account-id"
PRINCIPAL_KIND_HEADER = "tacit-principal-kind"
CREDENTIAL_HEADER = "tacit-credential-id"
"""Metadata of calls of account scope, set by the gateway once it has proved the caller: its account, its PrincipalKind, and its
API key's id. What a client sends under these names gets no further than the transport."""


class CallerKind(enum.Enum):
    """How the caller proved who it is."""

    DEVELOPMENT = "development"  # `tacit dev`: loopback, no proof asked
    CERTIFICATE = "certificate"  # mTLS: full data-plane rights in the namespaces whose CAs vouch for it
    API_KEY = "api-key"
    ANONYMOUS = "anonymous"  # proved nothing: what needs no identity, or asks for a proof of its own
    INTERNAL = "internal"  # another part of the same process


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated caller. `id` is stable and safe to log: never a secret."""

    kind: CallerKind
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """The surroundings of one call.

    `deadline_s` is the caller's deadline as a reading of the event loop's clock (seconds), None if it set none.
    `metadata` holds the request's headers, lower-cased, without credentials.
    A caller that gives up cancels the method's coroutine: there is nothing to poll.
    """

    caller: Caller
    deadline_s: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""
