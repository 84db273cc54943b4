"""`tacit up`: control plane, gateway, one native cell, and their listeners, in one process."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from pathlib import Path

import structlog

from billing import UsageCount, actions_of
from cloud.app.ended import Ended
from cloud.app.guard_counting import GuardCounting
from cloud.cells.native import NativeCell, OutboundPolicy
from cloud.controlplane.call import call_of
from cloud.controlplane.cell_provisioner import CellProvisioner
from cloud.controlplane.controlplane import ControlPlane
from cloud.controlplane.guard_findings import GET_GUARD_FINDINGS, guard_findings_handler
from cloud.controlplane.ports import DayUsage
from cloud.controlplane.signup import Signup, SignupPolicy, load_or_create_signup_token
from cloud.controlplane.signup_call import SIGNUP_METHOD
from cloud.controlplane.usage_by_kind import GET_USAGE_BY_KIND, usage_by_kind_handler
from cloud.controlplane.wire import Endpoints
from cloud.gateway.gateway import Gateway
from cloud.gateway.listeners import Listener, api_key_listener, mtls_listener
from cloud.gateway.method_table import METHOD_TABLE, account_row
from cloud.gateway.server_certificate import CertificateFiles, CertificateSource, OwnCertificate
from cloud.rpc import CallContext
from cloud.settings import Settings
from tenancy.guard_counts import GuardCount
from tenancy.service import Tenancy, open_tenancy, utc_now

log = structlog.get_logger(__name__)

CELL = "local"


class CellUsageSource:
    """Billing's port over a cell's ledger."""

    def __init__(self, cell: NativeCell) -> None:
        self._cell = cell

    async def read(
        self, *, namespaces: Sequence[str] | None, start: datetime, end: datetime
    ) -> Sequence[UsageCount]:
        """Usage in [start, end) by namespace, hour, kind and workflow type."""
        return [
            UsageCount(
                namespace=row.namespace,
                hour=row.hour,
                kind=row.kind,
                workflow_type=row.workflow_type,
                count=row.count,
            )
            for row in await self._cell.usage(namespaces, start, end)
        ]


class CellUsageReader:
    """The control plane's port: actions by namespace and day, by billing's one action table."""

    def __init__(self, source: CellUsageSource) -> None:
        self._source = source

    async def daily(self, namespaces: Sequence[str], start: date, end: date) -> Sequence[DayUsage]:
        """The usage of these namespaces on the days in [start, end), UTC."""
        first, last = (datetime.combine(day, time_of_day(), UTC) for day in (start, end))
        totals: defaultdict[tuple[str, date], float] = defaultdict(float)
        for row in await self._source.read(namespaces=namespaces, start=first, end=last):
            totals[row.namespace, row.hour.date()] += float(actions_of(row.kind, row.count))
        return [
            DayUsage(namespace=namespace, day=day, actions=actions)
            for (namespace, day), actions in sorted(totals.items())
        ]


class Cloud:
    """The whole cloud in one process: control plane, gateway, one native cell, and their listeners."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.ended = Ended()
        private = settings.outbound_private
        self.cell = NativeCell(
            CELL,
            settings.database_url,
            outbound=OutboundPolicy(private_addresses=private, plaintext=private),
            on_ended=self.ended.because,
        )
        self._tenancy: Tenancy | None = None
        self._control_plane: ControlPlane | None = None
        self._guard_counting: GuardCounting | None = None
        self._listeners: list[Listener] = []
        self.mtls_port = settings.mtls_port
        self.api_port = settings.api_port
        self.server_ca_path = settings.data_path / "server-ca.pem"
        self.signup_token_path = settings.data_path / "signup-token"

    async def start(self) -> None:
        """Open both databases, heal what a crash cut off, listen.

        Raises:
            StoreUnavailable, ListenFailed, CertificateUnusable, OSError, ValueError: the sentence says why.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        log.info("up.ready", mtls_port=self.mtls_port, api_port=self.api_port)

    async def _start(self) -> None:
        settings = self._settings
        await self.cell.start()
        tenancy = self._tenancy = await open_tenancy(
            settings.control_database_url, settings.data_path / "api-key-signing.pem", cell=CELL
        )
        await tenancy.start()
        cells = {CELL: self.cell}.__getitem__
        usage = CellUsageSource(self.cell)
        name = settings.names[0]
        control_plane = self._control_plane = ControlPlane(
            tenancy,
            CellProvisioner(cells),
            CellUsageReader(usage),
            utc_now,
            region=settings.region,
            # Asked per answer: which ports are taken where 0 was asked for is known once the listeners are open.
            endpoints=lambda: Endpoints(mtls=f"{name}:{self.mtls_port}", api_key=f"{name}:{self.api_port}"),
        )
        await control_plane.resume()
        own = (
            account_row(GET_USAGE_BY_KIND),
            account_row(GET_GUARD_FINDINGS),
            account_row(SIGNUP_METHOD, public=True),
        )
        gateway = Gateway(
            tenancy.directory,
            cells,
            {
                **control_plane.handlers_by_path(),
                SIGNUP_METHOD.path: self._signup(tenancy).handle,
                GET_USAGE_BY_KIND.path: usage_by_kind_handler(
                    usage, lambda context: _visible(tenancy, context)
                ),
                GET_GUARD_FINDINGS.path: guard_findings_handler(
                    self._guard_findings, lambda context: _visible(tenancy, context), utc_now
                ),
            },
            default_cell=CELL,
            table={**METHOD_TABLE, **{row.path: row for row in own}},
        )
        self._guard_counting = GuardCounting(gateway.guard.counts, tenancy.guard_counts, utc_now)
        self._guard_counting.start()
        certificate = self._certificate()
        mtls = mtls_listener(
            gateway,
            tenancy.directory,
            certificate,
            host=settings.host,
            port=settings.mtls_port,
            transport=settings.transport,
        )
        api = api_key_listener(
            gateway,
            certificate,
            host=settings.host,
            port=settings.api_port,
            transport=settings.transport,
        )
        self._listeners = [mtls, api]
        self.mtls_port = await mtls.start()
        self.api_port = await api.start()

    async def stop(self) -> None:
        """Stop listening, end what runs, flush, close. Safe to call twice."""
        self.cell.leave()
        # At once: who is answered here must not come again by the other.
        await asyncio.gather(*(listener.stop() for listener in self._listeners))
        counting, self._guard_counting = self._guard_counting, None
        if counting is not None:
            await counting.stop()
        control_plane, self._control_plane = self._control_plane, None
        if control_plane is not None:
            await control_plane.close()
        tenancy, self._tenancy = self._tenancy, None
        if tenancy is not None:
            await tenancy.close()
        await self.cell.stop()

    def hurry(self) -> None:
        """While it stops: end what still runs now."""
        for listener in self._listeners:
            listener.hurry()

    async def _guard_findings(self, namespaces: Sequence[str], since: date) -> Sequence[GuardCount]:
        counting = self._guard_counting
        return () if counting is None else await counting.read(namespaces, since)

    def _certificate(self) -> CertificateSource:
        settings = self._settings
        if settings.certificate:
            return CertificateFiles(Path(settings.certificate), Path(settings.key), time.monotonic)
        own = OwnCertificate(settings.data_path / "server", settings.names)
        self.server_ca_path.write_bytes(own.ca_pem)
        return own

    def _signup(self, tenancy: Tenancy) -> Signup:
        policy = SignupPolicy(self._settings.signup.value)
        token = ""
        if policy is SignupPolicy.TOKEN:
            token = load_or_create_signup_token(self.signup_token_path)
        return Signup(tenancy, policy, token=token, clock=time.monotonic)


def _visible(tenancy: Tenancy, context: CallContext) -> Collection[str]:
    """The namespaces whose usage the caller may see."""
    return tenancy.directory.usage_namespaces(call_of(context).principal)
