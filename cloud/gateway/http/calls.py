"""The words that the HTTP transport and what it carries calls to share: a call, a reply, a handler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from google.protobuf.message import Message

from cloud.rpc import Method
from cloud.transport.calls import CallParts


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCall:
    """One request as it came in, its body read whole.

    `segments` are the path's parts between slashes, each decoded by itself: an id may hold a slash.
    `parts.metadata` are its headers, lower-cased, without credentials.
    """

    method: str
    segments: tuple[str, ...]
    query: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    parts: CallParts


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """What the client gets. `headers` names the content type, if there is a body."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class GatewayLike(Protocol):
    """What the JSON API asks of the gateway."""

    @property
    def methods(self) -> Mapping[str, Method]:
        """All methods by path."""

    async def call(self, method: Method, request: Message, parts: CallParts) -> Message:
        """Answer one call, or raise RpcError."""


class HttpHandler(Protocol):
    """Something that answers the requests of some paths. A listener asks its handlers in turn."""

    def accepts(self, method: str, segments: tuple[str, ...]) -> bool:
        """Whether requests of this method and path are this handler's. Asked before the body is read."""

    async def answer(self, call: HttpCall) -> HttpReply:
        """Answer a request that it accepts. An exception is a defect: the client gets an error id."""
