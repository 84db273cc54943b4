"""One sidecar and a service that takes ciphertext alone: routes, refusals, tasks that can't be decoded, who is let in."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.taskqueue.v1 import PollerInfo
from temporalio.api.update.v1 import Response
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.common import RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import codec
import sdk
from cloud.app.development import Development
from cloud.sidecar.audit import AuditLog
from cloud.sidecar.sidecar import Unknown
from codec.audit_trail import AuditFailed, Durability
from codec.proxy.payloads import PayloadChain
from tests.canaries.canary import CANARIES
from tests.canaries.features import use_all
from tests.sidecar.conftest import HOST, Proxy, Start

SHORT = timedelta(seconds=20)
MakeProfile = Callable[..., sdk.Profile]


@activity.defn
async def shout(word: str) -> str:
    if word == "fail":
        raise ApplicationError("secret failure", "secret detail", non_retryable=True)
    return word.upper()


@workflow.defn
class Shouter:
    def __init__(self) -> None:
        self._go = False

    @workflow.run
    async def run(self, word: str, wait: bool) -> str:
        if wait:
            await workflow.wait_condition(lambda: self._go)
        return await workflow.execute_activity(
            shout, word, start_to_close_timeout=SHORT, retry_policy=RetryPolicy(maximum_attempts=3)
        )

    @workflow.signal
    def go(self) -> None:
        self._go = True

    @workflow.query
    def ask(self, word: str) -> str:
        if word == "fail":
            raise ApplicationError("secret query failure")
        return word


def worker(client: Client, queue: str = "q", **options: object) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=[Shouter],
        activities=[shout],
        workflow_runner=UnsandboxedWorkflowRunner(),
        **options,  # type: ignore[arg-type]
    )


async def run_one(client: Client, word: str = "secret", queue: str = "q") -> str:
    return await client.execute_workflow(
        Shouter.run, args=[word, False], id=f"w-{uuid.uuid4()}", task_queue=queue
    )


async def status_of(calling: object) -> RPCError:
    with pytest.raises(RPCError) as refused:
        await calling  # type: ignore[misc]
    return refused.value


class TestTogether:
    async def test_a_worker_with_the_codec_reads_what_the_proxy_wrote(
        self, service: Development, make_profile: MakeProfile, proxy: Proxy
    ) -> None:
        profile = make_profile("direct", f"{HOST}:{service.port}")
        async with worker(await sdk.connect(profile)):
            assert await run_one(await proxy.connect()) == "SECRET"

    async def test_and_the_other_way_round(
        self, service: Development, make_profile: MakeProfile, proxy: Proxy
    ) -> None:
        direct = await sdk.connect(make_profile("direct", f"{HOST}:{service.port}"))
        async with worker(await proxy.connect()):
            assert await run_one(direct) == "SECRET"
            with pytest.raises(WorkflowFailureError) as failure:
                await run_one(direct, "fail")
        cause = failure.value.cause
        assert isinstance(cause, ActivityError)
        assert isinstance(cause.cause, ApplicationError)
        assert cause.cause.message == "secret failure"
        assert cause.cause.details == ("secret detail",)

    async def test_a_worker_with_the_codec_may_be_behind_the_proxy_too(
        self, make_profile: MakeProfile, proxy: Proxy
    ) -> None:
        """What it encrypted is not encrypted again."""
        behind = await sdk.connect(make_profile("behind", proxy.address))
        async with worker(behind):
            assert await run_one(behind) == "SECRET"
            assert await run_one(await proxy.connect()) == "SECRET"

    async def test_failures_and_queries_through_the_proxy(self, proxy: Proxy) -> None:
        client = await proxy.connect()
        async with worker(client):
            with pytest.raises(WorkflowFailureError) as failure:
                await run_one(client, "fail")
            cause = failure.value.cause
            assert isinstance(cause, ActivityError)
            assert isinstance(cause.cause, ApplicationError)
            assert cause.cause.message == "secret failure"
            assert cause.cause.failure is not None
            assert "in shout" in cause.cause.failure.stack_trace
            handle = await client.start_workflow(
                Shouter.run, args=["x", True], id=f"w-{uuid.uuid4()}", task_queue="q"
            )
            assert await handle.query(Shouter.ask, "secret word") == "secret word"
            with pytest.raises(WorkflowQueryFailedError, match="secret query failure"):
                await handle.query(Shouter.ask, "fail")
            await handle.signal(Shouter.go)
            assert await handle.result() == "X"
        assert not [method for method, message in proxy.sent if b"secret" in message]

    async def test_two_namespaces_with_rings_of_their_own(
        self, service: Development, make_profile: MakeProfile, start_proxy: Start, tmp_path: Path
    ) -> None:
        codec.create_key_ring(tmp_path / "other.json", codec.KeyRing.create("other"))
        address = f"{HOST}:{service.port}"
        proxy = await start_proxy(
            make_profile("a", address),
            make_profile("b", address, namespace="other", key_ring=tmp_path / "other.json"),
        )
        for namespace in ("default", "other"):
            client = await proxy.connect(namespace)
            async with worker(client):
                assert await run_one(client) == "SECRET"
        keys = {line["namespace"]: set(line["key_ids"]) for line in proxy.audited()}
        assert set(keys) == {"default", "other"}

    async def test_large_payloads_go_to_the_object_store(
        self, service: Development, make_profile: MakeProfile, start_proxy: Start, tmp_path: Path
    ) -> None:
        """Larger than the service takes, and than the SDK would send if it were not told that it may."""
        profile = make_profile(
            "default",
            f"{HOST}:{service.port}",
            object_store=(tmp_path / "objects").as_uri(),
            compression=False,
        )
        proxy = await start_proxy(profile)
        client, word = await proxy.connect(), "a" * 6_000_000
        async with worker(client):
            assert await run_one(client, word) == word.upper()
        assert max(len(message) for _, message in proxy.sent) < 100_000
        described = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace="default")
        )
        assert described.namespace_info.limits.blob_size_limit_error in (0, 64 * 1024 * 1024)

    async def test_a_rotated_key_counts_without_a_restart(
        self,
        service: Development,
        make_profile: MakeProfile,
        start_proxy: Start,
        ring: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setitem(codec.KeyRingFile.__init__.__kwdefaults__, "refresh_seconds", 0.0)
        proxy = await start_proxy(make_profile("default", f"{HOST}:{service.port}"))
        client = await proxy.connect()
        async with worker(client):
            await run_one(client)
            before = codec.load_key_ring(ring).active.id
            codec.update_key_ring(ring, lambda old: old.rotated())
            after = codec.load_key_ring(ring).active.id
            await run_one(client)
        assert before != after
        assert {key for line in proxy.audited() for key in line["key_ids"]} == {before, after}


class TestNames:
    async def test_workers_may_call_a_namespace_otherwise(
        self, service: Development, make_profile: MakeProfile, start_proxy: Start
    ) -> None:
        address = f"{HOST}:{service.port}"
        proxy = await start_proxy(
            make_profile("a", address),
            make_profile("b", address, namespace="other", local_namespace="orders"),
        )
        client = await proxy.connect("orders")
        async with worker(client):
            handle = await client.start_workflow(
                Shouter.run, args=["x", False], id=f"w-{uuid.uuid4()}", task_queue="q"
            )
            assert await handle.result() == "X"
        described = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace="orders")
        )
        assert described.namespace_info.name == "orders"
        direct = await sdk.connect(make_profile("direct", address, namespace="other"))
        assert await direct.get_workflow_handle(handle.id).result() == "X"
        assert (
            await status_of(run_one(await proxy.connect("other")))
        ).status is RPCStatusCode.PERMISSION_DENIED

    async def test_two_profiles_for_one_name_are_refused(
        self, service: Development, make_profile: MakeProfile, start_proxy: Start
    ) -> None:
        address = f"{HOST}:{service.port}"
        with pytest.raises(sdk.ProfileError, match="local-namespace"):
            await start_proxy(make_profile("a", address), make_profile("b", address))

    async def test_a_namespace_without_a_profile_is_refused(self, proxy: Proxy) -> None:
        refused = await status_of(run_one(await proxy.connect("other")))
        assert refused.status is RPCStatusCode.PERMISSION_DENIED
        assert "'other'" in refused.message
        assert not [method for method, _ in proxy.sent if method == "StartWorkflowExecution"]

    async def test_or_passes_as_it_is_if_that_is_wanted(
        self, service: Development, make_profile: MakeProfile, start_proxy: Start
    ) -> None:
        proxy = await start_proxy(
            make_profile("a", f"{HOST}:{service.port}"), unknown_namespaces=Unknown.PASS
        )
        # The service's own guard speaks here: what was sent was readable.
        refused = await status_of(run_one(await proxy.connect("other")))
        assert refused.status is RPCStatusCode.INVALID_ARGUMENT
        assert "encrypted payloads only" in refused.message

    async def test_payloads_of_no_namespace_are_refused(self, proxy: Proxy) -> None:
        from temporalio.api.nexus.v1 import EndpointSpec
        from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest

        client = await proxy.connect()
        spec = EndpointSpec(
            name="e", description=Payload(metadata={"encoding": b"json/plain"}, data=b'"secret"')
        )
        refused = await status_of(
            client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
        )
        assert refused.status is RPCStatusCode.FAILED_PRECONDITION

    async def test_fields_of_a_newer_protocol_are_refused(self, proxy: Proxy) -> None:
        client = await proxy.connect()
        request = StartWorkflowExecutionRequest.FromString(
            StartWorkflowExecutionRequest(namespace="default", workflow_id="w").SerializeToString()
            + b"\xfa\x3e\x06secret"
        )
        refused = await status_of(client.workflow_service.start_workflow_execution(request))
        assert "--unknown-fields pass" in refused.message or refused.status is RPCStatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize(
        "packed", [Response(meta={"update_id": "u"}), PollerInfo(identity="me")], ids=["payloads", "none"]
    )
    async def test_so_are_those_in_packed_messages(self, proxy: Proxy, packed: Message) -> None:
        client = await proxy.connect()
        request = RespondWorkflowTaskCompletedRequest(namespace="default", task_token=b"t")
        body = request.messages.add().body
        body.Pack(packed)
        body.value += b"\xfa\x3e\x06secret"
        refused = await status_of(client.workflow_service.respond_workflow_task_completed(request))
        assert refused.status is RPCStatusCode.INVALID_ARGUMENT
        assert "--unknown-fields pass" in refused.message
        assert not [method for method, message in proxy.sent if b"secret" in message]

    async def test_but_not_where_nothing_of_users_can_stand(self, proxy: Proxy) -> None:
        """Newer SDKs name their pollers in fields that are new to us."""
        client = await proxy.connect()
        request = DescribeNamespaceRequest.FromString(
            DescribeNamespaceRequest(namespace="default").SerializeToString() + b"\xfa\x3e\x06poller"
        )
        await client.workflow_service.describe_namespace(request)


async def _answered(handle: WorkflowHandle[Any, Any]) -> bool:
    """Whether a worker was given a workflow's task and answered it."""
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return any(event.event_type == completed for event in (await handle.fetch_history()).events)


