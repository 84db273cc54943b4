"""Keys from a key service, from the environment and per subject, as profiles name them, with a worker on the real server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import Worker

import sdk
import sdk.converter
from codec import (
    EnvelopeBounds,
    EnvelopeKeys,
    ForgottenSubject,
    KeyRing,
    KeyRingError,
    KeyServiceError,
    KeyServiceUnavailable,
    Patience,
    create_key_ring,
    ring_to_json,
)
from tests.codec.key_services import MemoryKeyService
from tests.openbao import TOKEN, Bao, bao_server
from tests.sdk.key_workflows import Child, Parent, shout
from tests.sdk.test_round_trip import payloads_of

SECRET = "correct horse battery staple"


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with bao_server(tmp_path_factory.mktemp("bao")) as server:
        yield server


class Setting:
    """A profile for the real server, with these settings."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.config = folder / "temporal.toml"
        self.config.write_text(f'[profile.default]\naddress = "{address}"\nnamespace = "default"\n')

    def write(self, **settings: object) -> None:
        lines = [f"{name.replace('_', '-')} = {self._toml(value)}" for name, value in settings.items()]
        (self.folder / "tacit.toml").write_text("\n".join(["version = 1", "[profile.default]", *lines]))

    @staticmethod
    def _toml(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else repr(value)

    async def connect(self) -> Client:
        return await sdk.connect(config_file=self.config)


@pytest.fixture
def setting(tmp_path: Path, temporal_address: str, monkeypatch: pytest.MonkeyPatch) -> Setting:
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    for name in ("VAULT_ADDR", "VAULT_NAMESPACE", "VAULT_CACERT", "TACIT_KEY_RING", "TACIT_KEY_RING_FILE"):
        monkeypatch.delenv(name, raising=False)
    return Setting(tmp_path, temporal_address)


def working(client: Client, queue: str) -> AbstractAsyncContextManager[Any]:
    return Worker(
        client, task_queue=queue, workflows=[Parent, Child], activities=[shout], max_cached_workflows=0
    )


async def run(client: Client, workflow_id: str, child: str, *, again: bool = False) -> str:
    queue = f"q-{uuid.uuid4()}"
    async with working(client, queue):
        return await client.execute_workflow(
            Parent.run, args=[SECRET, child, again], id=workflow_id, task_queue=queue
        )


async def key_ids(client: Client, workflow_id: str) -> set[str]:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    stored = b"".join(event.SerializeToString() for event in history.events)
    assert SECRET.encode() not in stored
    assert SECRET.upper().encode() not in stored
    found = [payload for event in history.events for payload in payloads_of(event)]
    return {payload.metadata["encryption-key-id"].decode() for payload in found}


def name() -> str:
    return f"w-{uuid.uuid4()}"


async def test_a_key_service(setting: Setting, bao: Bao) -> None:
    setting.write(key_provider=bao.url("orders"))
    client, one = await setting.connect(), name()
    assert await run(client, one, f"{one}-child") == SECRET.upper()
    assert await key_ids(client, one) == {"vault-transit:transit/orders"}
    elsewhere = await setting.connect()
    assert await elsewhere.get_workflow_handle(one).result() == SECRET.upper()


async def test_from_a_key_ring_to_a_key_service_and_back(setting: Setting, bao: Bao) -> None:
    ring = setting.folder / "ring.json"
    create_key_ring(ring, KeyRing.create("default", key_id="k1"))
    ids = [name() for _ in range(3)]
    setting.write(key_ring=str(ring))
    await run(await setting.connect(), ids[0], f"{ids[0]}-child")
    setting.write(key_ring=str(ring), key_provider=bao.url("orders"))
    await run(await setting.connect(), ids[1], f"{ids[1]}-child")
    setting.write(key_ring=str(ring), key_provider_also=[bao.url("billing"), bao.url("orders")])
    client = await setting.connect()
    await run(client, ids[2], f"{ids[2]}-child")
    assert [await key_ids(client, one) for one in ids] == [{"k1"}, {"vault-transit:transit/orders"}, {"k1"}]
    for one in ids:
        assert await client.get_workflow_handle(one).result() == SECRET.upper()


@pytest.mark.parametrize("variable", ["TACIT_KEY_RING", "TACIT_KEY_RING_FILE", "ORDERS_KEYS"])
async def test_the_environment(setting: Setting, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    content = ring_to_json(KeyRing.create("default", key_id="from-environment"))
    mounted = setting.folder / "mounted"
    mounted.write_bytes(content)
    monkeypatch.setenv(variable, str(mounted) if variable.endswith("_FILE") else content.decode())
    if variable == "ORDERS_KEYS":
        setting.write(key_provider="env:ORDERS_KEYS")
    client, one = await setting.connect(), name()
    assert await run(client, one, f"{one}-child") == SECRET.upper()
    assert await key_ids(client, one) == {"from-environment"}


@pytest.mark.parametrize("provider", ["ring", "service"])
async def test_forgetting_one_customer(setting: Setting, bao: Bao, provider: str) -> None:
    ring, run_of = setting.folder / "ring.json", uuid.uuid4().hex[:8]
    create_key_ring(ring, KeyRing.create("default", key_id="k1"))
    base = {"key_ring": str(ring)} if provider == "ring" else {"key_provider": bao.url("orders")}
    setting.write(
        **base, subject_keys=f"file://{setting.folder}/subjects", subject=f"({run_of}-customer-[0-9]+)-"
    )
    client = await setting.connect()
    first, second = f"{run_of}-customer-1-a", f"{run_of}-customer-2-a"
    # Each is the parent of a child of the other customer, and continues as new.
    assert await run(client, first, f"{run_of}-customer-2-child", again=True) == SECRET.upper()
    assert await run(client, second, f"{run_of}-customer-2-b", again=True) == SECRET.upper()
    used = await key_ids(client, second)
    assert len(used) == 1
    assert used.pop().startswith("subject/")
    assert len(await key_ids(client, first)) == 2

    source = sdk.converter.options_of(sdk.load_profile(config_file=setting.config)).key_ring
    assert isinstance(source, sdk.KeySource)
    await source.open_subject_keys().forget(f"{run_of}-customer-1")
    later = await setting.connect()
    assert await later.get_workflow_handle(second).result() == SECRET.upper()
    with pytest.raises(ForgottenSubject):
        await later.get_workflow_handle(first).result()
    with pytest.raises(ForgottenSubject):
        await run(later, first + "-new", f"{run_of}-customer-2-c")


async def test_an_outage_fails_tasks_and_no_workflow(temporal_address: str) -> None:
    service = MemoryKeyService()

    async def connected() -> Client:
        keys = EnvelopeKeys(
            service,
            binding="default",
            bounds=EnvelopeBounds(grace_seconds=0),
            patience=Patience(attempt_seconds=0.2, attempts=2, total_seconds=0.4),
        )
        options = sdk.DataConverterOptions(namespace="default", key_ring=keys)
        return await Client.connect(temporal_address, data_converter=sdk.data_converter(options))

    client, one = await connected(), name()
    handle = await client.start_workflow(
        Parent.run, args=[SECRET, f"{one}-child", False], id=one, task_queue=one
    )
    service.down = KeyServiceUnavailable("memory:orders", "is down")
    async with working(await connected(), one):
        async with asyncio.timeout(30):
            while not any(
                event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
                for event in (await handle.fetch_history()).events
            ):
                await asyncio.sleep(0.1)
        failed = next(
            event.workflow_task_failed_event_attributes.failure.message
            for event in (await handle.fetch_history()).events
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        )
        assert "The key service memory:orders is down" in failed
        service.down = None
        async with asyncio.timeout(60):
            assert await handle.result() == SECRET.upper()


async def test_what_is_wrong_is_said_when_connecting(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.write(key_provider="aws:alias/x")
    with pytest.raises(
        KeyServiceError, match=r"Profile 'default' can't be used. 'aws:alias/x' names no key service"
    ):
        await setting.connect()
    setting.write(key_provider="env")
    with pytest.raises(KeyRingError, match=r"Profile 'default' can't be used. Neither TACIT_KEY_RING"):
        await setting.connect()
    setting.write(key_provider="vault-transit:transit/x?address=http://127.0.0.1:1", subject="(")
    with pytest.raises(sdk.ProfileError, match='subject must be "workflow" or a regular expression'):
        await setting.connect()
    setting.write()
    with pytest.raises(sdk.ProfileError, match=r"names no key ring.*key-provider"):
        await setting.connect()


async def test_a_service_that_refuses_is_told_to_the_caller(
    setting: Setting, bao: Bao, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "no such token")
    setting.write(key_provider=bao.url("orders"))
    client = await setting.connect()
    with pytest.raises(KeyServiceError, match=r"refuses \(Forbidden\)"):
        await client.start_workflow(Parent.run, args=[SECRET, "x", False], id=name(), task_queue="q")
