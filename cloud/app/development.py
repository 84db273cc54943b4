"""`tacit dev`: a cell behind a development listener. Imports none of the control plane, so that it starts fast."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from temporalio.api.enums.v1 import IndexedValueType

from cloud.app.ended import Ended
from cloud.cells.native import NativeCell, OutboundPolicy
from cloud.engine.api.history_imports import IMPORT_HISTORY
from cloud.engine.runtime.clock import SkippableClock
from cloud.engine.runtime.dynamic_config import DynamicConfig
from cloud.gateway.development import DevelopmentDirectory
from cloud.gateway.gateway import Gateway
from cloud.gateway.listeners import (
    HttpListener,
    Listener,
    development_http_listener,
    development_listener,
)
from cloud.gateway.method_table import METHOD_TABLE, development_row
from cloud.gateway.nexus_callbacks import OF_NAMESPACE, NexusCallbacks
from cloud.gateway.nexus_inbound import NexusInbound
from cloud.settings import Transport

log = structlog.get_logger(__name__)

CELL = "local"
IN_MEMORY = ":memory:"
_DAY_S = 86_400
_FOR_EVER_S = 100 * 365 * _DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentOptions:
    """What `tacit dev` is started with. `database` is a file name, ``:memory:`` or a URL; port 0 takes a free one.

    With `time_skipping` the server's time is its own and ends with it, so the database must be in memory; what is closed stays.
    Without `http_port` there is no HTTP API; with `http_port_or_any` it is served elsewhere if that port is taken.
    """

    host: str = "127.0.0.1"
    port: int = 7233
    http_port: int | None = None
    http_port_or_any: bool = False
    database: str = IN_MEMORY
    namespaces: Sequence[str] = ("default",)
    search_attributes: Mapping[str, IndexedValueType.ValueType] = field(default_factory=dict)
    retention_s: int = _DAY_S
    dynamic_config: DynamicConfig = field(default_factory=DynamicConfig)
    time_skipping: bool = False
    transport: Transport = Transport.HTTP2

    def __post_init__(self) -> None:
        if self.time_skipping and self.database != IN_MEMORY:
            raise ValueError(
                "time skipping needs a database in memory: its time would not outlive the server"
            )


_TABLE = {**METHOD_TABLE, IMPORT_HISTORY.path: development_row(IMPORT_HISTORY)}


class Development:
    """A cell behind a development listener, in one process."""

    def __init__(self, options: DevelopmentOptions) -> None:
        self._options = options
        self.ended = Ended()
        self.cell = NativeCell(
            CELL,
            options.database,
            clock=SkippableClock() if options.time_skipping else None,
            dynamic_config=options.dynamic_config,
            outbound=OutboundPolicy(private_addresses=True, plaintext=True),
            on_ended=self.ended.because,
        )
        gateway = Gateway(
            DevelopmentDirectory(CELL), lambda _: self.cell, {}, default_cell=CELL, table=_TABLE
        )
        self._listener: Listener = development_listener(
            gateway, host=options.host, port=options.port, transport=options.transport
        )
        self._http_listener: HttpListener | None = None
        if options.http_port is not None:
            self._http_listener = development_http_listener(
                gateway,
                host=options.host,
                port=options.http_port,
                or_any=options.http_port_or_any,
                handlers=lambda: (NexusCallbacks(self.cell), NexusInbound(self.cell)),
                grpc_port=lambda: self.port,
            )
        self.port = options.port
        self.http_port = options.http_port

    async def start(self) -> None:
        """Open the database, make the namespaces, listen.

        Raises:
            StoreUnavailable: the database can't be opened.
            ListenFailed: the port can't be bound.
        """
        await self.cell.start()
        # Who skips a month still wants to see what ended before.
        retention_s = _FOR_EVER_S if self._options.time_skipping else self._options.retention_s
        try:
            for name in self._options.namespaces:
                await self.cell.ensure_namespace(name, retention_s=retention_s)
                if self._options.search_attributes:
                    await self.cell.ensure_search_attributes(name, self._options.search_attributes)
            if self._http_listener is not None:
                self.http_port = await self._http_listener.start()
                host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
                self.cell.take_nexus_callbacks_at(f"http://{host}:{self.http_port}{OF_NAMESPACE}")
            self.port = await self._listener.start()
        except BaseException:
            await self.stop()
            raise
        log.info("dev.ready", address=f"{self._options.host}:{self.port}")

    async def stop(self) -> None:
        """Stop listening, flush, close. Safe to call twice."""
        self.cell.leave()
        await asyncio.gather(*(listener.stop() for listener in self._listeners()))
        await self.cell.stop()

    def hurry(self) -> None:
        """While it stops: end what still runs now."""
        for listener in self._listeners():
            listener.hurry()

    def _listeners(self) -> list[Listener | HttpListener]:
        return [listener for listener in (self._listener, self._http_listener) if listener is not None]
