"""CloudService on namespaces, by its handlers."""

import asyncio
import base64
from datetime import timedelta

import pytest
from temporalio.api.cloud.namespace.v1 import message_pb2 as namespace_pb
from temporalio.api.cloud.operation.v1 import message_pb2 as operation_pb
from temporalio.api.cloud.resource.v1 import message_pb2 as resource_pb
from temporalio.api.enums.v1 import IndexedValueType

from cloud.controlplane import provisioning
from cloud.rpc import (
    Aborted,
    AlreadyExists,
    CallContext,
    Caller,
    CallerKind,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from tenancy.access import GuardMode, NotAllowed
from tests.tenancy.certificates_made import NOW, make

from .conftest import Customer, Plane, until

Spec = namespace_pb.NamespaceSpec
CA = make("acme-ca", ca=True)
FULFILLED = operation_pb.AsyncOperation.STATE_FULFILLED
IN_PROGRESS = operation_pb.AsyncOperation.STATE_IN_PROGRESS
FAILED = operation_pb.AsyncOperation.STATE_FAILED


def spec_of(namespace: namespace_pb.Namespace) -> namespace_pb.NamespaceSpec:
    spec = Spec()
    spec.CopyFrom(namespace.spec)
    return spec


async def test_a_namespace_from_first_to_last(plane: Plane, customer: Customer) -> None:
    spec = Spec(name="orders", retention_days=7)
    spec.mtls_auth.enabled = True
    spec.mtls_auth.accepted_client_ca = CA.pem
    spec.mtls_auth.certificate_filters.add(common_name="worker-*")
    spec.search_attributes["Customer"] = Spec.SEARCH_ATTRIBUTE_TYPE_KEYWORD
    made = await customer.call("CreateNamespace", spec=spec, tags={"team": "shop"})
    full_name = f"orders.{customer.account_id}"
    assert made.namespace == full_name
    assert made.async_operation.state == FULFILLED

    on_cell = plane.cell.namespaces[full_name]
    assert on_cell.retention == timedelta(days=7)
    assert on_cell.search_attributes == {"Customer": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}

    namespace = (await customer.call("GetNamespace", namespace=full_name)).namespace
    assert namespace.state == resource_pb.RESOURCE_STATE_ACTIVE
    assert namespace.spec.mtls_auth.accepted_client_ca == CA.pem
    assert namespace.endpoints.mtls_grpc_address == "cloud.example:7233"
    assert namespace.endpoints.grpc_address == ""
    assert dict(namespace.tags) == {"team": "shop"}
    assert namespace.async_operation_id == made.async_operation.id

    changed = spec_of(namespace)
    changed.retention_days = 14
    done = await customer.call(
        "UpdateNamespace", namespace=full_name, spec=changed, resource_version=namespace.resource_version
    )
    assert done.async_operation.state == FULFILLED
    assert plane.cell.namespaces[full_name].retention == timedelta(days=14)

    now = (await customer.call("GetNamespace", namespace=full_name)).namespace
    gone = await customer.call("DeleteNamespace", namespace=full_name, resource_version=now.resource_version)
    assert gone.async_operation.state == FULFILLED
    assert plane.cell.namespaces == {}
    with pytest.raises(NotFound):
        await customer.call("GetNamespace", namespace=full_name)
    listed = await customer.call("GetNamespaces")
    assert list(listed.namespaces) == []


async def test_a_change_of_cas_alone_does_not_wait_for_the_cell(plane: Plane, customer: Customer) -> None:
    namespace = await customer.namespace()
    plane.cell.calls.clear()
    spec = spec_of(namespace)
    spec.mtls_auth.enabled = True
    spec.mtls_auth.accepted_client_ca = CA.pem
    done = await customer.call(
        "UpdateNamespace",
        namespace=namespace.namespace,
        spec=spec,
        resource_version=namespace.resource_version,
    )
    assert done.async_operation.state == FULFILLED
    assert plane.cell.calls == []
    leaf = make("worker", CA)
    assert plane.tenancy.directory.authenticate_certificate(leaf.pem, (), namespace.namespace, NOW)


async def test_older_tools_are_understood(customer: Customer) -> None:
    spec = Spec(name="orders")
    spec.mtls_auth.enabled = True
    spec.mtls_auth.accepted_client_ca_deprecated = base64.b64encode(CA.pem).decode()
    spec.custom_search_attributes["Tags"] = "KeywordList"
    made = await customer.call("CreateNamespace", spec=spec)
    namespace = (await customer.call("GetNamespace", namespace=made.namespace)).namespace
    assert namespace.spec.mtls_auth.accepted_client_ca == CA.pem
    assert namespace.spec.search_attributes["Tags"] == Spec.SEARCH_ATTRIBUTE_TYPE_KEYWORD_LIST
    assert namespace.state_deprecated == "active"
    assert namespace.spec.retention_days == 30


async def test_what_was_read_can_be_written_back(customer: Customer) -> None:
    namespace = await customer.namespace()
    await customer.call(
        "UpdateNamespace",
        namespace=namespace.namespace,
        spec=namespace.spec,
        resource_version=namespace.resource_version,
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "x"}, "name"),
        ({"name": "Orders"}, "name"),
        ({"name": "1orders"}, "name"),
        ({"name": "orders-"}, "name"),
        ({"name": "o" * 40}, "name"),
        ({"name": "orders.abcde"}, "without the account"),
        ({"name": "orders", "retention_days": 91}, "retention_days"),
        ({"name": "orders", "retention_days": -1}, "retention_days"),
        ({"name": "orders", "regions": ["aws-us-east-1"]}, "one region, local"),
        ({"name": "orders", "connectivity_rule_ids": ["r1"]}, "connectivity_rule_ids"),
        (
            {"name": "orders", "fairness": namespace_pb.FairnessSpec(task_queue_fairness_enabled=True)},
            "fairness",
        ),
        ({"name": "orders", "custom_search_attributes": {"A": "Blob"}}, "must have a type"),
        ({"name": "orders", "custom_search_attributes": {"a\nb": "Int"}}, "a name must be"),
        ({"name": "orders", "custom_search_attributes": {f"T{n}": "Text" for n in range(6)}}, "at most 5"),
        (
            {"name": "orders", "codec_server": namespace_pb.CodecServerSpec(endpoint="http://evil")},
            "https://",
        ),
        (
            {"name": "orders", "mtls_auth": namespace_pb.MtlsAuthSpec(enabled=True, accepted_client_ca=b"x")},
            "no PEM",
        ),
    ],
)
async def test_a_bad_spec_is_refused_with_its_field(
    plane: Plane, customer: Customer, fields: dict[str, object], said: str
) -> None:
    spec = Spec(**fields)
    spec.api_key_auth.enabled = True
    with pytest.raises(InvalidArgument, match=said):
        await customer.call("CreateNamespace", spec=spec)
    assert plane.cell.calls == []


