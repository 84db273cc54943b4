"""A cell that passes every call on to a real server, so that the guard meets real traffic."""

from __future__ import annotations

import asyncio

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.status_pb2 import Status

from cloud.rpc import CallContext, Method, RpcError

_ERRORS = {int(error.code): error for error in RpcError.__subclasses__()}


class ForwardingCell:
    name = "native"

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)

    async def call(self, method: Method, request: Message, context: CallContext) -> Message:
        left_s = None
        if context.deadline_s is not None:
            left_s = max(0.01, context.deadline_s - asyncio.get_running_loop().time())
        forward = self._channel.unary_unary(
            method.path,
            request_serializer=method.request_type.SerializeToString,
            response_deserializer=method.response_type.FromString,
        )
        try:
            response: Message = await forward(request, timeout=left_s)
        except grpc.aio.AioRpcError as error:
            packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
            assert isinstance(packed, bytes)
            raise _ERRORS[error.code().value[0]](
                error.details() or "", *map(_unpacked, Status.FromString(packed).details)
            ) from None
        return response

    async def close(self) -> None:
        await self._channel.close()


def _unpacked(packed: object) -> Message:
    name = packed.type_url.rpartition("/")[2]  # type: ignore[attr-defined]
    found = descriptor_pool.Default().FindMessageTypeByName(name)
    message = GetMessageClass(found)()
    packed.Unpack(message)  # type: ignore[attr-defined]
    return message
