"""CAs by one subject with different keys, which TLS can take for each other."""

from dataclasses import replace

import pytest
from cryptography import x509

from tenancy import namespaces
from tenancy.errors import Invalid
from tenancy.model import Namespace, NamespaceSettings

from .certificates_made import DAY, Key, Made, make, subject
from .conftest import Cloud, Customer, request


def authority(name: str, *, key: Key | None = None, identified: bool = False) -> Made:
    bare = make(name, ca=True, key=key)
    if not identified:
        return bare
    identifier = x509.SubjectKeyIdentifier.from_public_key(bare.certificate.public_key())
    return make(name, ca=True, key=bare.key, extensions=((identifier, False),))


def mtls(*cas: Made, enabled: bool = True) -> NamespaceSettings:
    bundle = b"".join(ca.pem for ca in cas)
    return NamespaceSettings(mtls_enabled=enabled, api_key_enabled=True, ca_bundle_pem=bundle)


async def update(customer: Customer, before: Namespace, settings: NamespaceSettings) -> Namespace:
    tenancy = customer.cloud.tenancy.namespaces
    asked = request("UpdateNamespace")
    made = await tenancy.update(customer.owner, before.name, settings, str(before.version), asked)
    await tenancy.settle(made)
    return await tenancy.get(customer.owner, before.name)


@pytest.mark.parametrize("identified", [False, True])
@pytest.mark.parametrize("taken", ["acme CA", "ACME ca", " acme  CA"])
async def test_another_accounts_subject_is_refused(cloud: Cloud, taken: str, identified: bool) -> None:
    ada, eve = await cloud.customer("ada@example.com"), await cloud.customer("eve@example.com")
    await ada.namespace("orders", mtls(authority("acme CA", identified=identified)))
    with pytest.raises(
        Invalid, match="a subject of its own, such as one with the namespace's full name"
    ) as caught:
        await eve.namespace("stock", mtls(authority("eve CA"), authority(taken, identified=identified)))
    assert [fault.field.partition(" ")[0] for fault in caught.value.faults] == ["ca_bundle[1]"]
    told = str(caught.value).casefold()
    assert not any(name in told for name in (ada.account_id, "orders", "ada@"))
    # It holds for an update as for a creation, and whoever has it keeps it.
    stock = await eve.namespace("stock", mtls(authority("eve CA")))
    with pytest.raises(Invalid, match="has the subject of a CA that the service accepts elsewhere"):
        await update(eve, stock, mtls(authority(taken)))
    assert "acme" not in str(await update(eve, stock, mtls(authority(f"{stock.name} CA"))))


async def test_the_same_key_is_the_same_ca(cloud: Cloud) -> None:
    ada, eve = await cloud.customer("ada@example.com"), await cloud.customer("eve@example.com")
    ca = authority("shared CA")
    renewed = make("shared CA", ca=True, key=ca.key, end=ca.certificate.not_valid_after_utc + DAY)
    await ada.namespace("orders", mtls(ca))
    await ada.namespace("stock", mtls(ca, renewed))
    await eve.namespace("orders", mtls(renewed))


async def test_another_subject_field_is_another_subject(cloud: Cloud) -> None:
    ada, eve = await cloud.customer("ada@example.com"), await cloud.customer("eve@example.com")
    await ada.namespace("orders", mtls(make(subject("CA", "Acme"), ca=True)))
    await eve.namespace(
        "orders", mtls(make(subject("CA", "Eve"), ca=True), make(subject("Acme", "CA"), ca=True))
    )


async def test_ones_own_old_name_is_fine_where_tls_can_tell_the_keys_apart(cloud: Cloud) -> None:
    ada = await cloud.customer()
    first, second = (authority("acme CA", identified=True) for _ in range(2))
    orders = await ada.namespace("orders", mtls(first))
    await update(ada, orders, mtls(first, second))
    await ada.namespace("stock", mtls(authority("acme CA", identified=True)))


@pytest.mark.parametrize(("old", "new"), [(False, False), (False, True), (True, False)])
async def test_ones_own_old_name_is_refused_where_it_can_not_work(cloud: Cloud, old: bool, new: bool) -> None:
    ada = await cloud.customer()
    first, second = authority("acme CA", identified=old), authority("acme CA", identified=new)
    orders = await ada.namespace("orders", mtls(first))
    with pytest.raises(Invalid, match="subject of another CA of the account"):
        await update(ada, orders, mtls(first, second))
    with pytest.raises(Invalid, match="subject of another CA of the account"):
        await ada.namespace("stock", mtls(second))
    # In the place of the old one it can be mistaken for nothing.
    await update(ada, orders, mtls(second))


async def test_only_what_lets_clients_in_counts(cloud: Cloud) -> None:
    ada, eve = await cloud.customer("ada@example.com"), await cloud.customer("eve@example.com")
    orders = await ada.namespace("orders", mtls(authority("acme CA"), enabled=False))
    stock = await eve.namespace("stock", mtls(authority("acme CA")))
    with pytest.raises(Invalid, match="accepts elsewhere"):
        await update(ada, orders, replace(orders.settings, mtls_enabled=True))
    off = await update(eve, stock, replace(stock.settings, mtls_enabled=False))
    await update(ada, orders, replace(orders.settings, mtls_enabled=True))
    with pytest.raises(Invalid, match="accepts elsewhere"):
        await update(eve, off, replace(off.settings, mtls_enabled=True))


async def test_what_is_accepted_already_does_not_stop_other_changes(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, eve = await cloud.customer("ada@example.com"), await cloud.customer("eve@example.com")
    await ada.namespace("orders", mtls(authority("acme CA")))
    with monkeypatch.context() as before_the_rule:
        before_the_rule.setattr(namespaces, "_subject_faults", lambda *_: [])
        stock = await eve.namespace("stock", mtls(authority("acme CA")))
    shorter = replace(stock.settings, retention_days=7)
    assert (await update(eve, stock, shorter)).settings.retention_days == 7
