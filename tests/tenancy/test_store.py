"""One suite for both databases: what is written is read back, migrations make the tables, writers wait."""

import asyncio

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tenancy import store
from tenancy.access import GuardMode
from tenancy.database import open_database
from tenancy.model import CertificateFilter, CodecServer, NamespaceSettings, PageRequest, SearchAttributeType
from tenancy.tables import metadata

from .certificates_made import make
from .conftest import Cloud, request


async def test_migrations_make_the_tables(cloud: Cloud) -> None:
    database = await open_database(cloud.url)

    def differences(connection: sa.Connection) -> list[object]:
        options = {"version_table": "tenancy_alembic_version"}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert await database.read(differences) == []
    await database.close()


async def test_a_namespace_is_read_back_as_written(cloud: Cloud) -> None:
    customer = await cloud.customer()
    ca = make("orders-ca", ca=True)
    settings = NamespaceSettings(
        retention_days=7,
        mtls_enabled=True,
        ca_bundle_pem=ca.pem,
        certificate_filters=(CertificateFilter(common_name="worker-*"),),
        api_key_enabled=True,
        delete_protection=True,
        search_attributes={"Customer": SearchAttributeType.KEYWORD, "Total": SearchAttributeType.DOUBLE},
        codec_server=CodecServer(endpoint="https://codec.example.com", pass_access_token=True),
    )
    namespace = await customer.namespace("orders", settings, {"team": "shop", "tacit.guard": "observe"})
    assert namespace.name == f"orders.{customer.account_id}"
    assert namespace.settings == settings
    assert namespace.tags == {"team": "shop"}
    assert namespace.guard is GuardMode.OBSERVE


async def test_a_failed_transaction_writes_nothing(cloud: Cloud) -> None:
    database = await open_database(cloud.url)
    before = await database.read(store.current_version)

    def work(connection: sa.Connection) -> None:
        store.next_version(connection)
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        await database.write(work)
    assert await database.read(store.current_version) == before
    await database.close()


async def test_writers_of_two_processes_wait_for_each_other(cloud: Cloud) -> None:
    other = await cloud.other_process()
    await asyncio.gather(
        *(cloud.tenancy.sign_up(f"a{n}@example.com", "A") for n in range(5)),
        *(other.sign_up(f"b{n}@example.com", "B") for n in range(5)),
    )
    database = await open_database(cloud.url)
    assert await database.read(store.current_version) == 10
    users = await database.read(lambda connection: store.load_users(connection, None))
    assert len({user.account_id for user in users}) == 10
    await database.close()
    await other.close()


async def test_pages_cover_everything_once(cloud: Cloud) -> None:
    customer = await cloud.customer()
    names = [(await customer.namespace(f"n{number}")).name for number in range(5)]
    seen: list[str] = []
    page = PageRequest(size=2)
    while True:
        found = await cloud.tenancy.namespaces.list(customer.owner, page)
        seen += [one.name for one in found.items]
        if not found.next:
            break
        page = PageRequest(size=2, after=found.next)
    assert seen == sorted(names)


async def test_audit_pages_cover_everything_once_within_one_microsecond(cloud: Cloud) -> None:
    customer = await cloud.customer()
    for number in range(3):
        await customer.namespace(f"n{number}")
    seen: list[str] = []
    after = ""
    while True:
        page = await cloud.tenancy.audit_log(
            customer.owner,
            PageRequest(size=2, after=after),
            cloud.clock.now,
            cloud.clock.now.replace(year=2027),
        )
        seen += [record.id for record in page.items]
        after = page.next
        if not after:
            break
    assert len(seen) == len(set(seen)) == 7  # signup, and two for each namespace


async def test_changes_are_kept_within_bounds(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHANGES_KEPT", 3)
    other = await cloud.other_process()
    await other.directory.refresh()
    customer = await cloud.customer()
    namespace = await customer.namespace("orders")
    for number in range(5):
        await cloud.tenancy.sign_up(f"x{number}@example.com", "X")
    database = await open_database(cloud.url)
    assert await database.read(lambda c: store.changes_since(c, 0)) is None
    # Too far behind for the notes: it loads everything, and knows as much.
    assert await other.directory.refresh()
    assert other.directory.namespace(namespace.name).name == namespace.name
    assert not await other.directory.refresh()
    await other.close()
    await database.close()


async def test_the_same_operation_id_is_the_same_operation(cloud: Cloud) -> None:
    customer = await cloud.customer()
    namespaces = cloud.tenancy.namespaces
    settings = NamespaceSettings(api_key_enabled=True)
    first = await namespaces.create(customer.owner, "orders", settings, {}, request("Create", "op-1"))
    again = await namespaces.create(customer.owner, "orders", settings, {}, request("Create", "op-1"))
    assert first == again
