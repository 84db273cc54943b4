"""A service that takes encrypted payloads only, and a sidecar before it, both in the test's own process."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

import codec
import sdk
from cloud.app import development
from cloud.app.development import Development, DevelopmentOptions
from cloud.gateway import DevelopmentDirectory
from cloud.sidecar.audit import AuditLog
from cloud.sidecar.listening import server
from cloud.sidecar.routes import Routes
from cloud.sidecar.setting_up import routes_of
from cloud.sidecar.sidecar import Sidecar
from cloud.sidecar.upstream import Upstream
from cloud.transport.http2.server import Http2Server
from tenancy.access import GuardMode, NamespaceAccess

HOST = "127.0.0.1"


class Enforcing(DevelopmentDirectory):
    def namespace(self, name: str) -> NamespaceAccess:
        return dataclasses.replace(super().namespace(name), guard=GuardMode.ENFORCE)


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Development]:
    """A service whose guard refuses whatever is readable."""
    monkeypatch.setattr(development, "DevelopmentDirectory", Enforcing)
    service = Development(
        DevelopmentOptions(
            port=0, http_port=0, database=str(tmp_path / "service.db"), namespaces=("default", "other")
        )
    )
    await service.start()
    yield service
    await service.stop()


@dataclasses.dataclass
class Proxy:
    """A running sidecar; `sent` are the requests that left it."""

    sidecar: Sidecar
    routes: Routes
    port: int
    audit: io.StringIO
    sent: list[tuple[str, bytes]]

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    async def connect(self, namespace: str = "default", **options: Any) -> Client:
        """A client as plain as can be."""
        return await Client.connect(self.address, namespace=namespace, **options)

    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.getvalue().splitlines()]


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    path = tmp_path / "keyring.json"
    codec.create_key_ring(path, codec.KeyRing.create("default"))
    return path


@pytest.fixture
def make_profile(tmp_path: Path, ring: Path) -> Callable[..., sdk.Profile]:
    """Writes a profile; all of one test are in one file."""

    def make(name: str, address: str, *, namespace: str = "default", **settings: Any) -> sdk.Profile:
        config = tmp_path / "client" / "temporal.toml"
        config.parent.mkdir(exist_ok=True)
        settings.setdefault("key_ring", ring)
        sdk.write_profile(
            config, name, address=address, namespace=namespace, tls=False, codec=sdk.CodecSettings(**settings)
        )
        return sdk.load_profile(name, config_file=config, environment={})

    return make


Start = Callable[..., Any]


@pytest.fixture
async def start_proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts sidecars, and stops them in the end."""
    running: list[tuple[Http2Server, Routes]] = []
    sent: list[tuple[str, bytes]] = []
    real = Upstream.call

    async def call(self: Upstream, path: str, message: bytes, *more: Any, **named: Any) -> bytes:
        sent.append((path.rpartition("/")[2], message))
        return await real(self, path, message, *more, **named)

    monkeypatch.setattr(Upstream, "call", call)

    async def start(*profiles: sdk.Profile, tls: Any = None, **options: Any) -> Proxy:
        audit = io.StringIO()
        routes = routes_of(profiles)
        sidecar = Sidecar(routes, audit=options.pop("audit", AuditLog(audit)), **options)
        listening = server(sidecar, host=HOST, tls=tls)
        port = await listening.start(f"{HOST}:0")
        running.append((listening, routes))
        return Proxy(sidecar, routes, port, audit, sent)

    yield start
    for listening, routes in running:
        await listening.stop(0)
        for route in routes.all:
            await route.upstream.close()


@pytest.fixture
async def proxy(service: Development, make_profile: Callable[..., sdk.Profile], start_proxy: Start) -> Proxy:
    """A sidecar for the namespace `default`."""
    started: Proxy = await start_proxy(make_profile("default", f"{HOST}:{service.port}"))
    return started
