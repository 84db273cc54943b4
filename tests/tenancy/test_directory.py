"""The access directory: what a front door is told, and how soon it hears of a change."""

import datetime as dt
from dataclasses import replace

import pytest

from tenancy.access import GuardMode, NotAllowed, NotAuthenticated, Permission, Principal, PrincipalKind
from tenancy.apikeys import ApiKeySigner, TokenClaims, load_or_create_signer
from tenancy.identities import ServiceAccountSettings
from tenancy.keys import ApiKeySettings
from tenancy.model import AccountRole, CertificateFilter, NamespaceSettings

from .certificates_made import DAY, NOW, make
from .conftest import Cloud, Customer, request

CA = make("acme-ca", ca=True)
LEAF = make("worker", CA)
MTLS = NamespaceSettings(mtls_enabled=True, ca_bundle_pem=CA.pem)


async def key_of_service_account(
    customer: Customer, role: AccountRole, grants: dict[str, Permission]
) -> tuple[str, Principal]:
    tenancy = customer.cloud.tenancy
    settings = ServiceAccountSettings(name=f"sa-{role.value}", role=role, grants=grants)
    made = await tenancy.service_accounts.create(customer.owner, settings, request("CreateServiceAccount"))
    wanted = ApiKeySettings(
        owner_kind=PrincipalKind.SERVICE_ACCOUNT,
        owner_id=made.resource_id,
        display_name="ci",
        expires_at=NOW + 30 * DAY,
    )
    _, token = await tenancy.api_keys.create(customer.owner, wanted, request("CreateApiKey"))
    return token, tenancy.directory.authenticate_api_key(token, NOW)


async def test_a_certificate_speaks_for_its_namespace_alone(cloud: Cloud) -> None:
    customer = await cloud.customer()
    orders = await customer.namespace("orders", MTLS)
    twin = await customer.namespace("twin", replace(MTLS, ca_bundle_pem=make("other-ca", ca=True).pem))
    directory = cloud.tenancy.directory
    principal = directory.authenticate_certificate(LEAF.pem, (), orders.name, NOW)
    assert principal.kind is PrincipalKind.CERTIFICATE
    assert principal.account_id == customer.account_id
    assert directory.permission(principal, orders.name) is Permission.WRITE
    assert directory.permission(principal, twin.name) is Permission.NONE
    with pytest.raises(NotAllowed):
        directory.authenticate_certificate(LEAF.pem, (), twin.name, NOW)


async def test_two_tenants_with_the_same_ca_stay_apart(cloud: Cloud) -> None:
    ada, eve = await cloud.customer("ada@example.com"), await cloud.customer("eve@example.com")
    ours, theirs = await ada.namespace("orders", MTLS), await eve.namespace("orders", MTLS)
    directory = cloud.tenancy.directory
    principal = directory.authenticate_certificate(LEAF.pem, (), theirs.name, NOW)
    assert directory.permission(principal, ours.name) is Permission.NONE
    assert directory.client_roots_pem() == CA.pem


async def test_unknown_and_forbidden_namespaces_answer_alike(cloud: Cloud) -> None:
    customer = await cloud.customer()
    orders = await customer.namespace("orders", MTLS)
    directory = cloud.tenancy.directory
    foreign = make("worker", make("evil-ca", ca=True))
    with pytest.raises(NotAllowed) as forbidden:
        directory.authenticate_certificate(foreign.pem, (), orders.name, NOW)
    with pytest.raises(NotAllowed) as unknown:
        directory.authenticate_certificate(foreign.pem, (), f"nothing.{customer.account_id}", NOW)
    with pytest.raises(NotAllowed) as no_name:
        directory.namespace(f"nothing.{customer.account_id}")
    assert str(forbidden.value) == str(unknown.value) == str(no_name.value)


async def test_a_remembered_certificate_still_expires(cloud: Cloud) -> None:
    customer = await cloud.customer()
    orders = await customer.namespace("orders", MTLS)
    directory = cloud.tenancy.directory
    end = LEAF.certificate.not_valid_after_utc
    assert directory.authenticate_certificate(LEAF.pem, (), orders.name, NOW)
    assert directory.authenticate_certificate(LEAF.pem, (), orders.name, end)
    with pytest.raises(NotAllowed):
        directory.authenticate_certificate(LEAF.pem, (), orders.name, end + dt.timedelta(seconds=1))


async def test_a_removed_ca_and_a_new_filter_count_at_once(cloud: Cloud) -> None:
    customer = await cloud.customer()
    orders = await customer.namespace("orders", MTLS)
    namespaces, directory = cloud.tenancy.namespaces, cloud.tenancy.directory
    assert directory.authenticate_certificate(LEAF.pem, (), orders.name, NOW)

    filtered = replace(MTLS, certificate_filters=(CertificateFilter(common_name="billing-*"),))
    await namespaces.update(customer.owner, orders.name, filtered, "2", request("UpdateNamespace"))
    with pytest.raises(NotAllowed):
        directory.authenticate_certificate(LEAF.pem, (), orders.name, NOW)

    await namespaces.update(customer.owner, orders.name, MTLS, "3", request("UpdateNamespace"))
    principal = directory.authenticate_certificate(LEAF.pem, (), orders.name, NOW)
    rotated = replace(MTLS, ca_bundle_pem=make("new-ca", ca=True).pem)
    await namespaces.update(customer.owner, orders.name, rotated, "4", request("UpdateNamespace"))
    with pytest.raises(NotAllowed):
        directory.authenticate_certificate(LEAF.pem, (), orders.name, NOW)
    without = NamespaceSettings(api_key_enabled=True)
    await namespaces.update(customer.owner, orders.name, without, "5", request("UpdateNamespace"))
    assert directory.permission(principal, orders.name) is Permission.NONE
    assert directory.client_roots_pem() == b""


