"""A gRPC server whose calls wait for ever: what a waiting call costs before anything of ours is in it. Arguments: its port, and
`http2` or `grpc` for the transport."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

import uvloop
from google.protobuf.message import Message

from cloud.gateway.listeners import Listener
from cloud.gateway.method_table import METHOD_TABLE
from cloud.rpc import Method
from cloud.settings import Transport
from cloud.transport.calls import CallParts, ListenerKind, MessageAnswers


class _Waiting(MessageAnswers):
    """A gateway that answers nothing."""

    @property
    def methods(self) -> Mapping[str, Method]:
        return {path: row.method for path, row in METHOD_TABLE.items() if row.method is not None}

    async def call(self, method: Method, request: Message, parts: CallParts) -> Message:
        await asyncio.get_running_loop().create_future()
        raise AssertionError


async def _serve(port: int, transport: Transport) -> None:
    listener = Listener(
        _Waiting(), ListenerKind.DEVELOPMENT, host="127.0.0.1", port=port, tls=None, transport=transport
    )
    await listener.start()
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), Transport(sys.argv[2])))