class TestUndecodable:
    """What is written with a key that the proxy lacks: tasks fail, nothing is lost, and all goes on once the key is there."""

    @pytest.fixture
    async def stranger(self, service: Development, make_profile: MakeProfile, tmp_path: Path) -> Client:
        """A client with another ring of the same binding."""
        codec.create_key_ring(tmp_path / "theirs.json", codec.KeyRing.create("default"))
        return await sdk.connect(
            make_profile("theirs", f"{HOST}:{service.port}", key_ring=tmp_path / "theirs.json")
        )

    async def test_a_workflow_task_fails_and_is_tried_again(
        self, proxy: Proxy, stranger: Client, tmp_path: Path, ring: Path
    ) -> None:
        handle = await stranger.start_workflow(
            Shouter.run, args=["secret", False], id=f"w-{uuid.uuid4()}", task_queue="q"
        )
        async with worker(await proxy.connect()):
            await _until(lambda: proxy.sidecar.counts["tasks failed"] > 0)
            history = await handle.fetch_history()
            failed = [e for e in history.events if e.HasField("workflow_task_failed_event_attributes")]
            assert failed[0].workflow_task_failed_event_attributes.failure.message == "Encoded failure"
            assert (await handle.describe()).status.name == "RUNNING"  # type: ignore[union-attr]
            await _import(tmp_path / "theirs.json", ring)
            await _import(ring, tmp_path / "theirs.json")  # for the result, which the proxy encrypts
            assert await asyncio.wait_for(handle.result(), 60) == "SECRET"

    async def test_a_query_fails_and_tells_why(self, proxy: Proxy, stranger: Client) -> None:
        client = await proxy.connect()
        async with worker(client):
            handle = await client.start_workflow(
                Shouter.run, args=["x", True], id=f"w-{uuid.uuid4()}", task_queue="q"
            )
            await handle.query(Shouter.ask, "warm")
            with pytest.raises(WorkflowQueryFailedError):
                await asyncio.wait_for(stranger.get_workflow_handle(handle.id).query("ask", "secret"), 20)
            await handle.signal(Shouter.go)
            assert await handle.result() == "X"

    async def test_a_client_is_told_which_key_is_missing(self, proxy: Proxy, stranger: Client) -> None:
        async with worker(stranger):
            handle = await stranger.start_workflow(
                Shouter.run, args=["secret", False], id=f"w-{uuid.uuid4()}", task_queue="q"
            )
            await handle.result()
        through = (await proxy.connect()).get_workflow_handle(handle.id)
        refused = await status_of(through.result())
        assert refused.status is RPCStatusCode.FAILED_PRECONDITION
        assert "tacit keys import" in refused.message
        assert "secret" not in refused.message.lower()

    async def test_an_activity_fails_and_is_tried_again(
        self, proxy: Proxy, stranger: Client, tmp_path: Path, ring: Path
    ) -> None:
        async with worker(stranger, disable_eager_activity_execution=True, no_remote_activities=True):
            handle = await stranger.start_workflow(
                Shouter.run, args=["secret", False], id=f"w-{uuid.uuid4()}", task_queue="q"
            )
            activities = Worker(await proxy.connect(), task_queue="q", activities=[shout])
            async with activities:
                await _until(lambda: proxy.sidecar.counts["tasks failed"] > 0)
                await _import(tmp_path / "theirs.json", ring)
                # The result is encrypted with the proxy's own key, which the stranger lacks.
                await _import(ring, tmp_path / "theirs.json")
                assert await asyncio.wait_for(handle.result(), 60) == "SECRET"


