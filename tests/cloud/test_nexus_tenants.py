"""Nexus endpoints of two accounts on one cell: each calls its own by the same name, nobody what is another's or not allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import nexusrpc
import pytest
from nexusrpc.handler import StartOperationContext, service_handler, sync_operation
from structlog.testing import capture_logs
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, TLSConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from cloud.app.whole import Cloud
from cloud.settings import Settings
from tests.processes import tacit

SHORT = timedelta(seconds=20)
ENDPOINT = "payments"


@nexusrpc.service
class Payments:
    pay: nexusrpc.Operation[str, str]


@service_handler(service=Payments)
class Handler:
    def __init__(self, name: str) -> None:
        self._name = name

    @sync_operation
    async def pay(self, ctx: StartOperationContext, what: str) -> str:
        return f"{self._name} paid {what}"


@workflow.defn
class Caller:
    @workflow.run
    async def run(self, what: str) -> str:
        client = workflow.create_nexus_client(service=Payments, endpoint=ENDPOINT)
        return await client.execute_operation(Payments.pay, what, schedule_to_close_timeout=SHORT)


@dataclass
class Tenant:
    """An account with the namespaces `orders` and `shop`, both without a guard, called by its owner's key."""

    cloud: Cloud
    home: Path
    account: str = ""
    api_key: str = ""

    async def tacit(self, *words: str) -> Any:
        env = {"TEMPORAL_CONFIG_FILE": str(self.home / "temporal.toml")}
        return await asyncio.to_thread(tacit, *words, env=env)

    async def begin(self, email: str) -> None:
        made = await self.tacit(
            *("signup", "--email", email, "--namespace", "orders", "--guard", "off"),
            *("--address", f"localhost:{self.cloud.api_port}", "--server-ca", str(self.cloud.server_ca_path)),
            *("--token-file", str(self.cloud.signup_token_path)),
        )
        self.account = made["account"]
        self.api_key = (await self.tacit("apikey", "create", "--name", "test"))["api_key"]
        await self.tacit("namespace", "create", "shop", "--guard", "off", "--worker-profile", "shop")

    async def client(self, namespace: str) -> Client:
        return await Client.connect(
            f"localhost:{self.cloud.api_port}",
            namespace=f"{namespace}.{self.account}",
            api_key=self.api_key,
            tls=TLSConfig(server_root_ca_cert=self.cloud.server_ca_path.read_bytes()),
        )

    async def operation(self, namespace: str) -> str:
        client = (await self.client(namespace)).create_nexus_client(service=Payments, endpoint=ENDPOINT)
        return await client.execute_operation(Payments.pay, "it", id="op", schedule_to_close_timeout=SHORT)

    async def handler(self, name: str) -> Worker:
        return Worker(await self.client("orders"), task_queue="pay", nexus_service_handlers=[Handler(name)])


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    opened = Cloud(Settings(data=str(tmp_path), mtls_port=0, api_port=0))
    with capture_logs():
        await opened.start()
        try:
            yield opened
        finally:
            await opened.stop()


async def refused(call: Awaitable[object]) -> RPCStatusCode:
    with pytest.raises(RPCError) as caught:
        await call
    return caught.value.status


async def test_two_accounts_call_their_own(cloud: Cloud, tmp_path: Path) -> None:
    acme, rival = Tenant(cloud, tmp_path / "acme"), Tenant(cloud, tmp_path / "rival")
    await acme.begin("ada@example.com")
    await rival.begin("eve@example.com")
    create = ("nexus", "endpoint", "create", ENDPOINT, "--target-namespace", "orders")
    for tenant in (acme, rival):
        made = await tenant.tacit(*create, "--target-task-queue", "pay", "--allow-namespace", "shop")
        assert made["state"] == "active"
        assert made["allowed_namespaces"] == [f"shop.{tenant.account}"]
    async with await acme.handler("acme"), await rival.handler("rival"):
        assert await acme.operation("shop") == "acme paid it"
        assert await rival.operation("shop") == "rival paid it"
        shop = await acme.client("shop")
        async with Worker(
            shop, task_queue="tq", workflows=[Caller], workflow_runner=UnsandboxedWorkflowRunner()
        ):
            result = await shop.execute_workflow(Caller.run, "it", id="wf", task_queue="tq")
            assert result == "acme paid it"
        # Not named, so not allowed: not even the target itself.
        assert await refused(acme.operation("orders")) == RPCStatusCode.NOT_FOUND
        changed = await acme.tacit(
            "nexus", "endpoint", "update", ENDPOINT, "--allow-nobody", "--description", "why"
        )
        assert await acme.tacit("nexus", "endpoint", "get", ENDPOINT) == changed
        assert (changed["allowed_namespaces"], changed["description"]) == ([], "why")
        assert await refused(acme.operation("shop")) == RPCStatusCode.NOT_FOUND
        assert await rival.operation("shop") == "rival paid it"
        await acme.tacit("nexus", "endpoint", "delete", ENDPOINT, "--yes")
        assert [row["name"] for row in await rival.tacit("nexus", "endpoint", "list")] == [ENDPOINT]
        assert await acme.tacit("nexus", "endpoint", "list") == []
