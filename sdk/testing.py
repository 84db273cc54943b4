"""A whole service inside a test's own process::

    async with sdk.testing.local() as client:
        ...

It is the engine that production runs, on a database in memory, behind gRPC on a free loopback port: no download, no other
process, gone at the end. The client is encrypted only if it is given a converter: what a test's service stores dies with it.

With time skipping nobody waits for timers, time-outs and backoffs: while a workflow's result is awaited, the service's time
jumps over whatever there is to wait for. `environment` gives what a test needs to look at that time, and to move it::

    async with sdk.testing.environment() as env:
        handle = await env.client.start_workflow(...)
        await env.sleep(timedelta(days=30))
        now = await env.get_current_time()
        result = await handle.result()  # skips the rest
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.empty_pb2 import Empty
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.testservice.v1 import LockTimeSkippingRequest, SleepRequest, UnlockTimeSkippingRequest
from temporalio.client import Client, Interceptor, OutboundInterceptor, StartWorkflowInput, WorkflowHandle
from temporalio.converter import DataConverter
from temporalio.testing import WorkflowEnvironment

_HOST = "127.0.0.1"


@asynccontextmanager
async def local(
    *,
    namespace: str = "default",
    search_attributes: Mapping[str, IndexedValueType.ValueType] | None = None,
    data_converter: DataConverter | None = None,
    time_skipping: bool = False,
) -> AsyncIterator[Client]:
    """A client of a fresh service with one namespace, in this process and on this event loop.

    With `time_skipping` it is an environment's client: awaiting a result skips time.

    Raises:
        ImportError: the service is not installed beside the SDK (``pip install tacit`` has both).
    """
    async with _service(
        namespace=namespace,
        search_attributes=search_attributes,
        data_converter=data_converter,
        time_skipping=time_skipping,
    ) as client:
        yield Environment(client).client if time_skipping else client


@asynccontextmanager
async def environment(
    *,
    namespace: str = "default",
    search_attributes: Mapping[str, IndexedValueType.ValueType] | None = None,
    data_converter: DataConverter | None = None,
) -> AsyncIterator[Environment]:
    """A fresh service with one namespace, in this process and on this event loop, whose time can be skipped.

    Raises:
        ImportError: the service is not installed beside the SDK (``pip install tacit`` has both).
    """
    async with _service(
        namespace=namespace,
        search_attributes=search_attributes,
        data_converter=data_converter,
        time_skipping=True,
    ) as client:
        yield Environment(client)


@asynccontextmanager
async def _service(
    *,
    namespace: str,
    search_attributes: Mapping[str, IndexedValueType.ValueType] | None,
    data_converter: DataConverter | None,
    time_skipping: bool,
) -> AsyncIterator[Client]:
    # The one place where the client's side knows the server, and only while a test asks for it.
    from cloud.app.development import Development, DevelopmentOptions

    service = Development(
        DevelopmentOptions(
            host=_HOST,
            port=0,
            namespaces=(namespace,),
            search_attributes=search_attributes or {},
            time_skipping=time_skipping,
        )
    )
    await service.start()
    try:
        yield await Client.connect(
            f"{_HOST}:{service.port}",
            namespace=namespace,
            data_converter=data_converter or DataConverter.default,
        )
    finally:
        await service.stop()


class Environment(WorkflowEnvironment):
    """The SDK's own kind of test environment over any server that serves TestService, such as ``tacit dev --time-skipping``.

    Time goes at its own pace until a result is awaited (of a workflow that `client` started) or `sleep` is called.
    """

    def __init__(self, client: Client) -> None:
        # What the SDK's own environments add (a failed `assert` fails the workflow), then ours.
        config = WorkflowEnvironment.from_client(client).client.config()
        config["interceptors"] = [*config["interceptors"], _AwaitedResultsSkip(self)]
        super().__init__(Client(**config))
        self._skips_on_results = True

    @property
    def supports_time_skipping_v1(self) -> bool:
        """True: all workflows of the server have one time."""
        return True

    async def sleep(self, duration: timedelta | float) -> None:
        """Skip time by `duration` (seconds, where it is a number); what becomes due meanwhile is waited for."""
        request = SleepRequest()
        request.duration.FromTimedelta(
            duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
        )
        await self.client.test_service.unlock_time_skipping_with_sleep(request)

    async def get_current_time(self, handle: WorkflowHandle[Any, Any] | None = None) -> datetime:
        """The server's time, in UTC; it is the time of every workflow."""
        response = await self.client.test_service.get_current_time(Empty())
        return response.time.ToDatetime(tzinfo=UTC)

    @contextmanager
    def auto_time_skipping_disabled(self) -> Iterator[None]:
        """Results that are awaited inside do not skip time."""
        before, self._skips_on_results = self._skips_on_results, False
        try:
            yield
        finally:
            self._skips_on_results = before

    @asynccontextmanager
    async def time_skipped(self) -> AsyncIterator[None]:
        """Time is skipped inside, unless that is disabled."""
        if not self._skips_on_results:
            yield
            return
        test_service = self.client.test_service
        await test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
        try:
            yield
        finally:
            await test_service.lock_time_skipping(LockTimeSkippingRequest())


class _AwaitedResultsSkip(Interceptor):
    def __init__(self, env: Environment) -> None:
        super().__init__()
        self._env = env

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002 - the SDK's name
        return _Outbound(next, self._env)


class _Outbound(OutboundInterceptor):
    def __init__(self, following: OutboundInterceptor, env: Environment) -> None:
        super().__init__(following)
        self._env = env

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002 - the SDK's name
        handle = await super().start_workflow(input)
        # Only its class changes: the SDK makes handles itself, and has no hook for their results.
        handle.__class__ = _SkippingHandle
        assert isinstance(handle, _SkippingHandle)
        handle.env = self._env
        return handle


class _SkippingHandle(WorkflowHandle[Any, Any]):
    env: Environment

    async def result(self, **options: Any) -> Any:
        """See the SDK's."""
        async with self.env.time_skipped():
            return await super().result(**options)
