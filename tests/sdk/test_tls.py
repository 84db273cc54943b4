"""Connecting over real TLS: with a client certificate, with an API key, with a CA of our own."""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import json
import shlex
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest, GetSystemInfoResponse
from typer.testing import CliRunner

import sdk
from cloud.cli.cert_commands import app as cert_app
from sdk import CodecSettings, Encryption


@dataclasses.dataclass
class Service:
    """A gRPC server over TLS that answers GetSystemInfo and remembers who asked."""

    port: int
    ca_file: Path
    seen: list[tuple[str, dict[str, str]]]


def server_credentials(folder: Path) -> tuple[bytes, bytes]:
    """A certificate for localhost, self-signed, written to server-ca.pem too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "service")])
    names: list[x509.GeneralName] = [
        x509.DNSName("tacit.test"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(minutes=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "server-ca.pem").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, pem


async def serve(folder: Path, client_ca: bytes | None) -> tuple[grpc.aio.Server, Service]:
    service = Service(port=0, ca_file=folder / "server-ca.pem", seen=[])

    async def system_info(request: GetSystemInfoRequest, context: grpc.aio.ServicerContext) -> object:
        names = context.auth_context().get("x509_common_name", [b""])
        metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        service.seen.append((names[0].decode(), metadata))
        if metadata.get("authorization") == "Bearer wrong":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, 'The key is "wrong".')
        return GetSystemInfoResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        system_info,
        request_deserializer=GetSystemInfoRequest.FromString,
        response_serializer=GetSystemInfoResponse.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "temporal.api.workflowservice.v1.WorkflowService", {"GetSystemInfo": handler}
            ),
        )
    )
    credentials = grpc.ssl_server_credentials(
        [server_credentials(folder)], client_ca, require_client_auth=client_ca is not None
    )
    service.port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    return server, service


@pytest.fixture
def ca() -> sdk.CertificateAuthority:
    return sdk.create_ca("workers", "Acme")


@pytest.fixture
async def mtls(tmp_path: Path, ca: sdk.CertificateAuthority) -> AsyncIterator[Service]:
    server, service = await serve(tmp_path, ca.cert_pem)
    yield service
    await server.stop(None)


@pytest.fixture
async def tls(tmp_path: Path) -> AsyncIterator[Service]:
    server, service = await serve(tmp_path, None)
    yield service
    await server.stop(None)


OFF = CodecSettings(encryption=Encryption.OFF)


async def test_client_certificate(mtls: Service, ca: sdk.CertificateAuthority, tmp_path: Path) -> None:
    cert, key = sdk.write_pair(tmp_path, "worker", sdk.issue_client(ca, "worker-1"))
    config = tmp_path / "temporal.toml"
    sdk.write_profile(
        config,
        "default",
        address=f"127.0.0.1:{mtls.port}",
        namespace="orders.acme",
        server_ca_pem_path=mtls.ca_file,
        client_cert_path=cert,
        client_key_path=key,
        server_name="tacit.test",
        codec=OFF,
    )
    client = await sdk.connect(config_file=config)
    assert client.namespace == "orders.acme"
    [(name, _)] = mtls.seen
    assert name == "worker-1"


def profile_with(
    service: Service, pair: sdk.ClientCertificate, folder: Path, name: str = "client"
) -> tuple[Path, Path]:
    """A config file whose default profile shows this certificate, and the certificate's file."""
    cert, key = sdk.write_pair(folder, name, pair)
    config = folder / "temporal.toml"
    sdk.write_profile(
        config,
        "default",
        address=f"127.0.0.1:{service.port}",
        namespace="orders.acme",
        server_ca_pem_path=service.ca_file,
        client_cert_path=cert,
        client_key_path=key,
        server_name="tacit.test",
        codec=OFF,
    )
    return config, cert


async def test_a_certificate_out_of_its_dates_is_told_before_dialling(
    mtls: Service, ca: sdk.CertificateAuthority, tmp_path: Path
) -> None:
    sdk.write_pair(tmp_path, "ca", ca)
    now = datetime.now(UTC)
    expired = sdk.issue_client(ca, "worker 1", timedelta(minutes=1), now=now - timedelta(hours=1))
    config, cert = profile_with(mtls, expired, tmp_path)
    with pytest.raises(sdk.ProfileError) as raised:
        await sdk.connect(config_file=config)
    told = str(raised.value)
    assert (
        f"the client certificate {cert}, which expired on {now - timedelta(minutes=59):%Y-%m-%d %H:%M} UTC"
        in told
    )

    # The command in the sentence makes a certificate that is let in.
    arguments = shlex.split(told.split("`")[1])[2:]
    done = await asyncio.to_thread(CliRunner().invoke, cert_app, [*arguments, "--output", "json"])
    assert done.exit_code == 0, done.stderr
    made = json.loads(done.stdout)
    config.write_text(
        config.read_text()
        .replace(str(cert), made["certificate"])
        .replace(str(cert.with_suffix(".key")), made["key"])
    )
    await sdk.connect(config_file=config)
    assert [name for name, _ in mtls.seen] == ["worker 1"]


