"""Search for exact values on a service that cannot read them, from a client and from workflows, on ours and on the real server."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.api.batch.v1 import BatchOperationTermination
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeBatchOperationRequest,
    ListWorkflowExecutionsRequest,
    StartBatchOperationRequest,
)
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowExecutionStatus,
    WorkflowHistory,
)
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError
from temporalio.worker import Replayer, Worker
from typer.testing import CliRunner

import sdk
import sdk.testing
from codec import KeyRing, create_key_ring
from codec.blind_index import MARK, BlindIndexError

CUSTOMER = SearchAttributeKey.for_keyword("CustomerId")
TAGS = SearchAttributeKey.for_keyword_list("Tags")
OPEN = SearchAttributeKey.for_keyword("Region")
ATTRIBUTES = {
    "CustomerId": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "Tags": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "Region": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
}
SECONDS_MAX = 15.0


@workflow.defn
class Order:
    """Sees its attributes as they were given, and sets others."""

    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self, customer: str, child: bool) -> list[str]:
        seen = workflow.info().typed_search_attributes.get(CUSTOMER, "")
        workflow.upsert_search_attributes([CUSTOMER.value_set(customer), TAGS.value_set(["new", customer])])
        told = [seen, workflow.info().typed_search_attributes[CUSTOMER]]
        if child:
            told += await workflow.execute_child_workflow(
                Order.run,
                args=[f"{customer} child", False],
                id=f"{workflow.info().workflow_id}-child",
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(CUSTOMER, f"{customer} for child")]
                ),
            )
            await workflow.wait_condition(lambda: self.done)
        return told

    @workflow.signal
    def finish(self) -> None:
        self.done = True


def options(ring: KeyRing) -> sdk.DataConverterOptions:
    return sdk.DataConverterOptions(namespace="default", key_ring=ring, blind_index=("CustomerId", "Tags"))


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing.create("default", key_id="k1")


@pytest.fixture(params=["tacit", "temporal"])
async def address(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    if request.param == "tacit":
        async with sdk.testing.local(search_attributes=ATTRIBUTES) as plain:
            yield plain.service_client.config.target_host
        return
    there = str(request.getfixturevalue("temporal_address"))
    plain = await Client.connect(there)
    for name, kind in ATTRIBUTES.items():
        try:
            await plain.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace="default", search_attributes={name: kind})
            )
        except RPCError as error:
            if "already exist" not in error.message:
                raise
    yield there


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Lists follow what happened a little later, as with any Temporal."""
    async with asyncio.timeout(SECONDS_MAX):
        while not await check():
            await asyncio.sleep(0.1)


async def ids(client: Client, query: str) -> set[str]:
    return {found.id async for found in client.list_workflows(query)}


