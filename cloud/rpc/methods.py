"""The methods of a service, read from its compiled descriptor: no list of them is kept by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from cloud.rpc.context import CallContext

Handler = Callable[[Any, CallContext], Awaitable[Message]]
"""An API method: a plain coroutine from (request, context) to response, raising RpcError to refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One unary RPC. `path` is its HTTP/2 path, ``/package.Service/Name``."""

    service: str
    name: str
    path: str
    request_type: type[Message]
    response_type: type[Message]


def methods_of(service: ServiceDescriptor) -> dict[str, Method]:
    """All methods of `service` by their bare names, in the order of the proto file."""
    return {
        method.name: Method(
            service=service.full_name,
            name=method.name,
            path=f"/{service.full_name}/{method.name}",
            request_type=GetMessageClass(method.input_type),
            response_type=GetMessageClass(method.output_type),
        )
        for method in service.methods
    }