async def test_an_api_key_has_its_owners_rights(cloud: Cloud) -> None:
    customer = await cloud.customer()
    orders, stock = await customer.namespace("orders"), await customer.namespace("stock")
    directory = cloud.tenancy.directory
    owner = directory.authenticate_api_key(customer.signed_up.api_key, NOW)
    assert owner == customer.owner
    assert directory.permission(owner, orders.name) is Permission.ADMIN

    _, reader = await key_of_service_account(customer, AccountRole.READ, {orders.name: Permission.READ})
    assert directory.permission(reader, orders.name) is Permission.READ
    assert directory.permission(reader, stock.name) is Permission.NONE
    _, developer = await key_of_service_account(
        customer, AccountRole.DEVELOPER, {stock.name: Permission.WRITE}
    )
    assert directory.permission(developer, orders.name) is Permission.NONE
    assert directory.permission(developer, stock.name) is Permission.WRITE
    _, admin = await key_of_service_account(customer, AccountRole.ADMIN, {stock.name: Permission.READ})
    assert directory.permission(admin, stock.name) is Permission.ADMIN


async def test_an_owner_has_no_rights_in_another_account(cloud: Cloud) -> None:
    ada, eve = await cloud.customer("ada@example.com"), await cloud.customer("eve@example.com")
    orders = await ada.namespace("orders")
    assert cloud.tenancy.directory.permission(eve.owner, orders.name) is Permission.NONE
    # Nor by claiming the account: the identity is looked up, not believed.
    forged = replace(eve.owner, account_id=ada.account_id)
    assert cloud.tenancy.directory.permission(forged, orders.name) is Permission.NONE


async def test_api_keys_need_the_namespace_to_take_them(cloud: Cloud) -> None:
    customer = await cloud.customer()
    orders = await customer.namespace("orders", MTLS)
    assert cloud.tenancy.directory.permission(customer.owner, orders.name) is Permission.NONE


async def test_a_disabled_key_stops_at_once_and_comes_back(cloud: Cloud) -> None:
    customer = await cloud.customer()
    await customer.namespace("orders")
    token, principal = await key_of_service_account(customer, AccountRole.READ, {})
    directory, keys = cloud.tenancy.directory, cloud.tenancy.api_keys
    record = await keys.get(customer.owner, principal.credential_id)
    settings = ApiKeySettings(
        owner_kind=record.owner_kind,
        owner_id=record.owner_id,
        display_name=record.display_name,
        expires_at=record.expires_at,
        disabled=True,
    )
    await keys.update(customer.owner, record.id, settings, "1", request("UpdateApiKey"))
    with pytest.raises(NotAuthenticated):
        directory.authenticate_api_key(token, NOW)
    await keys.update(
        customer.owner, record.id, replace(settings, disabled=False), "2", request("UpdateApiKey")
    )
    assert directory.authenticate_api_key(token, NOW) == principal


async def test_a_deleted_key_stops_at_once_for_ever(cloud: Cloud) -> None:
    customer = await cloud.customer()
    token, principal = await key_of_service_account(customer, AccountRole.READ, {})
    await cloud.tenancy.api_keys.delete(customer.owner, principal.credential_id, "1", request("DeleteApiKey"))
    with pytest.raises(NotAuthenticated):
        cloud.tenancy.directory.authenticate_api_key(token, NOW)


async def test_a_remembered_key_still_expires(cloud: Cloud) -> None:
    customer = await cloud.customer()
    directory, token = cloud.tenancy.directory, customer.signed_up.api_key
    assert directory.authenticate_api_key(token, NOW)
    end = customer.signed_up.api_key_expires_at
    assert directory.authenticate_api_key(token, end - dt.timedelta(seconds=1))
    with pytest.raises(NotAuthenticated):
        directory.authenticate_api_key(token, end)


async def test_every_bad_key_gets_one_answer(cloud: Cloud) -> None:
    customer = await cloud.customer()
    ours = load_or_create_signer(cloud.signing_key)
    claims = TokenClaims(key_id="unknown", owner=customer.owner.id, expires_at=NOW + DAY)
    other = load_or_create_signer(cloud.signing_key.with_name("other.pem"))
    real = replace_id(ours, claims, customer.signed_up.api_key_id)
    stolen = replace_id(other, claims, customer.signed_up.api_key_id)
    directory = cloud.tenancy.directory
    assert directory.authenticate_api_key(real, NOW)  # only the signing key's holder can make this one
    said = set()
    for token in ("", "x.y.z", stolen, ours.sign(claims, NOW), customer.signed_up.api_key[:-3]):
        with pytest.raises(NotAuthenticated) as refusal:
            directory.authenticate_api_key(token, NOW)
        said.add(str(refusal.value))
    assert len(said) == 1