async def test_the_service_finds_what_it_cannot_read(address: str, ring: KeyRing) -> None:
    client = await Client.connect(address, plugins=[sdk.TacitPlugin(converter=options(ring))])
    plain = await Client.connect(address)
    queue = str(uuid.uuid4())
    first, later = f"first-{queue}", f'it\'s "later" {queue}'
    async with Worker(client, task_queue=queue, workflows=[Order]):
        handle = await client.start_workflow(
            Order.run,
            args=[later, True],
            id=queue,
            task_queue=queue,
            search_attributes=TypedSearchAttributes(
                [SearchAttributePair(CUSTOMER, first), SearchAttributePair(OPEN, "north")]
            ),
        )
        quoted = later.replace("'", "''")
        await eventually(lambda: _is(ids(client, f"CustomerId = '{quoted}'"), {queue}))
        await handle.signal(Order.finish)
        told = await handle.result()
    assert told == [first, later, f"{later} for child", f"{later} child"]
    await eventually(lambda: _is(ids(client, f"CustomerId = '{quoted} child'"), {f"{queue}-child"}))
    for query, wanted in {
        f"CustomerId IN ('nobody', '{quoted}', '{quoted} child')": {queue, f"{queue}-child"},
        f"CustomerId = '{quoted}' AND Region = 'north'": {queue},
        f"Tags = '{quoted}'": {queue},
        f"Tags IN ('new') AND CustomerId != '{quoted}' AND TaskQueue = '{queue}'": {f"{queue}-child"},
        f"CustomerId = '{first}'": set(),
        f"CustomerId IS NULL AND TaskQueue = '{queue}'": set(),
    }.items():
        assert await ids(client, query) == wanted, query
    assert (await client.count_workflows(f"CustomerId = '{quoted}'")).count == 1
    assert await ids(plain, f"CustomerId = '{quoted}'") == set()
    with pytest.raises(BlindIndexError, match="with STARTS_WITH"):
        await client.count_workflows("CustomerId STARTS_WITH 'first'")

    # What comes back is readable here, and is nowhere in what the service has.
    described = await handle.describe()
    assert described.typed_search_attributes[CUSTOMER] == later
    assert described.typed_search_attributes[TAGS] == ["new", later]
    assert described.typed_search_attributes[OPEN] == "north"
    raw = await plain.workflow_service.list_workflow_executions(
        ListWorkflowExecutionsRequest(namespace="default", query=f"TaskQueue = '{queue}'")
    )
    stored = raw.SerializeToString() + b"".join(
        event.SerializeToString() for event in (await plain.get_workflow_handle(queue).fetch_history()).events
    )
    assert b"first-" not in stored
    assert b"later" not in stored
    assert b'"north"' in stored
    assert MARK.encode() in stored

    # Both forms of its history are replayed: as the service has it, and as this client reads it.
    for history in (await plain.get_workflow_handle(queue).fetch_history(), await handle.fetch_history()):
        exported = WorkflowHistory.from_json(queue, history.to_json())
        replayer = Replayer(workflows=[Order], plugins=[sdk.TacitPlugin(converter=options(ring))])
        await replayer.replay_workflow(exported)


async def _is(found: Awaitable[set[str]], wanted: set[str]) -> bool:
    return await found == wanted


async def test_rotation_keeps_what_was_written_before(address: str, ring: KeyRing) -> None:
    queue = str(uuid.uuid4())
    customer = f"customer-{queue}"
    attributes = TypedSearchAttributes([SearchAttributePair(CUSTOMER, customer)])
    rotated = ring.rotated(key_id="k2")
    for number, one in enumerate((ring, rotated)):
        client = await Client.connect(address, plugins=[sdk.TacitPlugin(converter=options(one))])
        await client.start_workflow(
            "Order", args=["a", False], id=f"{queue}-{number}", task_queue=queue, search_attributes=attributes
        )
    client = await Client.connect(address, plugins=[sdk.TacitPlugin(converter=options(rotated))])
    both = {f"{queue}-0", f"{queue}-1"}
    await eventually(lambda: _is(ids(client, f"CustomerId = '{customer}'"), both))
    shown = [
        found.typed_search_attributes[CUSTOMER]
        async for found in client.list_workflows(f"TaskQueue = '{queue}'")
    ]
    assert shown == [customer, customer]

    # Batch operations take filters, too, here by the raw call.
    job = str(uuid.uuid4())
    service = client.workflow_service
    request = StartBatchOperationRequest(
        namespace="default",
        job_id=job,
        reason="end",
        visibility_query=f"CustomerId = '{customer}'",
        termination_operation=BatchOperationTermination(),
    )
    await service.start_batch_operation(request)
    assert request.visibility_query == f"CustomerId = '{customer}'"

    async def ended() -> bool:
        return {(await client.get_workflow_handle(one).describe()).status for one in both} == {
            WorkflowExecutionStatus.TERMINATED
        }

    await eventually(ended)

    async def counted() -> bool:  # the real server counts a little later
        described = await service.describe_batch_operation(
            DescribeBatchOperationRequest(namespace="default", job_id=job)
        )
        return described.total_operation_count == 2

    await eventually(counted)


