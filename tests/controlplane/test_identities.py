"""CloudService on users, service accounts and API keys: rights never grow on the way."""

import datetime as dt
from typing import Any

import pytest
from temporalio.api.cloud.identity.v1 import message_pb2 as identity_pb

from cloud.rpc import Aborted, AlreadyExists, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted
from tenancy.access import NotAuthenticated, Permission

from .conftest import NOW, Customer, Plane

Role = identity_pb.AccountAccess.Role
SERVICE_ACCOUNT = identity_pb.OWNER_TYPE_SERVICE_ACCOUNT
USER = identity_pb.OWNER_TYPE_USER


def account_spec(name: str = "ci", role: str = "READ", **permissions: str) -> identity_pb.ServiceAccountSpec:
    access = identity_pb.Access(account_access=identity_pb.AccountAccess(role=Role.Value(f"ROLE_{role}")))
    for namespace, permission in permissions.items():
        value = identity_pb.NamespaceAccess.Permission.Value(f"PERMISSION_{permission}")
        access.namespace_accesses[namespace].permission = value
    return identity_pb.ServiceAccountSpec(name=name, access=access)


def scoped_spec(
    namespace: str, permission: str = "WRITE", name: str = "scoped"
) -> identity_pb.ServiceAccountSpec:
    spec = identity_pb.ServiceAccountSpec(name=name)
    spec.namespace_scoped_access.namespace = namespace
    spec.namespace_scoped_access.access.permission = identity_pb.NamespaceAccess.Permission.Value(
        f"PERMISSION_{permission}"
    )
    return spec


def key_spec(
    owner_id: str, owner_type: Any = SERVICE_ACCOUNT, days: float = 30, name: str = "k"
) -> identity_pb.ApiKeySpec:
    spec = identity_pb.ApiKeySpec(owner_id=owner_id, owner_type=owner_type, display_name=name)
    spec.expiry_time.FromDatetime(NOW + dt.timedelta(days=days))
    return spec


def bare_id(customer: Customer) -> str:
    return customer.principal.id.partition(":")[2]


async def test_who_am_i(customer: Customer) -> None:
    identity = await customer.call("GetCurrentIdentity")
    assert identity.user.spec.email == "ada@example.com"
    assert identity.user.spec.access.account_access.role == Role.Value("ROLE_OWNER")
    assert identity.principal_api_key.id == customer.signed_up.api_key_id
    robot = await customer.service_account("robot")
    identity = await robot.call("GetCurrentIdentity")
    assert identity.service_account.spec.name == "robot"
    assert identity.principal_api_key.spec.owner_type == SERVICE_ACCOUNT


async def test_users_are_seen_within_the_account(plane: Plane, customer: Customer) -> None:
    eve = await plane.customer("eve@example.com")
    users = (await customer.call("GetUsers")).users
    assert [user.spec.email for user in users] == ["ada@example.com"]
    assert (await customer.call("GetUser", user_id=users[0].id)).user == users[0]
    with pytest.raises(NotFound):
        await eve.call("GetUser", user_id=users[0].id)
    assert list((await eve.call("GetUsers", email="ada@example.com")).users) == []
    assert list((await customer.call("GetUsers", email="ADA@example.com")).users) == list(users)


async def test_a_service_account_from_first_to_last(plane: Plane, customer: Customer) -> None:
    orders = (await customer.namespace()).namespace
    made = await customer.call("CreateServiceAccount", spec=account_spec(**{orders: "WRITE"}))
    found = (
        await customer.call("GetServiceAccount", service_account_id=made.service_account_id)
    ).service_account
    assert (
        found.spec.access.namespace_accesses[orders].permission
        == identity_pb.NamespaceAccess.PERMISSION_WRITE
    )
    key = await customer.call("CreateApiKey", spec=key_spec(found.id))
    directory = plane.tenancy.directory
    principal = directory.authenticate_api_key(key.token, NOW)
    assert directory.permission(principal, orders) is Permission.WRITE

    # The whole spec is exchanged: a grant left out is a grant taken away.
    await customer.call(
        "UpdateServiceAccount",
        service_account_id=found.id,
        spec=account_spec(name="renamed"),
        resource_version=found.resource_version,
    )
    assert directory.permission(principal, orders) is Permission.NONE
    await customer.call(
        "SetServiceAccountNamespaceAccess",
        service_account_id=found.id,
        namespace=orders,
        access=identity_pb.NamespaceAccess(permission=identity_pb.NamespaceAccess.PERMISSION_READ),
        resource_version="2",
    )
    assert directory.permission(principal, orders) is Permission.READ
    await customer.call(
        "SetServiceAccountNamespaceAccess",
        service_account_id=found.id,
        namespace=orders,
        resource_version="3",
    )
    assert directory.permission(principal, orders) is Permission.NONE
    with pytest.raises(Aborted):
        await customer.call("DeleteServiceAccount", service_account_id=found.id, resource_version="1")
    await customer.call("DeleteServiceAccount", service_account_id=found.id, resource_version="4")
    with pytest.raises(NotAuthenticated):
        directory.authenticate_api_key(key.token, NOW)
    assert list((await customer.call("GetServiceAccounts")).service_account) == []


