"""What `tacit codec serve` says to whoever runs it: where it can be called, that a port is taken, that it has stopped."""

from __future__ import annotations

import signal
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from codec import KeyRing, create_key_ring
from sdk import CodecSettings, write_profile
from tests.gateway.certificates import Pair
from tests.processes import BIN, clean_environment


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    config = tmp_path / "temporal.toml"
    create_key_ring(tmp_path / "ring.json", KeyRing.create("default"))
    settings = CodecSettings(key_ring=tmp_path / "ring.json")
    write_profile(config, "default", address="localhost:1", namespace="default", tls=False, codec=settings)
    return clean_environment() | {"HOME": str(tmp_path), "TEMPORAL_CONFIG_FILE": str(config)}


def said_by(environment: dict[str, str], *options: str) -> str:
    """What it says from its start to its end by Ctrl-C, on one line."""
    command = [str(BIN / "tacit"), "codec", "serve", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = first + process.stderr.read()
        assert process.wait(20) == 0, said
    return " ".join(said.split())


def test_it_says_that_it_has_stopped(environment: dict[str, str]) -> None:
    assert said_by(environment, "--no-auth", "--port", "0").endswith("The codec server has stopped.")


@pytest.mark.parametrize(("named", "called"), [(True, "codec.acme.example"), (False, "HOST")])
def test_where_it_is_called_is_what_its_certificate_says(
    environment: dict[str, str], tmp_path: Path, named: bool, called: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "codec")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )
    if named:
        names = [x509.DNSName(name) for name in ("*.acme.example", "codec.acme.example", "other.example")]
        certificate = certificate.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pair = Pair(key, certificate.sign(key, hashes.SHA256()))
    (tmp_path / "codec.pem").write_bytes(pair.pem)
    (tmp_path / "codec.key").write_bytes(pair.key_pem)
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("a-token-for-the-cli-of-the-tests")
    tls = ("--tls-cert", str(tmp_path / "codec.pem"), "--tls-key", str(tmp_path / "codec.key"))
    said = said_by(environment, "--ip", "0.0.0.0", "--port", "0", "--token-file", str(token), *tls)  # noqa: S104 - for a second, with a token of its own
    assert f"--codec-endpoint 'https://{called}:" in said


def test_a_port_that_is_taken_is_told_once(environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [str(BIN / "tacit"), "codec", "serve", "--no-auth", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=environment,
        )
    assert done.returncode == 1
    assert done.stderr.count(str(port)) == 1
    assert f"Port {port} on 127.0.0.1 is in use" in done.stderr