async def test_schedules(address: str, ring: KeyRing) -> None:
    client = await Client.connect(address, plugins=[sdk.TacitPlugin(converter=options(ring))])
    plain = await Client.connect(address)
    queue = str(uuid.uuid4())
    customer = f"customer-{queue}"
    attributes = TypedSearchAttributes([SearchAttributePair(CUSTOMER, customer)])
    handle = await client.create_schedule(
        queue,
        Schedule(
            action=ScheduleActionStartWorkflow(
                "Order",
                args=["a", False],
                id=queue,
                task_queue=queue,
                typed_search_attributes=attributes,
            ),
            spec=ScheduleSpec(),
        ),
        search_attributes=attributes,
        trigger_immediately=True,
    )

    async def listed() -> bool:
        return [one.id async for one in await client.list_schedules(f"CustomerId = '{customer}'")] == [queue]

    await eventually(listed)

    async def started() -> bool:
        return bool(await ids(client, f"CustomerId = '{customer}'"))

    await eventually(started)
    described = await handle.describe()
    assert described.typed_search_attributes[CUSTOMER] == customer
    action = described.schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    assert action.typed_search_attributes[CUSTOMER] == customer
    raw = await plain.get_schedule_handle(queue).describe()
    assert customer.encode() not in raw.raw_description.SerializeToString()
    await handle.delete()


async def test_needs_a_ring_of_its_own_where_there_is_no_other(tmp_path: Path, ring: KeyRing) -> None:
    def made(**more: object) -> sdk.TacitPlugin:
        base = {"namespace": "default", "key_ring": None, "blind_index": ("CustomerId",)}
        return sdk.TacitPlugin(converter=sdk.DataConverterOptions(**{**base, **more}))  # type: ignore[arg-type]

    with pytest.raises(sdk.ProfileError, match="set blind-index-key-ring"):
        made()
    made(blind_index_key_ring=ring)
    with pytest.raises(BlindIndexError, match="service's own attribute"):
        made(key_ring=ring, blind_index=("WorkflowType",))
    config = tmp_path / "temporal.toml"
    sdk.write_profile(
        config,
        "default",
        address="localhost:1",
        namespace="default",
        tls=False,
        codec=sdk.CodecSettings(
            encryption=sdk.Encryption.OFF,
            blind_index=("CustomerId",),
            blind_index_key_ring=tmp_path / "none.json",
        ),
    )
    with pytest.raises(sdk.KeyRingError, match=r"none\.json"):
        sdk.TacitPlugin(config_file=config)


def test_the_command_translates_for_other_programs(tmp_path: Path) -> None:
    # Not above: this module is loaded in the workflows' sandbox, too.
    from cloud.cli.codec_commands import app

    config = tmp_path / "temporal.toml"
    create_key_ring(tmp_path / "ring.json", KeyRing.create("default"))
    for name, attributes in (("default", ("CustomerId",)), ("plain", ())):
        sdk.write_profile(
            config,
            name,
            address="localhost:1",
            namespace="default",
            tls=False,
            codec=sdk.CodecSettings(key_ring=tmp_path / "ring.json", blind_index=attributes),
        )

    def run(*words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["filter", *words], env={"TEMPORAL_CONFIG_FILE": str(config)})
        return done.exit_code, done.stdout, done.stderr

    code, out, _ = run("CustomerId = 'a' AND X = 1")
    assert code == 0
    assert out.startswith(f"CustomerId = '{MARK}")
    assert out.endswith("' AND X = 1\n")
    assert json.loads(run("CustomerId = 'a'", "-o", "json")[1])["filter"] + " AND X = 1\n" == out
    assert run("CustomerId > 'a'")[0] == 1
    for unchanged, told in (("Customer = 'a'", True), ("`CustomerId` IS NULL", False)):
        code, out, err = run(unchanged)
        assert (code, out) == (0, f"{unchanged}\n")
        assert ("search attribute of blind-index (CustomerId)" in " ".join(err.split())) is told
    assert run("CustomerId = 'a'", "--profile", "plain")[0] == 2