async def test_a_certificate_of_the_future_points_to_the_clock(
    mtls: Service, ca: sdk.CertificateAuthority, tmp_path: Path
) -> None:
    early = sdk.issue_client(ca, "worker-1", timedelta(days=1), now=datetime.now(UTC) + timedelta(hours=1))
    config, cert = profile_with(mtls, early, tmp_path)
    with pytest.raises(sdk.ProfileError, match=f"{cert}, which is valid only from .* set the clock"):
        await sdk.connect(config_file=config)


async def test_a_refused_certificate_is_named_with_its_namespace(mtls: Service, tmp_path: Path) -> None:
    foreign = sdk.issue_client(sdk.create_ca("others", "Other"), "worker-1")
    config, cert = profile_with(mtls, foreign, tmp_path)
    with pytest.raises(RuntimeError, match=f"{cert} is signed by a CA of the namespace 'orders.acme'"):
        await sdk.connect(config_file=config)
    assert mtls.seen == []


async def test_without_the_client_certificate_there_is_no_connection(mtls: Service, tmp_path: Path) -> None:
    config = tmp_path / "temporal.toml"
    sdk.write_profile(
        config,
        "default",
        address=f"127.0.0.1:{mtls.port}",
        namespace="orders.acme",
        server_ca_pem_path=mtls.ca_file,
        codec=OFF,
    )
    with pytest.raises(RuntimeError, match="shows no client certificate"):
        await sdk.connect(config_file=config)
    assert mtls.seen == []


async def test_api_key_over_tls(tls: Service, tmp_path: Path) -> None:
    config = tmp_path / "temporal.toml"
    sdk.write_profile(
        config,
        "default",
        address=f"127.0.0.1:{tls.port}",
        namespace="orders.acme",
        server_ca_pem_path=tls.ca_file,
        api_key="the-key",
        codec=OFF,
    )
    await sdk.connect(config_file=config)
    [(_, metadata)] = tls.seen
    assert metadata["authorization"] == "Bearer the-key"


async def test_server_of_an_unknown_ca_is_not_trusted(tls: Service, tmp_path: Path) -> None:
    config = tmp_path / "temporal.toml"
    address = f"127.0.0.1:{tls.port}"
    sdk.write_profile(config, "default", address=address, namespace="n", api_key="the-key", codec=OFF)
    with pytest.raises(sdk.ConnectFailed, match=f"signed by no CA that is known here.*{config}"):
        await sdk.connect(config_file=config)
    assert tls.seen == []


def profile_without_tls(config: Path, port: int) -> None:
    sdk.write_profile(config, "default", address=f"127.0.0.1:{port}", namespace="n", tls=False, codec=OFF)


async def test_where_nothing_listens_the_profile_and_the_way_out_are_named(tmp_path: Path) -> None:
    config = tmp_path / "temporal.toml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        profile_without_tls(config, port)
        with pytest.raises(sdk.ConnectFailed) as failed:
            await sdk.connect(config_file=config)
    told = str(failed.value)
    assert told.startswith(f"Profile 'default' can't connect: 127.0.0.1:{port} can't be reached: ")
    assert "Start the service" in told
    assert f"[profile.default] of {config}" in told
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__


async def test_a_service_with_tls_is_told_to_a_client_without(tls: Service, tmp_path: Path) -> None:
    config = tmp_path / "temporal.toml"
    profile_without_tls(config, tls.port)
    with pytest.raises(sdk.ConnectFailed, match=f"speaks TLS only.*{config}.*TEMPORAL_TLS=true"):
        await sdk.connect(config_file=config)
    assert tls.seen == []


async def test_a_service_without_tls_is_told_to_a_client_with(tmp_path: Path) -> None:
    config = tmp_path / "temporal.toml"
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    address = f"127.0.0.1:{port}"
    sdk.write_profile(config, "default", address=address, namespace="n", api_key="the-key", codec=OFF)
    try:
        with pytest.raises(sdk.ConnectFailed, match=f"what listens at {address} has no TLS.*{config}"):
            await sdk.connect(config_file=config)
    finally:
        await server.stop(None)


async def test_a_refusal_is_told_in_the_services_own_words(tls: Service, tmp_path: Path) -> None:
    config = tmp_path / "temporal.toml"
    sdk.write_profile(
        config,
        "default",
        address=f"127.0.0.1:{tls.port}",
        namespace="n",
        server_ca_pem_path=tls.ca_file,
        api_key="wrong",
        codec=OFF,
    )
    with pytest.raises(sdk.ConnectFailed, match=f'refuses: The key is "wrong". .*{config}') as failed:
        await sdk.connect(config_file=config)
    assert "metadata" not in str(failed.value).lower()


async def test_api_key_is_not_sent_in_the_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "temporal.toml"
    sdk.write_profile(config, "default", address="service.test:1", namespace="n", tls=False, codec=OFF)
    monkeypatch.setenv("TEMPORAL_API_KEY", "the-key")
    with pytest.raises(sdk.ProfileError, match=r"would travel to service\.test:1 unencrypted"):
        await sdk.connect(config_file=config)
