"""Nexus callbacks: where services outside tell how the operations ended that they have started.

Nobody is identified here: the token that went out with the call is the proof, and its cell knows it. The message is the cell's to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from cloud.gateway.http.calls import HttpCall, HttpReply

ANY_NAMESPACE = ("nexus", "callback")
OF_NAMESPACE = "/namespaces/{namespace}/nexus/callback"
"""The path that is handed out, with the namespace's name quoted."""


class CompletionReply(Protocol):
    """What a cell answers."""

    @property
    def status(self) -> int:
        """An HTTP status."""

    @property
    def header(self) -> Mapping[str, str]:
        """Its content type, if it has a body."""

    @property
    def body(self) -> bytes:
        """A failure as JSON, or nothing."""


class TakesCompletions(Protocol):
    """A cell that waits for completions."""

    async def nexus_completion(
        self, namespace: str | None, header: Mapping[str, str], body: bytes
    ) -> CompletionReply:
        """Take one; `namespace` is the one that the path names, if any."""


class NexusCallbacks:
    """Answers POST on ``/nexus/callback`` and ``/namespaces/NAME/nexus/callback``."""

    def __init__(self, cell: TakesCompletions) -> None:
        self._cell = cell

    def accepts(self, method: str, segments: tuple[str, ...]) -> bool:
        """See :class:`cloud.gateway.http.calls.HttpHandler`."""
        return method == "POST" and (segments == ANY_NAMESPACE or _namespace_of(segments) is not None)

    async def answer(self, call: HttpCall) -> HttpReply:
        """Hand the message on."""
        reply = await self._cell.nexus_completion(
            _namespace_of(call.segments), call.parts.metadata, call.body
        )
        return HttpReply(status=reply.status, body=reply.body, headers=reply.header)


def _namespace_of(segments: tuple[str, ...]) -> str | None:
    match segments:
        case ("namespaces", namespace, "nexus", "callback"):
            return namespace
        case _:
            return None
