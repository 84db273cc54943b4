"""From a readable payload at the gateway to what an admin sees: over a restart, for each namespace its own."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from structlog.testing import capture_logs
from temporalio.client import Client
from temporalio.service import RPCError, TLSConfig

import sdk
from cloud.app.guard_counting import GuardCounting
from cloud.app.whole import Cloud
from cloud.controlplane.guard_findings import (
    decode_response,
    encode_request,
    encode_response,
    guard_findings_handler,
)
from cloud.gateway.guard_counts import GuardCounts, Outcome
from cloud.rpc import CallContext, Caller, CallerKind, InvalidArgument, PermissionDenied
from cloud.settings import Settings
from tenancy.service import open_tenancy
from tests.processes import BIN, clean_environment, tacit

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Cloud]:
    cloud = Cloud(Settings(data=str(folder), mtls_port=0, api_port=0))
    with capture_logs():
        await cloud.start()
        try:
            yield cloud
        finally:
            await cloud.stop()


class Admin:
    def __init__(self, folder: Path) -> None:
        self.env = {"TEMPORAL_CONFIG_FILE": str(folder / "home" / "temporal.toml")}

    async def say(self, cloud: Cloud, *arguments: str) -> Any:
        where = ("--address", f"localhost:{cloud.api_port}", "--server-ca", str(cloud.server_ca_path))
        return await asyncio.to_thread(tacit, *arguments, *where, env=self.env)

    async def text(self, cloud: Cloud, *arguments: str) -> str:
        where = ("--address", f"localhost:{cloud.api_port}", "--server-ca", str(cloud.server_ca_path))
        done = await asyncio.to_thread(
            subprocess.run,
            [str(BIN / "tacit"), *arguments, *where],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=clean_environment() | self.env,
        )
        return f"{done.stdout}\n{done.stderr}"

    async def client(self, cloud: Cloud, namespace: str) -> Client:
        """A client that encrypts nothing."""
        profile = sdk.load_profile(
            "cloud", config_file=Path(self.env["TEMPORAL_CONFIG_FILE"]), environment={}
        )
        return await Client.connect(
            f"localhost:{cloud.api_port}",
            namespace=namespace,
            api_key=profile.connection.api_key,
            tls=TLSConfig(server_root_ca_cert=cloud.server_ca_path.read_bytes()),
        )


async def start(client: Client, number: int) -> None:
    await client.start_workflow("W", "readable", id=f"w{number}", task_queue="q", memo={"note": "readable"})


async def test_an_admin_sees_what_enforcing_would_refuse(tmp_path: Path) -> None:
    admin = Admin(tmp_path)
    async with running(tmp_path) as cloud:
        signup = ("signup", "--email", "ada@example.com", "--namespace", "orders")
        made = await admin.say(cloud, *signup, "--token-file", str(cloud.signup_token_path))
        namespace = made["namespace"]
        client = await admin.client(cloud, namespace)
        with pytest.raises(RPCError, match="tacit namespace guard orders"):
            await start(client, 0)
        await admin.say(cloud, "namespace", "update", "orders", "--guard", "observe")
        async with asyncio.timeout(20):
            while True:
                try:
                    await start(client, 1)
                    break
                except RPCError:  # until the change has come through
                    await asyncio.sleep(0.2)
        await start(client, 2)
        seen = await admin.say(cloud, "namespace", "guard", "orders")
        assert (seen["namespace"], seen["guard"], seen["days"]) == (namespace, "observe", 7)
        rows = {row["field"]: row for row in seen["fields"]}
        assert rows.keys() == {
            "StartWorkflowExecution: input.payloads",
            "StartWorkflowExecution: memo.fields",
        }
        for row in rows.values():
            assert row["observed"] == 2
            assert row["refused"] >= 1
        text = await admin.text(cloud, "namespace", "guard", "orders")
        assert "StartWorkflowExecution: input.payloads" in text
        assert "would refuse these calls" in " ".join(text.split())
        await start(client, 3)
    # What was counted last is there after a restart, too.
    async with running(tmp_path) as cloud:
        seen = await admin.say(cloud, "namespace", "guard", "orders", "--days", "1")
        assert {row["observed"] for row in seen["fields"]} == {3}


def context() -> CallContext:
    return CallContext(
        caller=Caller(kind=CallerKind.API_KEY, id="user:1"), deadline_s=None, metadata={}, peer=""
    )


async def test_what_the_method_refuses() -> None:
    async def read(namespaces: Any, since: Any) -> Any:
        assert namespaces == ["a.x", "b.x"]
        return ()

    answer = guard_findings_handler(read, lambda _: ["b.x", "a.x"], lambda: NOW)
    for days in (0, 91, 1.5, -1, float("nan"), float("inf")):
        request = Struct()
        request.update({"days": days})
        with pytest.raises(InvalidArgument):
            await answer(request, context())
    for names in ("text", [1], [""], ["n"] * 1_001):
        request = Struct()
        request.update({"namespaces": names})
        with pytest.raises(InvalidArgument):
            await answer(request, context())
    with pytest.raises(PermissionDenied):
        await answer(encode_request(days=7, namespaces=["a.x", "c.x"]), context())
    for request in (Struct(), encode_request(days=90, namespaces=["a.x", "b.x"])):
        response = await answer(request, context())
        assert isinstance(response, Struct)
        assert decode_response(response) == []


@pytest.mark.parametrize(
    "broken", [{}, {"rows": 1}, {"rows": [{"count": 1.5}]}, {"rows": [{"count": 1, "day": "x"}]}]
)
def test_answers_of_another_form(broken: dict[str, Any]) -> None:
    response = Struct()
    response.update(broken)
    with pytest.raises(ValueError, match=r"."):
        decode_response(response)


async def test_what_can_not_be_kept_waits_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    tenancy = await open_tenancy(f"sqlite:///{tmp_path / 'control.db'}", tmp_path / "key.pem")
    counts = GuardCounts()
    counting = GuardCounting(counts, tenancy.guard_counts, lambda: NOW)
    await counting.stop()
    counting.start()
    counting.start()
    counts.add("a.x", ["M: f"], Outcome.OBSERVED)
    keep = tenancy.guard_counts.add

    async def refuse(*_: Any) -> None:
        raise OSError(28, "full")

    tenancy.guard_counts.add = refuse  # type: ignore[method-assign, assignment]
    with capture_logs() as log:
        await counting.keep()
    assert [line["event"] for line in log] == ["guard_counts.not_kept"]
    tenancy.guard_counts.add = keep  # type: ignore[method-assign]
    counts.add("a.x", ["M: f"], Outcome.OBSERVED)
    first = await counting.read(["a.x"], NOW.date())
    assert [one.count for one in first] == [2]
    assert [one.count for one in decode_response(encode_response(first))] == [2]
    counts.add("a.x", ["M: f"], Outcome.OBSERVED)
    await counting.stop()
    await counting.stop()
    assert [one.count for one in await tenancy.guard_counts.read(["a.x"], NOW.date())] == [3]
    await tenancy.close()