class TestAnswersThatCanNotBeEncoded:
    async def test_the_workflow_task_fails(self, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
        client = await proxy.connect()
        real = PayloadChain.encode
        broken = True

        async def encode(chain: PayloadChain, payloads: Sequence[Payload]) -> list[Payload]:
            if broken and any(b"WordThatBreaks" in one.data for one in payloads):
                raise codec.DisabledKey("k", ring="the ring")
            return await real(chain, payloads)

        async with worker(client):
            handle = await client.start_workflow(
                Shouter.run, args=["WordThatBreaks", True], id=f"w-{uuid.uuid4()}", task_queue="q"
            )
            monkeypatch.setattr(PayloadChain, "encode", encode)
            await handle.signal(Shouter.go)
            await _until(lambda: any(method == "RespondWorkflowTaskFailed" for method, _ in proxy.sent))
            broken = False
            assert await asyncio.wait_for(handle.result(), 60) == "WORDTHATBREAKS"


class TestAudit:
    async def test_a_line_for_each_batch_and_no_content(self, proxy: Proxy, ring: Path) -> None:
        client = await proxy.connect(identity="me@here")
        async with worker(client):
            await run_one(client)
        lines = proxy.audited()
        assert {line["method"] for line in lines} >= {"PollWorkflowTaskQueue", "GetWorkflowExecutionHistory"}
        assert any(line["identity"] == "me@here" for line in lines)
        assert {key for line in lines for key in line["key_ids"]} == {codec.load_key_ring(ring).active.id}
        assert all(line["payloads"] > 0 and line["peer"].startswith("ipv4:") for line in lines)
        assert "secret" not in proxy.audit.getvalue().lower()

    async def test_what_can_not_be_written_down_is_not_handed_out(
        self, service: Development, make_profile: MakeProfile, start_proxy: Start
    ) -> None:
        class Full(AuditLog):
            async def decoded(self, **_: object) -> None:
                raise AuditFailed("no space left")

        proxy = await start_proxy(make_profile("default", f"{HOST}:{service.port}"), audit=Full(None))
        client = await proxy.connect()
        async with worker(client):
            handle = await client.start_workflow(
                Shouter.run, args=["secret", False], id=f"w-{uuid.uuid4()}", task_queue="q"
            )
            await _until(lambda: proxy.sidecar.counts["tasks failed"] > 0)
            await handle.terminate()
        # Asked directly: through the proxy a history can't be had either.
        direct = await Client.connect(f"{HOST}:{service.port}")
        assert not await _answered(direct.get_workflow_handle(handle.id))

    @pytest.mark.parametrize("durability", list(Durability))
    async def test_the_file_is_its_owners_alone(self, tmp_path: Path, durability: Durability) -> None:
        path = tmp_path / "audit.jsonl"
        log = AuditLog(path, durability=durability)
        await log.decoded(namespace="n", method="m", payloads=1, key_ids=["k"], identity="i", peer="p")
        assert b'"key_ids":["k"]' in path.read_bytes()
        await log.close()
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o644)
        with pytest.raises(PermissionError):
            AuditLog(path)