async def test_bad_service_accounts_are_refused(plane: Plane, customer: Customer) -> None:
    eve = await plane.customer("eve@example.com")
    theirs = (await eve.namespace()).namespace
    for spec, said in (
        (account_spec(name=""), "name"),
        (account_spec(role="OWNER"), "owner must be a user"),
        (account_spec(role="METRICS_READ"), "must be one of"),
        (identity_pb.ServiceAccountSpec(name="ci"), "must be one of"),
        (account_spec(**{theirs: "ADMIN"}), "no such namespace"),
        (account_spec(**{"nothing.here": "READ"}), "no such namespace"),
        (scoped_spec(theirs), "no such namespace"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            await customer.call("CreateServiceAccount", spec=spec)
    await customer.call("CreateServiceAccount", spec=account_spec())
    with pytest.raises(AlreadyExists):
        await customer.call("CreateServiceAccount", spec=account_spec())
    await eve.call("CreateServiceAccount", spec=account_spec())


async def test_nobody_makes_a_service_account_mightier_than_themselves(customer: Customer) -> None:
    orders = (await customer.namespace()).namespace
    admin = await customer.service_account("admin", role=Role.Value("ROLE_ADMIN"))
    await admin.call("CreateServiceAccount", spec=account_spec(name="a2", role="ADMIN"))
    with pytest.raises(PermissionDenied):  # only an owner assigns it
        await admin.call("CreateServiceAccount", spec=account_spec(name="money", role="FINANCE_ADMIN"))
    made = await customer.call("CreateServiceAccount", spec=account_spec(name="money", role="FINANCE_ADMIN"))
    for method, fields in (
        ("UpdateServiceAccount", {"spec": account_spec(name="money"), "resource_version": "1"}),
        ("DeleteServiceAccount", {"resource_version": "1"}),
    ):
        with pytest.raises(PermissionDenied):
            await admin.call(method, service_account_id=made.service_account_id, **fields)
    with pytest.raises(PermissionDenied):
        await admin.call("CreateApiKey", spec=key_spec(made.service_account_id))
    for role in ("DEVELOPER", "READ"):
        weak = await customer.service_account(f"weak-{role.lower()}", role=Role.Value(f"ROLE_{role}"))
        with pytest.raises(PermissionDenied):
            await weak.call("CreateServiceAccount", spec=account_spec(name="x"))
        with pytest.raises(PermissionDenied):
            await weak.call("CreateApiKey", spec=key_spec(made.service_account_id))
        with pytest.raises(NotFound):
            await weak.call("CreateApiKey", spec=key_spec("unknown"))
        with pytest.raises(NotFound):
            await weak.call(
                "SetServiceAccountNamespaceAccess",
                service_account_id=bare_id(weak),
                namespace=orders,
                access=identity_pb.NamespaceAccess(permission=1),
                resource_version="1",
            )


async def test_a_namespace_admin_governs_what_is_bound_to_it(customer: Customer) -> None:
    orders, stock = (await customer.namespace()).namespace, (await customer.namespace("stock")).namespace
    admin = await customer.service_account("ns-admin", orders="admin")
    made = await admin.call("CreateServiceAccount", spec=scoped_spec(orders))
    key = await admin.call("CreateApiKey", spec=key_spec(made.service_account_id))
    bound = customer.acting_by(key.token)
    assert bound.plane.tenancy.directory.permission(bound.principal, orders) is Permission.WRITE
    with pytest.raises(PermissionDenied):
        await admin.call("CreateServiceAccount", spec=scoped_spec(stock, name="other"))
    for namespace in (stock,):
        with pytest.raises(InvalidArgument, match="bound"):
            await customer.call(
                "SetServiceAccountNamespaceAccess",
                service_account_id=made.service_account_id,
                namespace=namespace,
                access=identity_pb.NamespaceAccess(permission=1),
                resource_version="1",
            )
    with pytest.raises(InvalidArgument, match="scope"):
        await customer.call(
            "UpdateServiceAccount",
            service_account_id=made.service_account_id,
            spec=account_spec(name="scoped", role="ADMIN"),
            resource_version="1",
        )
    # It goes with its namespace.
    version = (await customer.call("GetNamespace", namespace=orders)).namespace.resource_version
    await customer.call("DeleteNamespace", namespace=orders, resource_version=version)
    with pytest.raises(NotFound):
        await customer.call("GetServiceAccount", service_account_id=made.service_account_id)
    with pytest.raises(NotAuthenticated):
        customer.acting_by(key.token)


async def test_an_api_key_from_first_to_last(plane: Plane, customer: Customer) -> None:
    made = await customer.call("CreateApiKey", spec=key_spec(bare_id(customer), USER, name="laptop"))
    assert customer.acting_by(made.token).principal.credential_id == made.key_id
    key = (await customer.call("GetApiKey", key_id=made.key_id)).api_key
    assert made.token not in str(key)
    listed = (await customer.call("GetApiKeys")).api_keys
    assert {one.spec.display_name for one in listed} == {"signup", "laptop"}
    spec = identity_pb.ApiKeySpec()
    spec.CopyFrom(key.spec)
    spec.disabled = True
    await customer.call("UpdateApiKey", key_id=key.id, spec=spec, resource_version=key.resource_version)
    with pytest.raises(NotAuthenticated):
        customer.acting_by(made.token)
    with pytest.raises(Aborted):
        await customer.call("DeleteApiKey", key_id=key.id, resource_version=key.resource_version)
    await customer.call("DeleteApiKey", key_id=key.id, resource_version="2")
    with pytest.raises(NotFound):
        await customer.call("GetApiKey", key_id=key.id)


async def test_the_store_holds_no_key(plane: Plane, customer: Customer) -> None:
    made = await customer.call(
        "CreateApiKey", spec=key_spec(bare_id(customer), USER), async_operation_id="op-1"
    )
    signature = made.token.rpartition(".")[2].encode()
    for path in plane.folder.iterdir():
        assert signature not in path.read_bytes(), path
    # And so a repetition can't show it again.
    again = await customer.call(
        "CreateApiKey", spec=key_spec(bare_id(customer), USER), async_operation_id="op-1"
    )
    assert (again.key_id, again.token) == (made.key_id, "")


@pytest.mark.parametrize(
    ("days", "name", "said"),
    [
        (0, "k", "future"),
        (-1, "k", "future"),
        (732, "k", "two years"),
        (30, "", "display_name"),
        (30, "a\nb", "display_name"),
    ],
)
async def test_bad_api_keys_are_refused(customer: Customer, days: float, name: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        await customer.call("CreateApiKey", spec=key_spec(bare_id(customer), USER, days, name))


async def test_an_api_key_needs_owner_and_expiry(customer: Customer) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        await customer.call("CreateApiKey", spec=identity_pb.ApiKeySpec(display_name="k"))
    assert "owner_id" in refusal.value.message
    assert "expiry_time" in refusal.value.message


async def test_what_is_signed_into_a_key_stays(customer: Customer) -> None:
    key = (await customer.call("GetApiKey", key_id=customer.signed_up.api_key_id)).api_key
    spec = key_spec("somebody-else", SERVICE_ACCOUNT)
    with pytest.raises(InvalidArgument) as refusal:
        await customer.call("UpdateApiKey", key_id=key.id, spec=spec, resource_version="1")
    assert "owner_id" in refusal.value.message
    assert "expiry_time" in refusal.value.message


async def test_keys_are_bounded_per_owner_and_expired_ones_do_not_count(
    plane: Plane, customer: Customer
) -> None:
    me = bare_id(customer)
    for number in range(9):  # the one of the signup is the tenth
        await customer.call("CreateApiKey", spec=key_spec(me, USER, days=1, name=f"k{number}"))
    with pytest.raises(ResourceExhausted, match="10"):
        await customer.call("CreateApiKey", spec=key_spec(me, USER))
    plane.clock.now += dt.timedelta(days=2)
    await customer.call("CreateApiKey", spec=key_spec(me, USER))


async def test_keys_of_others(plane: Plane, customer: Customer) -> None:
    me, mine = bare_id(customer), customer.signed_up.api_key_id
    admin = await customer.service_account("admin", role=Role.Value("ROLE_ADMIN"))
    robot = await customer.service_account("robot")
    eve = await plane.customer("eve@example.com")
    with pytest.raises(PermissionDenied):  # nobody makes keys of a user but that user
        await admin.call("CreateApiKey", spec=key_spec(me, USER))
    for other in (admin, robot, eve):  # not even an admin touches an owner's
        with pytest.raises(NotFound):
            await other.call("DeleteApiKey", key_id=mine, resource_version="1")
    assert {key.spec.owner_id for key in (await robot.call("GetApiKeys")).api_keys} == {bare_id(robot)}
    assert list((await robot.call("GetApiKeys", owner_id=me)).api_keys) == []
    assert len((await admin.call("GetApiKeys")).api_keys) == 3
    # A service account makes keys of its own, but does not end them.
    own = await robot.call("CreateApiKey", spec=key_spec(bare_id(robot)))
    with pytest.raises(PermissionDenied):
        await robot.call("DeleteApiKey", key_id=own.key_id, resource_version="1")
    await admin.call("DeleteApiKey", key_id=own.key_id, resource_version="1")
    with pytest.raises(NotFound):
        await eve.call("CreateApiKey", spec=key_spec(bare_id(robot)))


async def test_rights_are_those_of_this_moment(plane: Plane, customer: Customer) -> None:
    admin = await customer.service_account("admin", role=Role.Value("ROLE_ADMIN"))
    await admin.call("CreateServiceAccount", spec=account_spec(name="before"))
    await customer.call(
        "UpdateServiceAccount",
        service_account_id=bare_id(admin),
        spec=account_spec(name="admin"),
        resource_version="1",
    )
    with pytest.raises(PermissionDenied):
        await admin.call("CreateServiceAccount", spec=account_spec(name="after"))
    await customer.call("DeleteServiceAccount", service_account_id=bare_id(admin), resource_version="2")
    with pytest.raises(PermissionDenied):
        await admin.call("GetAccount")
