"""Tenancy as a whole: starting, stopping, following, and callers that give up."""

import asyncio
from dataclasses import replace

import pytest

from tenancy import service
from tenancy.access import PrincipalKind
from tenancy.database import open_database
from tenancy.errors import Forbidden, Invalid, LimitReached
from tenancy.keys import ApiKeySettings
from tenancy.model import NamespaceSettings, OperationState
from tenancy.office import standing

from .certificates_made import DAY, NOW
from .conftest import Cloud, request


async def test_starting_and_stopping_twice_is_harmless(cloud: Cloud) -> None:
    other = await cloud.other_process()
    await other.close()
    await other.close()
    again = await cloud.other_process()
    await again.start()
    await again.start()
    await again.close()


async def test_another_process_follows_by_itself(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "REFRESH_INTERVAL_SECONDS", 0.01)
    other = await cloud.other_process()
    await other.start()
    customer = await cloud.customer()
    async with asyncio.timeout(10):
        while other.directory.version < cloud.tenancy.directory.version:
            await asyncio.sleep(0.01)
    assert other.directory.authenticate_api_key(customer.signed_up.api_key, NOW) == customer.owner
    await other.close()


async def test_a_change_runs_to_its_end_though_the_caller_gives_up(cloud: Cloud) -> None:
    customer = await cloud.customer()
    creating = asyncio.create_task(
        cloud.tenancy.namespaces.create(
            customer.owner, "orders", NamespaceSettings(api_key_enabled=True), {}, request("C", "op-1")
        )
    )
    await asyncio.sleep(0)
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    async with asyncio.timeout(10):
        while not await cloud.tenancy.unfinished_operations():
            await asyncio.sleep(0.01)
    (operation,) = await cloud.tenancy.unfinished_operations()
    assert operation.id == "op-1"
    assert operation.resource_id == f"orders.{customer.account_id}"


async def test_settling_twice_is_harmless(cloud: Cloud) -> None:
    customer = await cloud.customer()
    namespaces = cloud.tenancy.namespaces
    settings = NamespaceSettings(api_key_enabled=True)
    made = await namespaces.create(customer.owner, "orders", settings, {}, request("CreateNamespace"))
    first = await namespaces.settle(made)
    assert first.state is OperationState.FULFILLED
    assert await namespaces.settle(made, "too late") == first


async def test_limits_hold_though_two_processes_write_at_once(cloud: Cloud) -> None:
    customer = await cloud.customer()
    other = await cloud.other_process()
    settings = ApiKeySettings(
        owner_kind=customer.owner.kind,
        owner_id=customer.signed_up.user.id,
        display_name="k",
        expires_at=NOW + DAY,
    )
    attempts = [
        tenancy.api_keys.create(customer.owner, settings, request("CreateApiKey"))
        for tenancy in (cloud.tenancy, other)
        for _ in range(8)
    ]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert (
        sum(isinstance(one, LimitReached) for one in results) == 7
    )  # 16 and the signup's, of which 10 may be
    assert sum(isinstance(one, tuple) for one in results) == 9
    await other.close()


async def test_a_certificate_has_no_standing_in_the_account(cloud: Cloud) -> None:
    customer = await cloud.customer()
    certificate = replace(customer.owner, kind=PrincipalKind.CERTIFICATE, id="certificate:x.y:ff")
    database = await open_database(cloud.url)
    with pytest.raises(Forbidden, match="API key"):
        await database.read(lambda connection: standing(connection, certificate))
    await database.close()


async def test_signup_refuses_with_every_fault(cloud: Cloud) -> None:
    with pytest.raises(Invalid) as refusal:
        await cloud.tenancy.sign_up("nobody", "\x00")
    assert {fault.field for fault in refusal.value.faults} == {"email", "display_name"}


async def test_secrets_are_in_no_repr(cloud: Cloud) -> None:
    customer = await cloud.customer()
    assert customer.signed_up.api_key not in repr(customer.signed_up)


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite:////nowhere/at/all\0/x.db"])
async def test_a_bad_database_url_is_an_error(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the two say different things
        await open_database(url)
