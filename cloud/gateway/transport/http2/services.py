"""Health and reflection, by the official servicers, which this wraps: they are imported at the first call to one.

Reflection is served by its two names: the messages of v1 and v1alpha are the same on the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NoReturn

from cloud.gateway.transport.http2.heads import Conversation
from cloud.gateway.transport.http2.streaming import StreamingCall
from cloud.rpc import InvalidArgument, NotFound

HEALTH = "grpc.health.v1.Health"
REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class Services:
    """Tells of the `services` of one server that they serve, until `stop`."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = services
        self._stopping = False
        self._health: Any = None
        self._reflection: Any = None
        self._making = asyncio.Lock()

    @property
    def conversations(self) -> Mapping[str, Conversation]:
        """The methods, by path."""
        reflection: dict[str, Conversation] = {
            f"/{name}/ServerReflectionInfo": self._reflect for name in REFLECTIONS
        }
        return {f"/{HEALTH}/Check": self._check, f"/{HEALTH}/Watch": self._watch, **reflection}

    async def stop(self) -> None:
        """From now on all services are NOT_SERVING; who watches them is told."""
        self._stopping = True
        if self._health is not None:
            await self._health.enter_graceful_shutdown()

    async def _check(self, call: StreamingCall) -> None:
        request, servicer = await self._health_request(call)
        answer = await servicer.Check(request, _Context(call))
        await call.send(answer.SerializeToString())

    async def _watch(self, call: StreamingCall) -> None:
        request, servicer = await self._health_request(call)
        await servicer.Watch(request, _Context(call))

    async def _health_request(self, call: StreamingCall) -> tuple[Any, Any]:
        from grpc_health.v1 import health_pb2

        async with self._making:
            if self._health is None:
                from grpc_health.v1 import health

                servicer = health.aio.HealthServicer()
                for service in ("", *self._services):
                    await servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
                if self._stopping:
                    await servicer.enter_graceful_shutdown()
                self._health = servicer
        async for message in call.messages():
            return _parsed(health_pb2.HealthCheckRequest, message), self._health
        raise InvalidArgument("The call has no request.")

    async def _reflect(self, call: StreamingCall) -> None:
        from grpc_reflection.v1alpha import reflection, reflection_pb2

        if self._reflection is None:
            self._reflection = reflection.aio.ReflectionServicer([*self._services, HEALTH, *REFLECTIONS])

        async def requests() -> AsyncIterator[Any]:
            async for message in call.messages():
                yield _parsed(reflection_pb2.ServerReflectionRequest, message)

        async for answer in self._reflection.ServerReflectionInfo(requests(), None):
            await call.send(answer.SerializeToString())


class _Context:
    """The little that the servicers ask of gRPC's own context."""

    def __init__(self, call: StreamingCall) -> None:
        self._call = call

    async def abort(self, code: Any, sentence: str = "") -> NoReturn:
        raise NotFound(sentence or "The service is not known here.")  # the one reason that health has

    async def write(self, message: Any) -> None:
        await self._call.send(message.SerializeToString())


def _parsed(kind: Any, message: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(message)
    except DecodeError:
        raise InvalidArgument(f"The request is no {kind.DESCRIPTOR.full_name}.") from None
