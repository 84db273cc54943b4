"""Azure Key Vault: the vendor's client over HTTPS, against a small server of ours.

There is no emulator to install. The server is written from the REST reference: RSA keys with versions, the challenge before a
token, wrapKey and unwrapKey, and the statuses that the service answers with.
"""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.keyvault.keys import KeyClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from codec import (
    EncryptionCodec,
    EnvelopeKeys,
    InvalidPayload,
    KeyServiceDenied,
    KeyServiceError,
    KeyServiceUnavailable,
    open_key_service,
)
from codec.keys.service import KeyService
from codec.keys.services.azure import AzureKeyVault
from tests.codec.key_services import ServiceContract
from tests.codec.test_envelope import PAYLOAD

OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Credential:
    """A token for whoever asks."""

    def __init__(self) -> None:
        self.valid = True

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        if not self.valid:
            raise ClientAuthenticationError("a secret of the service")
        return AccessToken("token", int(time.time()) + 3600)


class FakeVault:
    """Keys of Key Vault, over HTTPS."""

    def __init__(self, folder: Path) -> None:
        self.keys: dict[str, dict[str, rsa.RSAPrivateKey]] = {}
        self.faults: list[tuple[int, str]] = []
        self.calls: list[str] = []
        self.credential = Credential()
        self.ca = folder / "server.pem"
        vault = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._handle(b"")

            def do_POST(self) -> None:
                self._handle(self.rfile.read(int(self.headers["Content-Length"] or 0)))

            def _handle(self, body: bytes) -> None:
                if "Authorization" not in self.headers:
                    challenge = 'Bearer authorization="https://login.invalid/tenant", resource="https://vault.azure.net"'
                    return self._answer(401, {}, {"WWW-Authenticate": challenge})
                path = self.path.partition("?")[0]
                vault.calls.append(path)
                return self._answer(*vault.answer(path, json.loads(body) if body else {}))

            def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
                data = json.dumps(content).encode()
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*_certificate(folder))
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def rotate(self, name: str) -> str:
        version = f"{len(self.keys.get(name, {})) + 1:032x}"
        self.keys.setdefault(name, {})[version] = rsa.generate_private_key(65537, 2048)
        return version

    def open(self, name: str, *, foreign: bool = False, pinned: str = "") -> AzureKeyVault:
        url = f"{self.url}/keys/{name}" + (f"/{pinned}" if pinned else "")

        def client(vault: str) -> KeyClient:
            return KeyClient(
                vault,
                self.credential,
                verify_challenge_resource=False,
                connection_verify=str(self.ca),
                retry_total=0,
            )

        scheme = "azurekeyvault" if foreign else "azure-key-vault"
        return AzureKeyVault(url, key_id=f"{scheme}:{url}", client=client, foreign=foreign)

    def answer(self, path: str, body: dict[str, str]) -> tuple[int, Any]:
        if self.faults:
            status, code = self.faults.pop(0)
            return status, {"error": {"code": code, "message": "a secret of the service"}}
        _, _, name, *rest = path.rstrip("/").split("/")
        versions = self.keys.get(name, {})
        operation = rest.pop() if rest and rest[-1] in ("wrapkey", "unwrapkey") else "get"
        version = rest[0] if rest else (list(versions)[-1] if versions else "")
        key = versions.get(version)
        if key is None:
            return 404, {"error": {"code": "KeyNotFound"}}
        kid = f"{self.url}/keys/{name}/{version}"
        if operation == "get":
            numbers = key.public_key().public_numbers()
            return 200, {
                "key": {
                    "kid": kid,
                    "kty": "RSA",
                    "key_ops": ["wrapKey", "unwrapKey"],
                    "n": encoded(numbers.n.to_bytes(256, "big")),
                    "e": encoded(numbers.e.to_bytes(3, "big")),
                },
                "attributes": {"enabled": True},
            }
        content = decoded(body["value"])
        if operation == "wrapkey":
            return 200, {"kid": kid, "value": encoded(key.public_key().encrypt(content, OAEP))}
        try:
            return 200, {"kid": kid, "value": encoded(key.decrypt(content, OAEP))}
        except ValueError:
            return 400, {"error": {"code": "BadParameter"}}


def _certificate(folder: Path) -> tuple[Path, Path]:
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vault")]),
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[FakeVault]:
    fake = FakeVault(tmp_path)
    for key in ("orders", "billing"):
        fake.rotate(key)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


