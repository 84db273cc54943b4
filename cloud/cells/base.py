"""What the rest of the cloud knows of a cell: it answers calls for the namespaces placed on it."""

from __future__ import annotations

from typing import Protocol

from google.protobuf.message import Message

from cloud.rpc import CallContext, Method


class Cell(Protocol):
    """Runs the workflows of the namespaces placed on it: our engine, or a Temporal cluster routed to."""

    @property
    def name(self) -> str:
        """The name that placements refer to."""

    async def call(self, method: Method, request: Message, context: CallContext) -> Message:
        """Answer one call, in process without a second encoding.

        Raises:
            RpcError: the cell refuses; Unimplemented where it lacks the method.
        """
