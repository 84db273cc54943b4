"""Google Cloud KMS: the vendor's client over its own transport (gRPC), against a small server of ours.

There is no emulator to install. The server is written from the API's reference: symmetric keys with versions, CRC32C sums that
it verifies and gives, and the statuses that the service answers with.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.cloud.kms_v1 import KeyManagementServiceClient, types
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

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
from codec.keys.services.gcp import GoogleCloudKms
from tests.codec.key_services import BoundServiceContract
from tests.codec.test_envelope import PAYLOAD

RING = "projects/acme/locations/europe-west3/keyRings/payloads/cryptoKeys"


class FakeKms:
    """Encrypt and Decrypt of KeyManagementService."""

    def __init__(self) -> None:
        self.keys: dict[str, list[AESGCM | None]] = {}
        self.faults: list[grpc.StatusCode] = []
        self.garble = ""
        self.requests: list[Any] = []
        self.server = grpc.server(ThreadPoolExecutor(4))
        handlers = {
            "Encrypt": self._handler(self.encrypt, types.EncryptRequest, types.EncryptResponse),
            "Decrypt": self._handler(self.decrypt, types.DecryptRequest, types.DecryptResponse),
        }
        service = "google.cloud.kms.v1.KeyManagementService"
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    @staticmethod
    def _handler(call: Any, request: Any, response: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=request.deserialize, response_serializer=response.serialize
        )

    def rotate(self, name: str) -> None:
        self.keys.setdefault(name, []).append(AESGCM(secrets.token_bytes(32)))

    def client(self) -> Any:
        channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        return KeyManagementServiceClient(transport=KeyManagementServiceGrpcTransport(channel=channel))

    def open(self, key: str, *, bound: bool = True, key_id: str | None = None) -> GoogleCloudKms:
        name = f"{RING}/{key}"
        return GoogleCloudKms(name, key_id=key_id or f"gcp-kms:{name}", bound=bound, client=self.client)

    def encrypt(self, request: Any, context: grpc.ServicerContext) -> Any:
        versions = self._checked(request, context)
        aead = versions[-1]
        if aead is None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the primary version is not enabled")
        assert aead is not None
        nonce = secrets.token_bytes(12)
        sealed = aead.encrypt(nonce, request.plaintext, request.additional_authenticated_data)
        ciphertext = bytes([len(versions)]) + nonce + sealed
        return types.EncryptResponse(
            name=f"{request.name}/cryptoKeyVersions/{len(versions)}",
            ciphertext=ciphertext,
            ciphertext_crc32c=google_crc32c.value(ciphertext) ^ (self.garble == "ciphertext"),
            verified_plaintext_crc32c=self.garble != "verified",
            verified_additional_authenticated_data_crc32c=True,
        )

    def decrypt(self, request: Any, context: grpc.ServicerContext) -> Any:
        versions = self._checked(request, context)
        sealed = request.ciphertext
        if not sealed or not 1 <= sealed[0] <= len(versions):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Decryption failed: the ciphertext is invalid.")
        aead = versions[sealed[0] - 1]
        if aead is None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the version is destroyed")
        assert aead is not None
        try:
            plaintext = aead.decrypt(sealed[1:13], sealed[13:], request.additional_authenticated_data)
        except (InvalidTag, ValueError):
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
            )
        return types.DecryptResponse(
            plaintext=plaintext,
            plaintext_crc32c=google_crc32c.value(plaintext) ^ (self.garble == "plaintext"),
        )

    def _checked(self, request: Any, context: grpc.ServicerContext) -> list[AESGCM | None]:
        self.requests.append(request)
        if self.faults:
            context.abort(self.faults.pop(0), "a secret of the service")
        for field in ("plaintext", "ciphertext", "additional_authenticated_data"):
            if hasattr(request, field) and google_crc32c.value(getattr(request, field)) != getattr(
                request, f"{field}_crc32c"
            ):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{field} does not fit its sum")
        if request.name not in self.keys:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such key")
        return self.keys[request.name]


@pytest.fixture
def kms() -> Iterator[FakeKms]:
    fake = FakeKms()
    for key in ("orders", "billing"):
        fake.rotate(f"{RING}/{key}")
    yield fake
    fake.server.stop(None)


class TestContract(BoundServiceContract):
    @pytest.fixture
    def service(self, kms: FakeKms) -> KeyService:
        return kms.open("orders")

    @pytest.fixture
    def other_key(self, kms: FakeKms) -> KeyService:
        return kms.open("billing")


async def test_payloads_go_and_come(kms: FakeKms) -> None:
    sealed = await EncryptionCodec(EnvelopeKeys(kms.open("orders"), binding="a")).encode([PAYLOAD])
    assert sealed[0].metadata["encryption-key-id"].decode() == f"gcp-kms:{RING}/orders"
    assert await EncryptionCodec(EnvelopeKeys(kms.open("orders"), binding="a")).decode(sealed) == [PAYLOAD]


async def test_rotation_in_the_service_keeps_older_ones_readable(kms: FakeKms) -> None:
    service = kms.open("orders")
    material, wrapped = await service.generate("a")
    kms.rotate(f"{RING}/orders")
    _, newer = await service.generate("a")
    assert (wrapped[0], newer[0]) == (1, 2)
    assert (await service.unwrap(wrapped, "a")).same_as(material)
    kms.keys[f"{RING}/orders"][0] = None
    with pytest.raises(KeyServiceDenied, match="FailedPrecondition"):
        await service.unwrap(wrapped, "a")


async def test_temporal_proxys_way_has_no_associated_data(kms: FakeKms) -> None:
    url = f"gcpkms://{RING}/orders"
    service = kms.open("orders", bound=False, key_id=url)
    await service.unwrap((await service.generate("a"))[1], "b")
    assert {bytes(one.additional_authenticated_data) for one in kms.requests} == {b""}
    assert open_key_service(url).key_id == url


@pytest.mark.parametrize("garble", ["ciphertext", "verified"])
async def test_sums_of_an_encryption_are_checked(kms: FakeKms, garble: str) -> None:
    kms.garble = garble
    with pytest.raises(KeyServiceUnavailable, match="CRC32C"):
        await kms.open("orders").generate("a")


async def test_sums_of_a_decryption_are_checked(kms: FakeKms) -> None:
    service = kms.open("orders")
    _, wrapped = await service.generate("a")
    kms.garble = "plaintext"
    with pytest.raises(KeyServiceUnavailable, match="CRC32C"):
        await service.unwrap(wrapped, "a")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, KeyServiceUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, KeyServiceUnavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, KeyServiceUnavailable),
        (grpc.StatusCode.INTERNAL, KeyServiceUnavailable),
        (grpc.StatusCode.ABORTED, KeyServiceUnavailable),
        (grpc.StatusCode.PERMISSION_DENIED, KeyServiceDenied),
        (grpc.StatusCode.UNAUTHENTICATED, KeyServiceDenied),
        (grpc.StatusCode.NOT_FOUND, KeyServiceDenied),
        (grpc.StatusCode.FAILED_PRECONDITION, KeyServiceDenied),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidPayload),
    ],
)
async def test_what_an_answer_means(kms: FakeKms, status: grpc.StatusCode, kind: type[Exception]) -> None:
    kms.faults = [status]
    with pytest.raises(kind) as caught:
        await kms.open("orders").unwrap(b"x", "a")
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)
    assert len(kms.requests) == 1


async def test_a_key_that_can_not_encrypt_is_no_fault_of_a_payload(kms: FakeKms) -> None:
    kms.faults = [grpc.StatusCode.INVALID_ARGUMENT]
    with pytest.raises(KeyServiceDenied, match="InvalidArgument"):
        await kms.open("orders").generate("a")


async def test_nobody_there(kms: FakeKms) -> None:
    service = kms.open("orders")
    kms.server.stop(None).wait()
    with pytest.raises(KeyServiceUnavailable, match="ServiceUnavailable"):
        await service.generate("a")


async def test_the_usual_credentials_are_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(KeyServiceNotAsked, match=r"DefaultCredentialsError.*gcloud auth"):
        await open_key_service(f"gcp-kms:{RING}/orders").generate("a")
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "client_email": "worker@acme.invalid",
        "private_key": key.decode(),
        "token_uri": "https://127.0.0.1:1/token",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    with pytest.raises(KeyServiceUnavailable):
        await open_key_service(f"gcp-kms:{RING}/orders?endpoint=127.0.0.1:1").generate("a")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gcp-kms:orders", "names no key of Google Cloud KMS"),
        (f"gcp-kms:{RING}/orders/cryptoKeyVersions/1", "without a version"),
        (f"gcp-kms:{RING}/orders?region=x", "has no setting 'region'"),
    ],
)
def test_what_can_not_be_opened(url: str, message: str) -> None:
    with pytest.raises(KeyServiceError, match=message):
        open_key_service(url)
