"""`tacit codec proxy` as a process, as its user sees it; and against the real server."""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.service import TLSConfig

import sdk
from cloud.app.development import Development
from cloud.sidecar.audit import AuditLog
from cloud.sidecar.listening import CannotListen, Tls, server
from cloud.sidecar.setting_up import routes_of
from cloud.sidecar.sidecar import Sidecar
from tests.processes import BIN, Server, clean_environment, free_port, temporal_dev
from tests.sidecar.conftest import HOST, Start
from tests.sidecar.test_sidecar import Shouter, run_one, worker

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def config(tmp_path: Path, ring: Path) -> Path:
    return tmp_path / "temporal.toml"


def profile(config: Path, name: str, address: str, ring: Path, namespace: str = "default") -> None:
    sdk.write_profile(
        config, name, address=address, namespace=namespace, tls=False, codec=sdk.CodecSettings(key_ring=ring)
    )


def proxy_command(config: Path, port: int, *options: str) -> Server:
    return Server(
        name="tacit codec proxy",
        command=[
            *(str(BIN / "tacit"), "codec", "proxy", "--listen", f"{HOST}:{port}", "--output", "json"),
            *options,
        ],
        ports=[port],
        log=config.parent / "proxy.log",
        env={"TEMPORAL_CONFIG_FILE": str(config)},
    )