class TestWhoIsLetIn:
    async def test_a_token(self, service: Development, make_profile: MakeProfile, start_proxy: Start) -> None:
        proxy = await start_proxy(make_profile("default", f"{HOST}:{service.port}"), token="open-sesame")
        with pytest.raises(RuntimeError, match="asks for a token"):
            await proxy.connect()
        with pytest.raises(RuntimeError, match="asks for a token"):
            await proxy.connect(api_key="wrong", tls=False)
        client = await proxy.connect(api_key="open-sesame", tls=False)
        async with worker(client):
            assert await run_one(client) == "SECRET"

    async def test_the_service_gets_no_credentials_of_workers(self, proxy: Proxy) -> None:
        shown: list[tuple[tuple[str, str], ...]] = []
        upstream = proxy.routes.first.upstream
        real = upstream._channel.call

        async def call(
            path: str,
            message: bytes,
            metadata: tuple[tuple[str, str], ...],
            timeout: float,
            **options: bool,
        ) -> bytes:
            shown.append(metadata)
            return await real(path, message, metadata, timeout, **options)

        upstream._channel.call = call  # type: ignore[method-assign,assignment]
        client = await proxy.connect(api_key="a-workers-key", tls=False)
        await status_of(client.get_workflow_handle("none").describe())
        names = {name for metadata in shown for name, _ in metadata}
        assert "temporal-namespace" in names
        assert "client-name" in names
        assert "authorization" not in names

    async def test_the_end_of_a_call_is_the_end_of_that_to_the_service(
        self, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One timer, the worker's side's, ends both."""
        client = await proxy.connect()
        [line] = proxy.routes.first.upstream._channel._lines
        monkeypatch.setattr(line.connection, "receive", lambda data: None)  # the service falls silent
        describing = client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace="default"), timeout=timedelta(seconds=0.5)
        )
        ended = await status_of(describing)
        assert ended.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
        await _until(lambda: not line.connection.streams)


async def _until(holds: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.02)


async def _import(source: Path, target: Path) -> None:
    """Give `target` all keys of `source`, to read with."""
    for key in codec.load_key_ring(source).keys:
        if codec.load_key_ring(target).find(key.id) is None:
            codec.update_key_ring(target, lambda ring, key=key: ring.with_key(key))


class TestWhosePayloadsTheyAre:
    """Profiles that bind payloads to workflows: the sidecar tells its codecs what SDKs tell theirs."""

    @pytest.mark.slow
    async def test_every_feature_with_payloads_bound_and_unbound_ones_refused(
        self, service: Development, make_profile: MakeProfile, start_proxy: Start, tmp_path: Path
    ) -> None:
        proxy = await start_proxy(
            make_profile(
                "bound",
                f"{HOST}:{service.port}",
                bind_workflow=True,
                object_store=(tmp_path / "objects").as_uri(),
            )
        )
        CANARIES.places.clear()
        await use_all(await proxy.connect())
        for method, message in proxy.sent:
            assert not [place for secret, place in CANARIES.places.items() if secret.encode() in message], (
                method
            )

    async def test_both_sides_read_what_the_other_has_bound(
        self, service: Development, make_profile: MakeProfile, start_proxy: Start
    ) -> None:
        address = f"{HOST}:{service.port}"
        strict = {"bind_workflow": True, "refuse_unbound": True}
        proxy = await start_proxy(make_profile("proxy", address, **strict))
        direct = await sdk.connect(make_profile("direct", address, **strict))
        behind = await proxy.connect()
        async with worker(behind):
            assert await run_one(direct) == "SECRET"
            assert await run_one(behind) == "SECRET"
        async with worker(direct):
            assert await run_one(behind) == "SECRET"
            with pytest.raises(WorkflowFailureError):
                await run_one(behind, "fail")

    async def test_a_payload_of_another_workflow_is_found_out(
        self, service: Development, make_profile: MakeProfile, start_proxy: Start
    ) -> None:
        address = f"{HOST}:{service.port}"
        proxy = await start_proxy(make_profile("proxy", address, bind_workflow=True))
        direct = await Client.connect(address)
        behind = await proxy.connect()
        first = await behind.start_workflow(
            Shouter.run, args=["secret", True], id=f"w-{uuid.uuid4()}", task_queue="none"
        )
        history = await direct.get_workflow_handle(first.id).fetch_history()
        stolen = history.events[0].workflow_execution_started_event_attributes.input
        await direct.workflow_service.start_workflow_execution(
            StartWorkflowExecutionRequest(
                namespace="default",
                workflow_id="another",
                workflow_type={"name": "Shouter"},
                task_queue={"name": "q"},
                request_id=str(uuid.uuid4()),
                input=stolen,
            )
        )
        async with worker(behind):
            await _until(lambda: proxy.sidecar.counts["tasks failed"] > 0)
        another = direct.get_workflow_handle("another")
        await another.terminate()
        assert not await _answered(another)


class TestBlindIndex:
    async def test_search_attributes_are_hashed_and_found(
        self, service: Development, make_profile: MakeProfile, start_proxy: Start
    ) -> None:
        await service.cell.ensure_search_attributes("default", {"Customer": 2})
        address = f"{HOST}:{service.port}"
        proxy = await start_proxy(make_profile("default", address, blind_index=("Customer",)))
        client = await proxy.connect()
        customer = SearchAttributeKey.for_keyword("Customer")
        async with worker(client):
            handle = await client.start_workflow(
                Shouter.run,
                args=["x", False],
                id=f"w-{uuid.uuid4()}",
                task_queue="q",
                search_attributes=TypedSearchAttributes([SearchAttributePair(customer, "secret")]),
            )
            await handle.result()
        assert (await handle.describe()).typed_search_attributes[customer] == "secret"
        found = [one.id async for one in client.list_workflows("Customer = 'secret'")]
        assert found == [handle.id]
        for method, message in proxy.sent:
            assert b"secret" not in message, method