class TestContract(ServiceContract):
    # A version that is not there is answered as a key that is not there.
    refusals = (InvalidPayload, KeyServiceDenied)

    @pytest.fixture
    def service(self, vault: FakeVault) -> KeyService:
        return vault.open("orders")

    @pytest.fixture
    def other_key(self, vault: FakeVault) -> KeyService:
        return vault.open("billing")


async def test_payloads_go_and_come(vault: FakeVault) -> None:
    sealed = await EncryptionCodec(EnvelopeKeys(vault.open("orders"), binding="a")).encode([PAYLOAD])
    assert sealed[0].metadata["encryption-key-id"].decode() == f"azure-key-vault:{vault.url}/keys/orders"
    assert await EncryptionCodec(EnvelopeKeys(vault.open("orders"), binding="a")).decode(sealed) == [PAYLOAD]
    # The service does not bind what it wraps; the payload does.
    with pytest.raises(InvalidPayload):
        await EncryptionCodec(EnvelopeKeys(vault.open("orders"), binding="b")).decode(sealed)


async def test_rotation_in_the_service_keeps_older_ones_readable(vault: FakeVault) -> None:
    service = vault.open("orders")
    material, wrapped = await service.generate("a")
    second = vault.rotate("orders")
    newest, newer = await service.generate("a")
    assert newer[2:34].decode() == second != wrapped[2:34].decode()
    fresh = vault.open("orders")
    assert (await fresh.unwrap(wrapped, "a")).same_as(material)
    assert (await fresh.unwrap(newer, "a")).same_as(newest)
    assert any(call.endswith(f"{second}/unwrapkey") for call in vault.calls)


async def test_temporal_proxys_way_names_no_version(vault: FakeVault) -> None:
    service = vault.open("orders", foreign=True)
    material, wrapped = await service.generate("a")
    assert len(wrapped) == 256
    assert (await service.unwrap(wrapped, "a")).same_as(material)
    vault.rotate("orders")
    pinned = vault.open("orders", foreign=True, pinned=f"{1:032x}")
    assert (await pinned.unwrap(wrapped, "a")).same_as(material)
    url = "azurekeyvault://acme.vault.azure.net/keys/orders"
    assert open_key_service(url).key_id == url


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "Throttled", KeyServiceUnavailable),
        (500, "InternalServerError", KeyServiceUnavailable),
        (503, "ServiceUnavailable", KeyServiceUnavailable),
        (403, "Forbidden", KeyServiceDenied),
        (404, "KeyNotFound", KeyServiceDenied),
        (409, "Conflict", KeyServiceDenied),
        (400, "BadParameter", InvalidPayload),
    ],
)
async def test_what_an_answer_means(vault: FakeVault, status: int, code: str, kind: type[Exception]) -> None:
    service = vault.open("orders")
    _, wrapped = await service.generate("a")
    vault.faults = [(status, code)]
    with pytest.raises(kind) as caught:
        await service.unwrap(wrapped, "a")
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)


async def test_a_key_that_can_not_wrap_is_no_fault_of_a_payload(vault: FakeVault) -> None:
    vault.faults = [(400, "BadParameter")]
    with pytest.raises(KeyServiceDenied, match="BadParameter"):
        await vault.open("orders").generate("a")


async def test_no_credentials(vault: FakeVault) -> None:
    vault.credential.valid = False
    with pytest.raises(KeyServiceDenied, match="no valid credentials"):
        await vault.open("orders").generate("a")


async def test_the_usual_credentials_are_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, value in (
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AZURE_CLIENT_SECRET", raising=False)
    # Nobody listens there: the vault is asked for its challenge first.
    service = open_key_service("azure-key-vault:https://127.0.0.1:1/keys/orders")
    with pytest.raises(KeyServiceUnavailable, match="can't be reached"):
        await service.generate("a")


async def test_nobody_there(vault: FakeVault) -> None:
    service = vault.open("orders")
    vault.server.shutdown()
    vault.server.server_close()
    with pytest.raises(KeyServiceUnavailable, match="can't be reached"):
        await service.generate("a")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("azure-key-vault:orders", "names no key of Azure Key Vault"),
        ("azure-key-vault:https://v.vault.azure.net/keys/orders/1234", "without a version"),
        ("azure-key-vault:http://v.vault.azure.net/keys/orders", "names no key"),
        (
            "azure-key-vault:https://v.vault.azure.net/keys/orders?algorithm=RSA1_5",
            "wraps by no algorithm 'RSA1_5'",
        ),
        ("azure-key-vault:https://v.vault.azure.net/keys/orders?alg=x", "has no setting 'alg'"),
    ],
)
def test_what_can_not_be_opened(url: str, message: str) -> None:
    with pytest.raises(KeyServiceError, match=message):
        open_key_service(url)