@pytest.fixture
def refused(config: Path) -> Command:
    """Runs the command where it ends by itself."""

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "tacit"), "codec", "proxy", *options],
            env={**clean_environment(), "TEMPORAL_CONFIG_FILE": str(config)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def real_server(tmp_path: Path) -> Iterator[Server]:
    server = temporal_dev(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.xdist_group("temporal-server")
async def test_before_the_real_server(real_server: Server, config: Path, ring: Path, tmp_path: Path) -> None:
    profile(config, "default", real_server.address, ring)
    audit = tmp_path / "audit.jsonl"
    proxy = proxy_command(config, free_port(), "--audit", str(audit), "--audit-durability", "synced")
    proxy.start()
    try:
        client = await _connected(proxy.address)
        async with worker(client):
            assert await run_one(client, "needle") == "NEEDLE"
            handle = await client.start_workflow(
                Shouter.run,
                args=["needle", True],
                id=f"w-{uuid.uuid4()}",
                task_queue="q",
                memo={"m": "needle"},
            )
            assert await handle.query(Shouter.ask, "needle") == "needle"
            await handle.signal(Shouter.go)
            assert await handle.result() == "NEEDLE"
            assert await (await handle.describe()).memo_value("m") == "needle"
        direct = await Client.connect(real_server.address)
        history = await direct.get_workflow_handle(handle.id).fetch_history()
        assert "needle" not in history.to_json().lower()
        assert "tacit-encrypted" in str(history.events)
        through = await client.get_workflow_handle(handle.id).fetch_history()
        assert "needle" not in str(through.events[0].workflow_execution_started_event_attributes.header)
        assert (
            b"needle" in through.events[0].workflow_execution_started_event_attributes.input.payloads[0].data
        )
    finally:
        proxy.stop()
    told = proxy.log.read_text()
    assert json.loads(told.splitlines()[0])["namespaces"][0]["encrypts"] is True
    assert json.loads(told.splitlines()[-1])["counts"]["payloads decoded"] > 0
    assert {json.loads(line)["namespace"] for line in audit.read_text().splitlines()} == {"default"}
    assert "needle" not in audit.read_text()


async def _connected(address: str) -> Client:
    """The real server says for a moment after its start that it is not ready."""
    import asyncio

    for _ in range(100):
        try:
            return await Client.connect(address)
        except RuntimeError:
            await asyncio.sleep(0.1)
    return await Client.connect(address)


def test_it_stops_when_it_is_asked(config: Path, ring: Path) -> None:
    profile(config, "default", "127.0.0.1:1", ring)
    proxy = proxy_command(config, free_port())
    proxy.start()
    assert proxy._process is not None
    proxy._process.send_signal(signal.SIGINT)
    assert proxy._process.wait(20) == 0
    assert '"counts"' in proxy.log.read_text()


def test_what_it_can_not_do(refused: Command, config: Path, ring: Path, tmp_path: Path) -> None:
    def says(words: str, code: int, *options: str) -> None:
        done = refused(*options)
        assert done.returncode == code, done.stderr
        assert words in " ".join(done.stderr.split()), done.stderr

    profile(config, "a", "127.0.0.1:1", ring)
    profile(config, "b", "127.0.0.1:2", ring)
    profile(config, "c", "127.0.0.1:2", tmp_path / "missing.json", namespace="other")
    says("There is no profile 'none'", 1, "--profile", "none")
    says("local-namespace", 1, "--profile", "a", "--profile", "b")
    says("missing.json", 1, "--profile", "c")
    says("--listen is HOST:PORT", 2, "--profile", "a", "--listen", "7235")
    says("loopback alone", 1, "--profile", "a", "--listen", "0.0.0.0:0")
    secured = ("--listen", "0.0.0.0:0", "--tls-cert", "x.pem", "--tls-key", "y.pem")
    says("Say who may connect", 1, "--profile", "a", *secured)
    says("go together", 2, "--profile", "a", "--tls-cert", "x.pem")
    says("can't be read", 1, "--profile", "a", "--tls-cert", "x.pem", "--tls-key", "y.pem")
    token = tmp_path / "token"
    token.write_text("open to others")
    token.chmod(0o644)
    says("token", 1, "--profile", "a", "--token-file", str(token))
    says("audit", 1, "--profile", "a", "--audit", str(tmp_path / "no" / "audit.jsonl"))


class TestTls:
    @pytest.fixture
    def ca(self) -> sdk.CertificateAuthority:
        return sdk.create_ca("workers", "Acme")

    async def test_workers_elsewhere_with_certificates(
        self,
        service: Development,
        make_profile: Callable[..., sdk.Profile],
        start_proxy: Start,
        tmp_path: Path,
        ca: sdk.CertificateAuthority,
    ) -> None:
        from cloud.gateway import OwnCertificate

        shown = OwnCertificate(tmp_path / "tls", ["localhost"])
        pair = shown.current()
        (tmp_path / "cert.pem").write_bytes(pair.chain_pem)
        (tmp_path / "key.pem").write_bytes(pair.key_pem)
        (tmp_path / "ca.pem").write_bytes(ca.cert_pem)
        tls = Tls(cert=tmp_path / "cert.pem", key=tmp_path / "key.pem", client_ca=tmp_path / "ca.pem")
        proxy = await start_proxy(make_profile("default", f"{HOST}:{service.port}"), tls=tls)
        mine = sdk.issue_client(ca, "worker")
        config = TLSConfig(
            server_root_ca_cert=shown.ca_pem,
            domain="localhost",
            client_cert=mine.cert_pem,
            client_private_key=mine.key_pem,
        )
        client = await proxy.connect(tls=config)
        async with worker(client):
            assert await run_one(client) == "SECRET"
        other = sdk.issue_client(sdk.create_ca("others", "Acme"), "worker")
        with pytest.raises(RuntimeError):
            await proxy.connect(
                tls=TLSConfig(
                    server_root_ca_cert=shown.ca_pem,
                    domain="localhost",
                    client_cert=other.cert_pem,
                    client_private_key=other.key_pem,
                )
            )

    def test_files_that_are_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(CannotListen, match="can't be read"):
            Tls(cert=tmp_path / "a", key=tmp_path / "b").material()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "proxy.example"])  # noqa: S104 # to be refused
async def test_beyond_loopback_somebody_is_asked(
    host: str, make_profile: Callable[..., sdk.Profile], tmp_path: Path
) -> None:
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (tmp_path / name).write_bytes(b"-")
    shown = Tls(cert=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    asking = Tls(cert=tmp_path / "cert.pem", key=tmp_path / "key.pem", client_ca=tmp_path / "ca.pem")
    routes = routes_of([make_profile("default", "127.0.0.1:1")])
    anybody = Sidecar(routes, audit=AuditLog(None))
    with_token = Sidecar(routes, audit=AuditLog(None), token="open-sesame")  # of a test
    with pytest.raises(CannotListen, match="Say who may connect"):
        server(anybody, host=host, tls=shown)
    with pytest.raises(CannotListen, match="loopback alone"):
        server(with_token, host=host, tls=None)
    server(anybody, host=host, tls=asking)
    server(with_token, host=host, tls=shown)
    server(anybody, host="127.0.0.1", tls=shown)
    for route in routes.all:
        await route.upstream.close()
