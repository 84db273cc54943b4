"""AWS KMS, against moto's server over HTTP, and against one that throttles, fails or hangs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from moto.server import ThreadedMotoServer
from temporalio.api.common.v1 import Payload

from codec import (
    EncryptionCodec,
    EnvelopeKeys,
    InvalidPayload,
    KeyServiceDenied,
    KeyServiceError,
    KeyServiceNotAsked,
    KeyServiceUnavailable,
    Patience,
    WriteFormat,
    open_key_service,
)
from codec.keys.service import KeyService, PatientService
from tests.codec.key_services import BoundServiceContract
from tests.codec.test_envelope import PAYLOAD
from tests.processes import free_port

REGION = "eu-central-1"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def admin(endpoint: str) -> Any:
    return boto3.client("kms", region_name=REGION, endpoint_url=endpoint)


@pytest.fixture
def arn(admin: Any) -> str:
    return str(admin.create_key()["KeyMetadata"]["Arn"])


def opened(arn: str, endpoint: str) -> KeyService:
    return open_key_service(f"aws-kms:{arn}?endpoint={endpoint}")


class TestContract(BoundServiceContract):
    # What names a key that is not there is answered so by moto, and by KMS for who may not know which keys there are.
    refusals = (InvalidPayload, KeyServiceDenied)

    @pytest.fixture
    def service(self, arn: str, endpoint: str) -> KeyService:
        return opened(arn, endpoint)

    @pytest.fixture
    def other_key(self, admin: Any, endpoint: str) -> KeyService:
        return opened(admin.create_key()["KeyMetadata"]["Arn"], endpoint)


async def test_payloads_go_and_come(arn: str, endpoint: str) -> None:
    sealed = await EncryptionCodec(EnvelopeKeys(opened(arn, endpoint), binding="a")).encode([PAYLOAD])
    assert sealed[0].metadata["encryption-key-id"].decode() == f"aws-kms:{arn}"
    reader = EncryptionCodec(EnvelopeKeys(opened(arn, endpoint), binding="a"))
    assert await reader.decode(sealed) == [PAYLOAD]


async def test_an_alias_names_the_key(admin: Any, arn: str, endpoint: str) -> None:
    admin.create_alias(AliasName="alias/orders", TargetKeyId=arn)
    service = open_key_service(f"aws-kms:alias/orders?region={REGION}&endpoint={endpoint}")
    material, wrapped = await service.generate("a")
    assert service.key_id == "aws-kms:alias/orders"
    assert (await service.unwrap(wrapped, "a")).same_as(material)


async def test_a_missing_key(arn: str, endpoint: str) -> None:
    with pytest.raises(KeyServiceDenied, match=r"refuses \(NotFoundException\)"):
        await opened(arn[:-4] + "0000", endpoint).generate("a")


async def test_no_credentials(monkeypatch: pytest.MonkeyPatch, arn: str, endpoint: str) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(KeyServiceNotAsked, match=r"was not asked: .*NoCredentialsError.*AWS_PROFILE"):
        await opened(arn, endpoint).generate("a")


async def test_the_region_of_the_usual_variables_and_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(KeyServiceNotAsked, match=r"no region is known.*AWS_REGION"):
        await open_key_service("aws-kms:alias/orders?endpoint=http://127.0.0.1:1").generate("a")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    with pytest.raises(KeyServiceUnavailable):
        await open_key_service("aws-kms:alias/orders?endpoint=http://127.0.0.1:1").generate("a")


async def test_temporal_proxy_is_read_and_may_be_written_for(
    admin: Any, arn: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payload as temporal-proxy writes it: its data key by KMS's Encrypt, base64, AES-256-GCM without more."""
    secret, nonce = bytes(range(32)), bytes(12)
    blob = admin.encrypt(KeyId=arn, Plaintext=secret)["CiphertextBlob"]
    url = f"awskms:///{arn}?region={REGION}"
    payload = Payload(
        metadata={
            "encoding": b"binary/encrypted",
            "encryption-key-id": url.encode(),
            "encryption-dek": base64.b64encode(blob),
        },
        data=nonce + AESGCM(secret).encrypt(nonce, PAYLOAD.SerializeToString(), None),
    )
    # Where KMS is, the vendor's own clients read here, the proxy's too.
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", endpoint)
    theirs = open_key_service(url)
    codec = EncryptionCodec(
        EnvelopeKeys(opened(arn, endpoint), binding="a", also=[theirs]), write_format=WriteFormat.SAMPLES
    )
    assert await codec.decode([payload]) == [PAYLOAD]
    written = (
        await EncryptionCodec(EnvelopeKeys(theirs, binding="a"), write_format=WriteFormat.SAMPLES).encode(
            [PAYLOAD]
        )
    )[0]
    assert written.metadata["encryption-key-id"].decode() == url
    key = admin.decrypt(CiphertextBlob=base64.b64decode(written.metadata["encryption-dek"]))["Plaintext"]
    assert Payload.FromString(AESGCM(key).decrypt(written.data[:12], written.data[12:], None)) == PAYLOAD


