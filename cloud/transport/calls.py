"""The words that a transport shares with whoever answers its calls: what it tells of a call, whom it asks, what its TLS needs."""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.message import DecodeError, Message

from cloud.rpc import InvalidArgument, Method

HEALTH = "grpc.health.v1.Health"
REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
"""Services that the transports themselves serve. The messages of both reflections are the same on the wire."""

CREDENTIAL_HEADERS = frozenset({"authorization", "authorization-extras", "cookie", "proxy-authorization"})
"""Headers that never reach an API method, a log or an error."""

NAMESPACE_HEADER = "temporal-namespace"
"""Sent by SDKs and proxies beside the request, so that front doors can route without parsing it."""

TRUSTED_HEADER_PREFIX = "tacit-"
"""Headers of this name are the gateway's own word: what a client sends under it is dropped."""


class ListenerKind(enum.Enum):
    """How callers of a listener prove who they are."""

    DEVELOPMENT = "development"  # not at all: plaintext on loopback
    MTLS = "mtls"
    API_KEY = "api-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallParts:
    """What a transport tells of one call as it came in, beside its method and request.

    `metadata` is lower-cased, without CREDENTIAL_HEADERS and without headers of TRUSTED_HEADER_PREFIX.
    `deadline_s` is a reading of the event loop's clock, None for no deadline.
    `authorization` is the header's value, for identity alone. `leaf_pem` and `intermediates_pem` are the
    chain that the TLS handshake proved, leaf first. `proved` is called once the caller has proved who it is, before the
    call goes on; None if the transport knows that of it already.
    """

    listener: ListenerKind
    metadata: Mapping[str, str] = field(default_factory=dict)
    deadline_s: float | None = None
    peer: str = ""
    authorization: str | None = field(default=None, repr=False)
    leaf_pem: bytes | None = field(default=None, repr=False)
    intermediates_pem: tuple[bytes, ...] = field(default=(), repr=False)
    proved: Callable[[], None] | None = field(default=None, repr=False, compare=False)


class Answers(Protocol):
    """What a transport asks of whoever answers its calls."""

    @property
    def methods(self) -> Mapping[str, Method]:
        """All methods by path."""

    async def answer(self, method: Method, message: bytes, parts: CallParts) -> bytes:
        """Answer one call: a message of the method's request type, and one of its response type.

        Raises:
            RpcError: it is refused.
            Ended: it ends with a status that is passed on as it is.
        """


class MessageAnswers(abc.ABC):
    """Answers calls with messages rather than bytes."""

    @abc.abstractmethod
    async def call(self, method: Method, request: Message, parts: CallParts) -> Message:
        """Answer one call, or raise RpcError."""

    async def answer(self, method: Method, message: bytes, parts: CallParts) -> bytes:
        """See :class:`Answers`."""
        try:
            request = method.request_type.FromString(message)
        except DecodeError:
            type_name = method.request_type.DESCRIPTOR.full_name
            raise InvalidArgument(f"The request is no {type_name}: its bytes can't be read.") from None
        del message  # a long poll would keep it
        return (await self.call(method, request, parts)).SerializeToString()


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsMaterial:
    """What a TLS handshake needs. `version` differs whenever anything else does.

    `client_roots_pem` is None where clients show no certificate.
    """

    version: object
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    client_roots_pem: bytes | None
