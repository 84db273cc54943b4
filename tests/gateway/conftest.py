from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cloud.gateway import (
    DevelopmentDirectory,
    Gateway,
    Limits,
    Listener,
    OwnCertificate,
    api_key_listener,
    development_listener,
    mtls_listener,
)
from cloud.settings import Transport
from tests.gateway.doubles import EchoCell, MemoryDirectory

Start = Callable[[Listener], Awaitable[int]]


@pytest.fixture
def cell() -> EchoCell:
    return EchoCell()


@pytest.fixture
def directory() -> MemoryDirectory:
    return MemoryDirectory()


@pytest.fixture
def gateway(directory: MemoryDirectory, cell: EchoCell) -> Gateway:
    return Gateway(
        directory, {"native": cell}.__getitem__, {}, default_cell="native", limits=Limits(time.monotonic)
    )


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts listeners, and stops them in the end."""
    started: list[Listener] = []

    async def go(listener: Listener) -> int:
        started.append(listener)
        return await listener.start()

    yield go
    for listener in started:
        await listener.stop(0)


@pytest.fixture(params=Transport, ids=lambda transport: transport.value)
def transport(request: pytest.FixtureRequest) -> Transport:
    """Whatever holds for one transport holds for the other."""
    chosen: Transport = request.param
    return chosen


@pytest.fixture
async def development_port(cell: EchoCell, start: Start, transport: Transport) -> int:
    gateway = Gateway(DevelopmentDirectory("native"), {"native": cell}.__getitem__, {}, default_cell="native")
    return await start(development_listener(gateway, port=0, transport=transport))


@pytest.fixture
def certificate(tmp_path: Path) -> OwnCertificate:
    return OwnCertificate(tmp_path / "tls", ["localhost", "127.0.0.1"])


@pytest.fixture
def start_mtls(
    gateway: Gateway,
    directory: MemoryDirectory,
    certificate: OwnCertificate,
    start: Start,
    transport: Transport,
) -> Callable[[], Awaitable[int]]:
    return lambda: start(
        mtls_listener(gateway, directory, certificate, host="127.0.0.1", port=0, transport=transport)
    )


@pytest.fixture
def start_api_key(
    gateway: Gateway, certificate: OwnCertificate, start: Start, transport: Transport
) -> Callable[[], Awaitable[int]]:
    return lambda: start(
        api_key_listener(gateway, certificate, host="127.0.0.1", port=0, transport=transport)
    )
