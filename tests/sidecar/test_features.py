"""Every feature of the SDK through the sidecar, with plain clients and workers: the service sees ciphertext alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import sdk
from cloud.app.development import Development
from tests.canaries.canary import CANARIES
from tests.canaries.features import use_all
from tests.sidecar.conftest import HOST, Proxy, Start


def secrets_in(data: bytes) -> list[str]:
    return [place for secret, place in CANARIES.places.items() if secret.encode() in data]


@pytest.mark.slow
async def test_the_service_sees_nothing_of_any_feature(
    service: Development,
    make_profile: Callable[..., sdk.Profile],
    start_proxy: Start,
    tmp_path: Path,
) -> None:
    objects = tmp_path / "objects"
    proxy: Proxy = await start_proxy(
        make_profile("default", f"{HOST}:{service.port}", object_store=objects.as_uri(), compression=False)
    )
    CANARIES.places.clear()
    client = await proxy.connect()
    run = await use_all(client)
    assert len(CANARIES) > 70
    for method, message in proxy.sent:
        assert secrets_in(message) == [], method
    assert run.ids
    assert any(objects.rglob("*"))
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert secrets_in(kept) == []
    assert secrets_in(proxy.audit.getvalue().encode()) == []
