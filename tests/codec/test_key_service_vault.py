"""Vault's Transit engine, against a real OpenBao server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from codec import (
    EncryptionCodec,
    EnvelopeKeys,
    InvalidPayload,
    KeyServiceDenied,
    KeyServiceError,
    KeyServiceNotAsked,
    KeyServiceUnavailable,
    open_key_service,
)
from codec.keys.service import KeyService
from tests.codec.key_services import BoundServiceContract
from tests.codec.test_envelope import PAYLOAD
from tests.openbao import TOKEN, Bao, bao_server
from tests.processes import free_port


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with bao_server(tmp_path_factory.mktemp("bao")) as server:
        yield server


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("VAULT_ADDR", "VAULT_NAMESPACE", "VAULT_CACERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))


class TestContract(BoundServiceContract):
    @pytest.fixture
    def service(self, bao: Bao) -> KeyService:
        return bao.service("orders")

    @pytest.fixture
    def other_key(self, bao: Bao) -> KeyService:
        return bao.service("billing")


async def test_payloads_go_and_come(bao: Bao) -> None:
    sealed = await EncryptionCodec(EnvelopeKeys(bao.service("orders"), binding="a")).encode([PAYLOAD])
    assert sealed[0].metadata["encryption-key-id"] == b"vault-transit:transit/orders"
    assert await EncryptionCodec(EnvelopeKeys(bao.service("orders"), binding="a")).decode(sealed) == [PAYLOAD]


async def test_rotation_in_the_service_keeps_older_ones_readable(bao: Bao) -> None:
    bao.admin.secrets.transit.create_key("rotated")
    service = bao.service("rotated")
    material, wrapped = await service.generate("a")
    assert wrapped.startswith(b"vault:v1:")
    bao.admin.secrets.transit.rotate_key("rotated")
    _, newer = await service.generate("a")
    assert newer.startswith(b"vault:v2:")
    assert (await service.unwrap(wrapped, "a")).same_as(material)
    bao.admin.secrets.transit.update_key_configuration("rotated", min_decryption_version=2)
    with pytest.raises(KeyServiceDenied, match="below min_decryption_version"):
        await service.unwrap(wrapped, "a")
    await service.unwrap(newer, "a")


async def test_a_key_that_is_gone(bao: Bao) -> None:
    bao.admin.secrets.transit.create_key("gone")
    service = bao.service("gone")
    _, wrapped = await service.generate("a")
    bao.admin.secrets.transit.update_key_configuration("gone", deletion_allowed=True)
    bao.admin.secrets.transit.delete_key("gone")
    with pytest.raises(KeyServiceDenied, match="no such key"):
        await service.unwrap(wrapped, "a")


async def test_rights(bao: Bao, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bao.admin.sys.create_or_update_policy(
        "reader", 'path "transit/decrypt/orders" { capabilities = ["update"] }'
    )
    reader = bao.admin.auth.token.create(policies=["reader"])["auth"]["client_token"]
    _, wrapped = await bao.service("orders").generate("a")
    monkeypatch.setenv("VAULT_TOKEN", reader)
    await bao.service("orders").unwrap(wrapped, "a")
    with pytest.raises(KeyServiceDenied, match=r"vault-transit:transit/orders refuses \(Forbidden\)"):
        await bao.service("orders").generate("a")
    monkeypatch.delenv("VAULT_TOKEN")
    with pytest.raises(KeyServiceNotAsked, match=r"was not asked: there is no token"):
        await bao.service("orders").generate("a")


async def test_a_token_file_is_followed(bao: Bao, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VAULT_TOKEN")
    file = tmp_path / "token"
    service = bao.service("orders", **{"token-file": str(file)})
    file.write_text("expired\n")
    with pytest.raises(KeyServiceDenied, match="Forbidden"):
        await service.generate("a")
    file.write_text(TOKEN + "\n")
    await service.generate("a")


async def test_nobody_there() -> None:
    service = open_key_service(f"vault-transit:transit/orders?address=http://127.0.0.1:{free_port()}")
    with pytest.raises(KeyServiceUnavailable, match="can't be reached"):
        await service.generate("a")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("vault-transit:transit/orders", "has no address: set VAULT_ADDR"),
        ("vault-transit:orders?address=http://x", "names no key of Vault"),
        ("vault-transit:transit/orders?adress=http://x", "has no setting 'adress'; there are: address"),
        ("vault-transit:", "names no key service"),
    ],
)
def test_what_can_not_be_opened(url: str, message: str) -> None:
    with pytest.raises(KeyServiceError, match=message):
        open_key_service(url)


async def test_a_key_that_cannot_bind_is_told(bao: Bao) -> None:
    bao.admin.secrets.transit.create_key("rsa", key_type="rsa-2048")
    with pytest.raises(KeyServiceDenied, match="can't encrypt with associated data"):
        await bao.service("rsa").generate("a")


async def test_sealed_is_unavailable(bao: Bao) -> None:
    service = bao.service("orders")
    _, wrapped = await service.generate("a")
    with pytest.raises(InvalidPayload):
        await service.unwrap(wrapped, "b")
    # Last, as nothing unseals it again.
    bao.admin.sys.seal()
    with pytest.raises(KeyServiceUnavailable, match=r"can't answer now \(VaultDown\)"):
        await service.unwrap(wrapped, "a")