def replace_id(signer: ApiKeySigner, claims: TokenClaims, key_id: str) -> str:
    return signer.sign(replace(claims, key_id=key_id), NOW)


async def test_a_deleted_service_account_takes_its_keys_along(cloud: Cloud) -> None:
    customer = await cloud.customer()
    token, principal = await key_of_service_account(customer, AccountRole.ADMIN, {})
    bare_id = principal.id.partition(":")[2]
    await cloud.tenancy.service_accounts.delete(customer.owner, bare_id, "1", request("DeleteServiceAccount"))
    with pytest.raises(NotAuthenticated):
        cloud.tenancy.directory.authenticate_api_key(token, NOW)


async def test_a_namespace_is_closed_before_and_after_its_life(cloud: Cloud) -> None:
    customer = await cloud.customer()
    namespaces, directory = cloud.tenancy.namespaces, cloud.tenancy.directory
    settings = NamespaceSettings(api_key_enabled=True)
    made = await namespaces.create(customer.owner, "orders", settings, {}, request("CreateNamespace"))
    name = made.resource_id
    with pytest.raises(NotAllowed):
        directory.namespace(name)
    await namespaces.settle(made)
    assert directory.namespace(name).guard is GuardMode.ENFORCE
    gone = await namespaces.delete(customer.owner, name, "2", request("DeleteNamespace"))
    with pytest.raises(NotAllowed):
        directory.namespace(name)
    assert directory.permission(customer.owner, name) is Permission.NONE
    await namespaces.settle(gone)
    with pytest.raises(NotAllowed):
        directory.namespace(name)


async def test_grants_do_not_outlive_a_namespace_of_the_same_name(cloud: Cloud) -> None:
    customer = await cloud.customer()
    orders = await customer.namespace("orders")
    _, reader = await key_of_service_account(customer, AccountRole.READ, {orders.name: Permission.WRITE})
    namespaces, directory = cloud.tenancy.namespaces, cloud.tenancy.directory
    await namespaces.settle(
        await namespaces.delete(customer.owner, orders.name, "2", request("DeleteNamespace"))
    )
    await customer.namespace("orders")
    assert directory.permission(reader, orders.name) is Permission.NONE
    assert directory.permission(customer.owner, orders.name) is Permission.ADMIN


async def test_another_process_hears_of_every_change(cloud: Cloud) -> None:
    customer = await cloud.customer()
    other = await cloud.other_process()
    await other.directory.refresh()
    orders = await customer.namespace("orders", MTLS, {"tacit.guard": "off"})
    with pytest.raises(NotAllowed):
        other.directory.namespace(orders.name)
    assert await other.directory.refresh()
    assert other.directory.version == cloud.tenancy.directory.version
    assert other.directory.namespace(orders.name).guard is GuardMode.OFF
    assert other.directory.authenticate_certificate(LEAF.pem, (), orders.name, NOW)
    assert other.directory.authenticate_api_key(customer.signed_up.api_key, NOW) == customer.owner
    await cloud.tenancy.api_keys.delete(
        customer.owner, customer.signed_up.api_key_id, "1", request("DeleteApiKey")
    )
    await other.directory.refresh()
    with pytest.raises(NotAuthenticated):
        other.directory.authenticate_api_key(customer.signed_up.api_key, NOW)
    await other.close()


async def test_a_restart_knows_what_was_known(cloud: Cloud) -> None:
    customer = await cloud.customer()
    orders = await customer.namespace("orders", MTLS)
    restarted = await cloud.other_process()
    await restarted.start()
    assert restarted.directory.namespace_names() == [orders.name]
    assert restarted.directory.authenticate_api_key(customer.signed_up.api_key, NOW) == customer.owner
    await restarted.close()


async def test_roots_stand_oldest_namespace_first(cloud: Cloud) -> None:
    customer = await cloud.customer()
    await customer.namespace("zebra", MTLS)
    cloud.clock.now += DAY
    later = make("later-ca", ca=True)
    await customer.namespace("ant", replace(MTLS, ca_bundle_pem=later.pem))
    assert cloud.tenancy.directory.client_roots_pem() == CA.pem + later.pem


async def test_usage_is_seen_by_role_or_as_a_namespaces_admin(cloud: Cloud) -> None:
    customer, other = await cloud.customer("ada@example.com"), await cloud.customer("eve@example.com")
    orders, stock = await customer.namespace("orders"), await customer.namespace("stock")
    await other.namespace("orders")
    directory = cloud.tenancy.directory
    _, reader = await key_of_service_account(
        customer, AccountRole.READ, {orders.name: Permission.ADMIN, stock.name: Permission.WRITE}
    )
    assert directory.usage_namespaces(reader) == [orders.name]
    assert sorted(directory.usage_namespaces(customer.owner)) == [orders.name, stock.name]