async def test_nobody_there(arn: str) -> None:
    with pytest.raises(KeyServiceUnavailable, match=r"can't be reached \(EndpointConnectionError\)"):
        await opened(arn, f"http://127.0.0.1:{free_port()}").generate("a")


class Unwell:
    """A KMS that answers as it is told: a status with an error's code, or not at all."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.asked = 0
        self.hang = Event()
        unwell = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                unwell.asked += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                if not unwell.answers:
                    unwell.hang.wait(20)
                    return
                status, code = unwell.answers.pop(0)
                body = json.dumps({"__type": code, "message": "a secret of the service"}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def unwell() -> Iterator[Unwell]:
    server = Unwell()
    yield server
    server.hang.set()
    server.server.shutdown()
    server.server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ThrottlingException", KeyServiceUnavailable),
        (400, "LimitExceededException", KeyServiceUnavailable),
        (500, "KMSInternalException", KeyServiceUnavailable),
        (500, "KeyUnavailableException", KeyServiceUnavailable),
        (503, "DependencyTimeoutException", KeyServiceUnavailable),
        (502, "", KeyServiceUnavailable),
        (400, "AccessDeniedException", KeyServiceDenied),
        (400, "KMSInvalidStateException", KeyServiceDenied),
        (400, "DisabledException", KeyServiceDenied),
        (400, "ExpiredTokenException", KeyServiceDenied),
        (400, "InvalidCiphertextException", InvalidPayload),
        (400, "IncorrectKeyException", InvalidPayload),
    ],
)
async def test_what_an_answer_means(unwell: Unwell, status: int, code: str, kind: type[Exception]) -> None:
    unwell.answers = [(status, code)]
    with pytest.raises(kind) as caught:
        await opened(f"arn:aws:kms:{REGION}:111122223333:key/k", unwell.endpoint).unwrap(b"x", "a")
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)
    assert unwell.asked == 1


async def test_throttled_then_well(unwell: Unwell, arn: str) -> None:
    unwell.answers = [(400, "ThrottlingException"), (503, ""), (400, "AccessDeniedException")]
    patient = PatientService(opened(arn, unwell.endpoint), Patience())
    with pytest.raises(KeyServiceDenied):
        await patient.generate("a")
    assert unwell.asked == 3


async def test_hanging_is_an_error_in_bounded_time(unwell: Unwell, arn: str) -> None:
    patience = Patience(attempt_seconds=0.3, attempts=2, total_seconds=1, backoff_seconds_max=0.01)
    patient = PatientService(opened(arn, unwell.endpoint), patience)
    with pytest.raises(KeyServiceUnavailable, match="did not answer within"):
        await patient.generate("a")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "aws-kms:alias/x?regoin=eu",
            "AWS KMS has no setting 'regoin'; there are: endpoint, profile, region",
        ),
        ("aws-kms:", "names no key service"),
        ("aws:alias/x", "names no key service"),
        ("", "names no key service"),
        ("awskms:///?region=x", "names no key service"),
    ],
)
def test_what_can_not_be_opened(url: str, message: str) -> None:
    with pytest.raises(KeyServiceError, match=message):
        open_key_service(url)


@pytest.mark.parametrize(
    ("module", "url", "extra"),
    [
        ("boto3", "aws-kms:alias/x", "aws"),
        ("google.cloud.kms", "gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/k", "gcp"),
        ("azure.identity", "azure-key-vault:https://v.vault.azure.net/keys/k", "azure"),
        ("hvac", "vault-transit:transit/k?address=http://x", "vault"),
    ],
)
def test_a_missing_client_library_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, url: str, extra: str
) -> None:
    monkeypatch.setattr(
        "codec.keys.services.client.importlib.util.find_spec",
        lambda name: None if name == module else object(),
    )
    with pytest.raises(KeyServiceError, match=rf"not installed: pip install 'tacit\[{extra}\]'"):
        open_key_service(url)
