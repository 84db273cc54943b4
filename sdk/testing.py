"""A whole service inside a test's own process::

    async with sdk.testing.local() as client:
        ...

It is the engine that production runs, on a database in memory, behind gRPC on a free loopback port: no download, no other
process, gone at the end. The client is encrypted only if it is given a converter: what a test's service stores dies with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.client import Client
from temporalio.converter import DataConverter

_HOST = "127.0.0.1"


@asynccontextmanager
async def local(
    *,
    namespace: str = "default",
    search_attributes: Mapping[str, IndexedValueType.ValueType] | None = None,
    data_converter: DataConverter | None = None,
) -> AsyncIterator[Client]:
    """A client of a fresh service with one namespace, in this process and on this event loop.

    Raises:
        ImportError: the service is not installed beside the SDK (``pip install tacit`` has both).
    """
    # The one place where the client's side knows the server, and only while a test asks for it.
    from cloud.app.development import Development, DevelopmentOptions

    service = Development(
        DevelopmentOptions(
            host=_HOST,
            port=0,
            namespaces=(namespace,),
            search_attributes=search_attributes or {},
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
