"""Health and reflection. What they need is imported at the first call to one.

Health is a few lines here, because the official servicer holds a lock while it writes: a client that watches and
does not read would keep the service from stopping. Reflection is the official servicer's, by its two names: the
messages of v1 and v1alpha are the same on the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from cloud.rpc import InvalidArgument, NotFound
from cloud.transport.calls import HEALTH, REFLECTIONS
from cloud.transport.http2.heads import Conversation
from cloud.transport.http2.streaming import StreamingCall


class Services:
    """Tells of the `services` of one server that they serve, until `stop`."""

    def __init__(self, services: Sequence[str]) -> None:
        self._services = services
        self._stopping = asyncio.Event()
        self._reflection: Any = None

    @property
    def conversations(self) -> Mapping[str, Conversation]:
        """The methods, by path."""
        reflection: dict[str, Conversation] = {
            f"/{name}/ServerReflectionInfo": self._reflect for name in REFLECTIONS
        }
        return {
            f"/{HEALTH}/Check": self._check,
            f"/{HEALTH}/List": self._list,
            f"/{HEALTH}/Watch": self._watch,
            **reflection,
        }

    def stop(self) -> None:
        """From now on all services are NOT_SERVING; who watches them is told."""
        self._stopping.set()

    async def _check(self, call: StreamingCall) -> None:
        if not await self._is_known(call):
            raise NotFound("The service is not known here.")
        await call.send(self._status(known=True).SerializeToString())

    async def _list(self, call: StreamingCall) -> None:
        from grpc_health.v1.health_pb2 import HealthListRequest, HealthListResponse

        _parsed(HealthListRequest, await _request(call))
        status = self._status(known=True)
        answer = HealthListResponse(statuses=dict.fromkeys(("", *self._services, HEALTH), status))
        await call.send(answer.SerializeToString())

    async def _watch(self, call: StreamingCall) -> None:
        known = await self._is_known(call)
        await call.send(self._status(known=known).SerializeToString())
        if not self._stopping.is_set():
            await self._stopping.wait()
            if known:
                await call.send(self._status(known=True).SerializeToString())
        await asyncio.get_running_loop().create_future()  # nothing changes any more, until the call is ended

    async def _is_known(self, call: StreamingCall) -> bool:
        from grpc_health.v1.health_pb2 import HealthCheckRequest

        service = _parsed(HealthCheckRequest, await _request(call)).service
        return not service or service in (*self._services, HEALTH)

    def _status(self, *, known: bool) -> Any:
        from grpc_health.v1.health_pb2 import HealthCheckResponse

        if not known:
            status = HealthCheckResponse.SERVICE_UNKNOWN
        elif self._stopping.is_set():
            status = HealthCheckResponse.NOT_SERVING
        else:
            status = HealthCheckResponse.SERVING
        return HealthCheckResponse(status=status)

    async def _reflect(self, call: StreamingCall) -> None:
        from grpc_reflection.v1alpha import reflection, reflection_pb2

        if self._reflection is None:
            self._reflection = reflection.aio.ReflectionServicer([*self._services, HEALTH, *REFLECTIONS])

        async def requests() -> AsyncIterator[Any]:
            async for message in call.messages():
                yield _parsed(reflection_pb2.ServerReflectionRequest, message)

        async for answer in self._reflection.ServerReflectionInfo(requests(), None):
            await call.send(answer.SerializeToString())


async def _request(call: StreamingCall) -> bytes:
    message = await call.only_message()
    if message is None:
        raise InvalidArgument("The call has no request.")
    return message


def _parsed(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise InvalidArgument(f"The request is no {kind.DESCRIPTOR.full_name}.") from None
