"""One plugin in a program that connects by itself: its client, workers, replayer, schedules, Nexus and standalone activities."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, WorkflowFailureError, WorkflowHistory
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    ExternalStorage,
)
from temporalio.worker import Replayer, Worker

import codec
import sdk
import sdk.testing
from codec import KeyRing, ObjectStoreDriver, create_key_ring
from sdk.settings import CodecSettings
from tests.canaries.canary import CANARIES
from tests.canaries.features import use_all
from tests.canaries.workflows import Errand, Everything
from tests.sdk.test_round_trip import payloads_of


@dataclass(frozen=True)
class Point:
    x: int
    y: int


class PointConverter(EncodingPayloadConverter):
    """A program's own kind of payload, as pydantic's converter is one."""

    @property
    def encoding(self) -> str:
        return "json/point"

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, Point):
            return None
        return Payload(
            metadata={"encoding": self.encoding.encode()}, data=f"{value.x},{value.y} a point".encode()
        )

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        x, y = payload.data.decode().removesuffix(" a point").split(",")
        return Point(int(x), int(y))


class ProgramsConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(PointConverter(), *DefaultPayloadConverter().converters.values())


@activity.defn
async def mirror(point: Point) -> Point:
    return Point(point.y, point.x)


@workflow.defn
class Mirror:
    @workflow.run
    async def run(self, point: Point) -> Point:
        return await workflow.execute_activity(mirror, point, start_to_close_timeout=timedelta(seconds=20))


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing.create("default", key_id="k1")


@pytest.fixture
def options(ring: KeyRing, tmp_path: Path) -> sdk.DataConverterOptions:
    return sdk.DataConverterOptions(
        namespace="default",
        key_ring=ring,
        object_store=(tmp_path / "objects").as_uri(),
        compression=False,
    )


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with sdk.testing.local() as plain:
        yield plain.service_client.config.target_host


async def test_one_line_encrypts_all_that_a_program_does(
    address: str, options: sdk.DataConverterOptions, tmp_path: Path
) -> None:
    client = await Client.connect(address, plugins=[sdk.TacitPlugin(converter=options)])
    run = await use_all(client)
    histories: list[WorkflowHistory] = []
    async for found in client.list_workflows():
        handle = client.get_workflow_handle(found.id, run_id=found.run_id)
        histories.append(WorkflowHistory.from_json(found.id, (await handle.fetch_history()).to_json()))
    assert len(histories) > 10, run.ids
    payloads = [one for history in histories for event in history.events for one in payloads_of(event)]
    readable = [one for one in payloads if not codec.is_encrypted(one)]
    for one in readable:
        # What the SDK's core notes of a local activity, in its own words: the id, type, attempt and times.
        assert one.metadata["encoding"] == b"json/plain"
        assert json.loads(one.data)["activity_type"] == "fetch_locally"
    stored = b"".join(event.SerializeToString() for history in histories for event in history.events)
    assert [place for secret, place in CANARIES.places.items() if secret.encode() in stored] == []
    assert any(path.is_file() for path in (tmp_path / "objects").rglob("*"))

    # And what was exported is replayed, in this process or in another that has the key.
    objects = {path for path in (tmp_path / "objects").rglob("*") if path.is_file()}
    replayer = Replayer(
        workflows=[Everything, Errand],
        plugins=[sdk.TacitPlugin(converter=options)],
        interceptors=run.worker().config(active_config=True)["interceptors"],
    )
    for history in histories:
        started = history.events[0].workflow_execution_started_event_attributes
        if started.workflow_type.name in ("Everything", "Errand"):
            await replayer.replay_workflow(history)
    assert {path for path in (tmp_path / "objects").rglob("*") if path.is_file()} == objects


async def test_replay_without_the_plugin_reads_nothing(
    address: str, options: sdk.DataConverterOptions
) -> None:
    client = await Client.connect(address, plugins=[sdk.TacitPlugin(converter=options)])
    queue = str(uuid.uuid4())
    async with Worker(client, task_queue=queue, workflows=[Errand]):
        handle = await client.start_workflow(Errand.run, args=["a", False], id=queue, task_queue=queue)
        await handle.result()
    history = await handle.fetch_history()
    with pytest.raises(Exception, match="binary/tacit-encrypted"):
        await Replayer(workflows=[Errand]).replay_workflow(history)
    other = sdk.DataConverterOptions(namespace="default", key_ring=KeyRing.create("default"))
    with pytest.raises(Exception, match="MissingKey"):
        await Replayer(workflows=[Errand], plugins=[sdk.TacitPlugin(converter=other)]).replay_workflow(
            history
        )


async def test_the_programs_payload_converter_stays(address: str, options: sdk.DataConverterOptions) -> None:
    client = await Client.connect(
        address,
        data_converter=DataConverter(payload_converter_class=ProgramsConverter),
        plugins=[sdk.TacitPlugin(converter=options)],
    )
    queue = str(uuid.uuid4())
    async with Worker(client, task_queue=queue, workflows=[Mirror], activities=[mirror]):
        handle = await client.start_workflow(Mirror.run, Point(1, 2), id=queue, task_queue=queue)
        assert await handle.result() == Point(2, 1)
    history = await handle.fetch_history()
    assert b"a point" not in b"".join(event.SerializeToString() for event in history.events)
    assert {one.metadata["encoding"] for event in history.events for one in payloads_of(event)} == {
        b"binary/tacit-encrypted"
    }


async def test_pydantics_converter_is_one_of_them(address: str, options: sdk.DataConverterOptions) -> None:
    pydantic = pytest.importorskip("temporalio.contrib.pydantic")
    client = await Client.connect(
        address,
        data_converter=pydantic.pydantic_data_converter,
        plugins=[sdk.TacitPlugin(converter=options)],
    )
    assert client.data_converter.payload_converter_class is pydantic.PydanticPayloadConverter
    [payload] = await client.data_converter.encode([uuid.UUID(int=7)])
    assert codec.is_encrypted(payload)
    assert await client.data_converter.decode([payload], [uuid.UUID]) == [uuid.UUID(int=7)]


async def test_what_does_not_go_together_is_refused(
    address: str, options: sdk.DataConverterOptions, tmp_path: Path
) -> None:
    class Telling(DefaultFailureConverter):
        pass

    plugin = sdk.TacitPlugin(converter=options)
    store = ExternalStorage(drivers=[ObjectStoreDriver(tmp_path.as_uri(), namespace="default")])
    for converter, sentence in (
        (DataConverter(payload_codec=codec.CompressionCodec()), "codec already .*CompressionCodec"),
        (DataConverter(failure_converter_class=Telling), "Telling, may leave messages"),
        (DataConverter(external_storage=store), "external storage already"),
    ):
        with pytest.raises(sdk.ProfileError, match=sentence):
            await Client.connect(address, data_converter=converter, plugins=[plugin])
        with pytest.raises(sdk.ProfileError, match=sentence):
            Replayer(workflows=[Errand], data_converter=converter, plugins=[plugin])
    plain = await Client.connect(address)
    with pytest.raises(sdk.ProfileError, match="given to a Worker whose Client is without it"):
        Worker(plain, task_queue="q", workflows=[Errand], plugins=[plugin])


async def test_a_client_made_of_anothers_configuration_is_encrypted_once(
    address: str, options: sdk.DataConverterOptions
) -> None:
    client = await Client.connect(address, plugins=[sdk.TacitPlugin(converter=options)])
    for config in (client.config(), client.config(active_config=True)):
        again = Client(**config)
        [payload] = await again.data_converter.encode(["a"])
        [inner] = await codec.EncryptionCodec(options.key_ring).decode([payload])  # type: ignore[arg-type]
        assert inner.metadata["encoding"] == b"json/plain"


async def test_what_was_put_into_such_a_configuration_is_looked_at(
    address: str, options: sdk.DataConverterOptions
) -> None:
    class Telling(DefaultFailureConverter):
        pass

    client = await Client.connect(address, plugins=[sdk.TacitPlugin(converter=options)])
    config = client.config(active_config=True)
    ours = config["data_converter"]
    config["data_converter"] = dataclasses.replace(ours, failure_converter_class=DefaultFailureConverter)
    failure = Failure()
    await Client(**config).data_converter.encode_failure(ValueError("secret"), failure)
    assert b"secret" not in failure.SerializeToString()
    config["data_converter"] = dataclasses.replace(ours, failure_converter_class=Telling)
    with pytest.raises(sdk.ProfileError, match="Telling, may leave messages"):
        Client(**config)


@workflow.defn
class Parent:
    """Starts itself as a child, with a summary that it writes for it."""

    @workflow.run
    async def run(self, child: str) -> None:
        if child:
            await workflow.execute_child_workflow(Parent.run, "", id=child, static_summary="for people")


async def test_what_a_parent_wrote_of_its_child_is_shown_where_payloads_are_bound(
    address: str, options: sdk.DataConverterOptions
) -> None:
    bound = dataclasses.replace(options, bind_workflow=True, refuse_unbound=True)
    client = await Client.connect(address, plugins=[sdk.TacitPlugin(converter=bound)])
    queue = f"q-{uuid.uuid4()}"
    async with Worker(client, task_queue=queue, workflows=[Parent]):
        await client.execute_workflow(Parent.run, f"{queue}-child", id=queue, task_queue=queue)
    described = await client.get_workflow_handle(f"{queue}-child").describe()
    assert await described.static_summary() == "for people"
    # By a client that was not told of parents it is a payload out of place.
    plain = await Client.connect(address, data_converter=sdk.data_converter(bound))
    described = await plain.get_workflow_handle(f"{queue}-child").describe()
    with pytest.raises(codec.MovedPayload):
        await described.static_summary()


async def test_by_profile(address: str, tmp_path: Path) -> None:
    """As a newcomer has it: a profile's name, or none; sdk.connect is the same plugin."""
    config = tmp_path / "temporal.toml"
    with pytest.raises(sdk.ProfileError, match="names no key ring"):
        sdk.TacitPlugin()
    create_key_ring(tmp_path / "ring.json", KeyRing.create("default", key_id="k7"))
    sdk.write_profile(
        config,
        "default",
        address=address,
        namespace="default",
        tls=False,
        codec=CodecSettings(key_ring=tmp_path / "ring.json"),
    )
    client = await Client.connect(address, plugins=[sdk.TacitPlugin()])
    connected = await sdk.connect()
    for one in (client, connected):
        [payload] = await one.data_converter.encode(["a"])
        assert payload.metadata["encryption-key-id"] == b"k7"
    assert await connected.data_converter.decode(await client.data_converter.encode(["a"])) == ["a"]
    with pytest.raises(sdk.ProfileError, match=r"`sdk\.connect` has the plugin in it already"):
        await sdk.connect(plugins=[sdk.TacitPlugin()])
    assert "k7" not in repr(sdk.TacitPlugin())


async def test_failures_are_encrypted(address: str, options: sdk.DataConverterOptions) -> None:
    client = await Client.connect(address, plugins=[sdk.TacitPlugin(converter=options)])
    queue = str(uuid.uuid4())
    async with Worker(client, task_queue=queue, workflows=[Errand]):
        handle = await client.start_workflow(Errand.run, args=["secret", True], id=queue, task_queue=queue)
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        assert "failed secret" in str(caught.value.cause)
    history = await handle.fetch_history()
    assert history.events[-1].workflow_execution_failed_event_attributes.failure.message == "Encoded failure"
