"""API keys of the service at the codec server: what their owners may there, they may here, and never more than the rules say."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from temporalio.api.cloud.cloudservice.v1 import request_response_pb2 as pb
from temporalio.api.cloud.identity.v1 import message_pb2 as identity_pb
from temporalio.service import TLSConfig

import sdk
from cloud.app.whole import Cloud
from cloud.cli.account_client import AccountClient, channel_to
from cloud.cli.codec_api_keys import REMEMBERED_S, ServiceKeys
from cloud.cli.usage_client import Connection
from cloud.settings import Settings
from codec.server.access import SERVICE_ISSUER, Access, Caller, Right, Rule
from codec.server.jwt_check import TokenRefused
from codec.server.protocol import Operation, Refusal
from tests.cloud.test_guard_findings import Admin

EVERYTHING = Rule(namespaces=frozenset({"*"}), rights=frozenset(Right), issuer=SERVICE_ISSUER, everyone=True)


@asynccontextmanager
async def a_cloud(folder: Path) -> AsyncIterator[Cloud]:
    cloud = Cloud(Settings(data=str(folder), mtls_port=0, api_port=0))
    with capture_logs():
        await cloud.start()
        try:
            yield cloud
        finally:
            await cloud.stop()


class Clock:
    now_s = 100.0


def may(caller: Caller, operation: Operation, namespace: str, *rules: Rule) -> bool:
    try:
        Access(rules or (EVERYTHING,)).check(caller, operation, namespace)
    except Refusal as refusal:
        return refusal.status != 403
    return True


def key_of_a_reader(connection: Connection, owner_key: str, namespace: str) -> str:
    """The API key of a new service account that may only read in `namespace`."""
    own = dataclasses.replace(connection, api_key=owner_key)
    with channel_to(own) as channel:
        client = AccountClient(channel, own)
        access = identity_pb.Access(
            account_access=identity_pb.AccountAccess(role=identity_pb.AccountAccess.ROLE_READ)
        )
        access.namespace_accesses[namespace].permission = identity_pb.NamespaceAccess.PERMISSION_READ
        account = pb.CreateServiceAccountRequest(
            spec=identity_pb.ServiceAccountSpec(name="viewer", access=access)
        )
        made = client.call("CreateServiceAccount", account)
        client.finished(made.async_operation)
        spec = identity_pb.ApiKeySpec(
            display_name="viewing",
            owner_id=made.service_account_id,
            owner_type=identity_pb.OWNER_TYPE_SERVICE_ACCOUNT,
        )
        spec.expiry_time.FromDatetime(datetime.now(UTC) + timedelta(days=1))
        key = client.call("CreateApiKey", pb.CreateApiKeyRequest(spec=spec))
        client.finished(key.async_operation)
        return str(key.token)


async def test_keys_prove_what_their_owners_may(tmp_path: Path) -> None:
    admin, stranger = Admin(tmp_path / "ada"), Admin(tmp_path / "eve")
    async with a_cloud(tmp_path) as cloud:
        names, keys = [], []
        for who, email, name in (
            (admin, "ada@acme.example", "orders"),
            (stranger, "eve@evil.example", "bait"),
        ):
            signup = (
                "signup",
                "--email",
                email,
                "--namespace",
                name,
                "--token-file",
                str(cloud.signup_token_path),
            )
            names.append((await who.say(cloud, *signup))["namespace"])
            config = Path(who.env["TEMPORAL_CONFIG_FILE"])
            keys.append(
                sdk.load_profile("cloud", config_file=config, environment={}).connection.api_key or ""
            )
        orders, bait = names
        tls = TLSConfig(server_root_ca_cert=cloud.server_ca_path.read_bytes())
        connection = Connection(address=f"localhost:{cloud.api_port}", tls=tls)
        Clock.now_s = 100.0
        service = ServiceKeys(connection, [orders, bait, "no.such"], clock=lambda: Clock.now_s)
        ada, eve = [await service.prove(key) for key in keys]
        assert ada.email == "ada@acme.example"
        assert ada.subject.startswith("user:")
        for operation in Operation:
            assert may(ada, operation, orders)
            assert not may(ada, operation, bait)
            assert not may(ada, operation, "no.such")
            # Whoever has an account of their own at the service is nobody in yours.
            assert not may(eve, operation, orders)
        only_bob = Rule(
            namespaces=frozenset({"*"}), rights=frozenset(Right), emails=frozenset({"bob@acme.example"})
        )
        assert not may(ada, Operation.DECODE, orders, only_bob)
        only_decode = Rule(namespaces=frozenset({orders}), rights=frozenset({Right.DECODE}), everyone=True)
        assert may(ada, Operation.DOWNLOAD, orders, only_decode)
        assert not may(ada, Operation.ENCODE, orders, only_decode)

        assert service.may_be(keys[0])
        head, body, signature = keys[0].split(".")
        for forged in (f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{keys[1].split('.')[1]}.{signature}"):
            assert service.may_be(forged)
            with pytest.raises(TokenRefused):
                await service.prove(forged)
        for other in ("", "x", "a.b.c", keys[0] * 10, "eyJhbGciOiJub25lIn0.e30."):
            assert not service.may_be(other)

        viewer = await service.prove(await asyncio.to_thread(key_of_a_reader, connection, keys[0], orders))
        assert viewer.subject.startswith("service-account:")
        assert may(viewer, Operation.DECODE, orders)
        assert not may(viewer, Operation.ENCODE, orders)

        # A key that is taken away counts for seconds more, and then no more.
        second = await admin.say(cloud, "apikey", "create", "--name", "second")
        assert may(await service.prove(second["api_key"]), Operation.DECODE, orders)
        await admin.say(cloud, "apikey", "disable", second["id"])
        assert may(await service.prove(second["api_key"]), Operation.DECODE, orders)
        Clock.now_s += REMEMBERED_S
        with pytest.raises(TokenRefused):
            await service.prove(second["api_key"])
    Clock.now_s += REMEMBERED_S
    with pytest.raises(Refusal) as caught:
        await service.prove(keys[0])
    assert caught.value.status == 503
    await service.close()
    await service.close()