async def test_all_faults_are_told_at_once(customer: Customer) -> None:
    spec = Spec(name="X", retention_days=100)
    with pytest.raises(InvalidArgument) as refusal:
        await customer.call("CreateNamespace", spec=spec, tags={"tacit.guard": "maybe", "Bad Key": "x"})
    for field in ("name", "retention_days", "mtls_auth", "tacit.guard", "Bad Key"):
        assert field in refusal.value.message


async def test_a_public_ca_needs_filters_for_ever(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenancy.certificates.has_public_ca", lambda certificates: bool(certificates))
    spec = Spec(name="orders")
    spec.mtls_auth.enabled = True
    spec.mtls_auth.accepted_client_ca = CA.pem
    with pytest.raises(InvalidArgument, match="public CA"):
        await customer.call("CreateNamespace", spec=spec)
    spec.mtls_auth.certificate_filters.add(common_name="worker-*")
    made = await customer.call("CreateNamespace", spec=spec)
    namespace = (await customer.call("GetNamespace", namespace=made.namespace)).namespace
    cleared = spec_of(namespace)
    del cleared.mtls_auth.certificate_filters[:]
    with pytest.raises(InvalidArgument, match="public CA"):
        await customer.call(
            "UpdateNamespace",
            namespace=made.namespace,
            spec=cleared,
            resource_version=namespace.resource_version,
        )


async def test_search_attributes_can_be_added_never_removed(customer: Customer) -> None:
    namespace = await customer.namespace(search_attributes={"A": Spec.SEARCH_ATTRIBUTE_TYPE_INT})
    spec = spec_of(namespace)
    spec.search_attributes.clear()
    spec.custom_search_attributes.clear()
    with pytest.raises(InvalidArgument, match="neither removed"):
        await customer.call(
            "UpdateNamespace",
            namespace=namespace.namespace,
            spec=spec,
            resource_version=namespace.resource_version,
        )


async def test_the_guard_is_set_by_its_tag(plane: Plane, customer: Customer) -> None:
    namespace = await customer.namespace()
    directory = plane.tenancy.directory
    assert directory.namespace(namespace.namespace).guard is GuardMode.ENFORCE
    await customer.call(
        "UpdateNamespaceTags", namespace=namespace.namespace, tags_to_upsert={"tacit.guard": "off", "a": "b"}
    )
    assert directory.namespace(namespace.namespace).guard is GuardMode.OFF
    shown = (await customer.call("GetNamespace", namespace=namespace.namespace)).namespace
    assert dict(shown.tags) == {"tacit.guard": "off", "a": "b"}
    await customer.call(
        "UpdateNamespaceTags", namespace=namespace.namespace, tags_to_remove=["tacit.guard", "a"]
    )
    assert directory.namespace(namespace.namespace).guard is GuardMode.ENFORCE


async def test_a_stale_version_is_aborted_and_a_missing_one_invalid(customer: Customer) -> None:
    namespace = await customer.namespace()
    for version, refusal in (("", InvalidArgument), ("1", Aborted), ("99", Aborted), ("x", Aborted)):
        with pytest.raises(refusal):
            await customer.call(
                "UpdateNamespace",
                namespace=namespace.namespace,
                spec=namespace.spec,
                resource_version=version,
            )
        with pytest.raises(refusal):
            await customer.call("DeleteNamespace", namespace=namespace.namespace, resource_version=version)


async def test_a_name_is_taken_once_and_per_account(plane: Plane, customer: Customer) -> None:
    await customer.namespace()
    with pytest.raises(AlreadyExists):
        await customer.namespace()
    await (await plane.customer("eve@example.com")).namespace()


async def test_delete_protection(customer: Customer) -> None:
    namespace = await customer.namespace(lifecycle=namespace_pb.LifecycleSpec(enable_delete_protection=True))
    with pytest.raises(FailedPrecondition, match="protect"):
        await customer.call(
            "DeleteNamespace",
            namespace=namespace.namespace,
            resource_version=namespace.resource_version,
        )


async def test_another_accounts_namespace_answers_like_none(plane: Plane, customer: Customer) -> None:
    namespace = await customer.namespace()
    eve = await plane.customer("eve@example.com")
    said = set()
    for name in (namespace.namespace, "orders.zzzzz"):
        for method, fields in (
            ("GetNamespace", {}),
            ("UpdateNamespace", {"spec": namespace.spec, "resource_version": "2"}),
            ("DeleteNamespace", {"resource_version": "2"}),
            ("UpdateNamespaceTags", {"tags_to_upsert": {"a": "b"}}),
        ):
            with pytest.raises(NotFound) as refusal:
                await eve.call(method, namespace=name, **fields)
            said.add(refusal.value.message.replace(name, "NAME"))
    assert len(said) == 1
    assert list((await eve.call("GetNamespaces")).namespaces) == []
    assert list((await eve.call("GetNamespaces", name=namespace.namespace)).namespaces) == []
    for name in ("orders", namespace.namespace):
        assert list((await customer.call("GetNamespaces", name=name)).namespaces) == [namespace]


async def test_rights_in_namespaces(customer: Customer) -> None:
    namespace = await customer.namespace()
    version = namespace.resource_version
    reader = await customer.service_account("reader", orders="read")
    stranger = await customer.service_account("stranger")
    assert (await reader.call("GetNamespace", namespace=namespace.namespace)).namespace == namespace
    with pytest.raises(PermissionDenied):
        await reader.call(
            "UpdateNamespace", namespace=namespace.namespace, spec=namespace.spec, resource_version=version
        )
    with pytest.raises(PermissionDenied):
        await reader.call("CreateNamespace", spec=Spec(name="mine"))
    with pytest.raises(NotFound):
        await stranger.call("GetNamespace", namespace=namespace.namespace)
    admin = await customer.service_account("admin", orders="admin")
    await admin.call(
        "UpdateNamespace", namespace=namespace.namespace, spec=namespace.spec, resource_version=version
    )
    with pytest.raises(PermissionDenied, match="guard"):
        await admin.call(
            "UpdateNamespaceTags", namespace=namespace.namespace, tags_to_upsert={"tacit.guard": "off"}
        )


async def test_a_developer_is_admin_of_what_it_makes(customer: Customer) -> None:
    await customer.namespace("others")
    developer = await customer.service_account("dev", role=3)
    mine = await developer.namespace("mine")
    assert [one.namespace for one in (await developer.call("GetNamespaces")).namespaces] == [mine.namespace]
    await developer.call("DeleteNamespace", namespace=mine.namespace, resource_version=mine.resource_version)


@pytest.mark.parametrize("kind", [CallerKind.CERTIFICATE, CallerKind.DEVELOPMENT, CallerKind.API_KEY])
async def test_a_caller_without_an_account_is_refused(plane: Plane, kind: CallerKind) -> None:
    handler = plane.control_plane.handlers()["GetAccount"]
    with pytest.raises(PermissionDenied, match="API key"):
        await handler(None, CallContext(caller=Caller(kind=kind, id="x")))


async def test_an_operation_repeated_by_its_id_is_done_once(plane: Plane, customer: Customer) -> None:
    spec = Spec(name="orders")
    spec.api_key_auth.enabled = True
    first = await customer.call("CreateNamespace", spec=spec, async_operation_id="op-1")
    again = await customer.call("CreateNamespace", spec=spec, async_operation_id="op-1")
    assert first == again
    assert plane.cell.calls == [("create", first.namespace)]
    spec.retention_days = 3
    with pytest.raises(AlreadyExists, match="op-1"):
        await customer.call("CreateNamespace", spec=spec, async_operation_id="op-1")
    # Another account's operations are another matter.
    eve = await plane.customer("eve@example.com")
    await eve.call("CreateNamespace", spec=spec, async_operation_id="op-1")
    with pytest.raises(NotFound):
        await eve.call("GetAsyncOperation", async_operation_id=first.async_operation.id + "x")


async def test_a_cell_out_of_reach_is_asked_again(
    plane: Plane, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioning, "PAUSE_FIRST_SECONDS", 0.001)
    failures = iter([Unavailable("gone"), ResourceExhausted("busy"), RuntimeError("a defect")])

    async def fail_thrice() -> None:
        for failure in failures:
            raise failure

    plane.cell.before = fail_thrice
    namespace = await customer.namespace()
    assert namespace.state == resource_pb.RESOURCE_STATE_ACTIVE
    assert len(plane.cell.calls) == 4


async def test_a_cells_final_refusal_fails_the_operation(plane: Plane, customer: Customer) -> None:
    async def refuse() -> None:
        raise InvalidArgument("search attribute X is not possible here")

    plane.cell.before = refuse
    spec = Spec(name="orders")
    spec.api_key_auth.enabled = True
    made = await customer.call("CreateNamespace", spec=spec)
    assert made.async_operation.state == FAILED
    assert "not possible" in made.async_operation.failure_reason
    namespace = (await customer.call("GetNamespace", namespace=made.namespace)).namespace
    assert namespace.state == resource_pb.RESOURCE_STATE_ACTIVATION_FAILED
    with pytest.raises(NotAllowed):
        plane.tenancy.directory.namespace(made.namespace)
    plane.cell.before = None
    await customer.call(
        "DeleteNamespace", namespace=made.namespace, resource_version=namespace.resource_version
    )
    assert (await customer.namespace()).state == resource_pb.RESOURCE_STATE_ACTIVE


async def test_a_crash_between_commit_and_cell_heals_at_the_next_start(
    plane: Plane, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioning, "PATIENCE_SECONDS", 0.01)
    never = asyncio.Event()
    plane.cell.before = lambda: hang(never)
    spec = Spec(name="orders")
    spec.api_key_auth.enabled = True
    made = await customer.call("CreateNamespace", spec=spec)
    assert made.async_operation.state == IN_PROGRESS
    assert made.async_operation.check_duration.seconds == 1
    await plane.control_plane.close()
    await plane.control_plane.close()

    plane.cell.before = None
    after = await plane.restarted()
    assert await after.control_plane.resume() == 1
    await until(lambda: made.namespace in after.tenancy.directory.namespace_names())
    again = Customer(after, customer.signed_up, customer.principal)
    operation = await again.call("GetAsyncOperation", async_operation_id=made.async_operation.id)
    assert operation.async_operation.state == FULFILLED
    await after.control_plane.close()
    assert await after.control_plane.resume() == 0
    await after.tenancy.close()


async def hang(never: asyncio.Event) -> None:
    await never.wait()


async def test_changes_under_way_are_bounded_and_exclude_each_other(
    plane: Plane, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = await customer.namespace("ready")
    monkeypatch.setattr(provisioning, "PATIENCE_SECONDS", 0.001)
    plane.cell.before = lambda: hang(asyncio.Event())
    slow = spec_of(ready)
    slow.retention_days = 5
    await customer.call(
        "UpdateNamespace", namespace=ready.namespace, spec=slow, resource_version=ready.resource_version
    )
    updating = (await customer.call("GetNamespace", namespace=ready.namespace)).namespace
    assert updating.state == resource_pb.RESOURCE_STATE_UPDATING
    assert plane.tenancy.directory.namespace(ready.namespace)  # open all the while
    slow.retention_days = 6
    with pytest.raises(FailedPrecondition, match="being updated"):
        await customer.call(
            "UpdateNamespace",
            namespace=ready.namespace,
            spec=slow,
            resource_version=updating.resource_version,
        )
    with pytest.raises(FailedPrecondition, match="updating"):
        await customer.call(
            "DeleteNamespace", namespace=ready.namespace, resource_version=updating.resource_version
        )
    for number in range(9):
        await customer.namespace(f"n{number}x")
    with pytest.raises(ResourceExhausted, match="10 operations"):
        await customer.namespace("one-more")
    with pytest.raises(NotFound):  # the refusal left nothing behind
        await customer.call("GetNamespace", namespace=f"one-more.{customer.account_id}")


@pytest.mark.parametrize(
    "fields",
    [
        {"page_size": -1},
        {"page_size": 1001},
        {"page_token": "x"},
        {"page_token": "AAAA"},
        {"page_token": "é" * 99},
    ],
)
async def test_bad_pages_are_refused(customer: Customer, fields: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        await customer.call("GetNamespaces", **fields)


async def test_pages_follow_each_other(customer: Customer) -> None:
    names = sorted([(await customer.namespace(f"n{number}x")).namespace for number in range(3)])
    first = await customer.call("GetNamespaces", page_size=2)
    rest = await customer.call("GetNamespaces", page_size=2, page_token=first.next_page_token)
    assert [one.namespace for page in (first, rest) for one in page.namespaces] == names
    assert rest.next_page_token == ""
