"""Calls by hand over gRPC, and how each ended: in a word that two servers can be compared by."""

from __future__ import annotations

import asyncio
import time

import grpc
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from cloud.rpc import Method
from tests.conformance.requests import methods

CALL_SECONDS = 4.0
"""How long a call may take; one that waits for a worker ends so on both servers."""

BUSY_SECONDS = 20.0
"""How long it is tried again where the server says that it is busy (one batch operation at a time)."""

SET_UP_SECONDS = 20.0


class Caller:
    """Calls any method of a server at `address` by hand. An async context manager."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def __aenter__(self) -> Caller:
        self._channel = grpc.aio.insecure_channel(self._address)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def call(self, method: Method, request: Message, seconds: float = CALL_SECONDS) -> Message:
        """Raises grpc.aio.AioRpcError."""
        stub = self._channel.unary_unary(
            method.path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=method.response_type.FromString,
        )
        answer: Message = await stub(request, timeout=seconds)
        return answer

    async def named(self, name: str, request: Message) -> Message:
        """Call the method `name`, for setting up."""
        return await self.call(methods()[name], request, SET_UP_SECONDS)

    async def outcome(self, method: Method, request: Message) -> str:
        """How a call ends: the code, and the names of the details."""
        ends_at = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                await self.call(method, request)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and time.monotonic() < ends_at:
                    await asyncio.sleep(0.2)
                    continue
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    return "waits"
                return " ".join([error.code().name, *_details(error)])
            return "OK"


def _details(error: grpc.aio.AioRpcError) -> list[str]:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = Status.FromString(value if isinstance(value, bytes) else value.encode())
            return [detail.type_url.rpartition(".")[2] for detail in status.details]
    return []
