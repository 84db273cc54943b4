"""`tacit dev` and `tacit up` where their ports are taken."""

from __future__ import annotations

import importlib.metadata
import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import BIN, COMMAND_SECONDS_MAX, free_port


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on loopback that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "tacit", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS_MAX,
    )


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("dev", "--db", "dev.db", "--port", "{taken}"), "--port"),
        (("dev", "--db", "dev.db", "--port", "0", "--http-port", "{taken}"), "--http-port"),
        (("up", "--data", "data", "--mtls-port", "{taken}", "--api-port", "0"), "--mtls-port"),
        (("up", "--data", "data", "--mtls-port", "0", "--api-port", "{taken}"), "--api-port"),
    ],
)
def test_a_taken_port_names_its_option_and_nothing_is_made(
    tmp_path: Path, taken: int, arguments: tuple[str, ...], option: str
) -> None:
    result = run(tmp_path, *(one.format(taken=taken) for one in arguments))
    assert result.returncode == 1
    assert f"Port {taken} on 127.0.0.1 is in use" in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith(f"choose another port with {option}.\n")
    assert list(tmp_path.iterdir()) == []


def test_one_port_can_not_be_both(tmp_path: Path, taken: int) -> None:
    result = run(tmp_path, "up", "--data", "data", "--mtls-port", str(taken), "--api-port", str(taken))
    assert result.returncode == 2
    assert "--mtls-port or --api-port" in result.stderr
    assert list(tmp_path.iterdir()) == []
    result = run(tmp_path, "dev", "--port", str(taken), "--http-port", str(taken))
    assert result.returncode == 2
    assert "--http-port" in result.stderr


@pytest.mark.parametrize("command", ["dev", "up"])
@pytest.mark.parametrize(("option", "ours"), [((), True), (("--transport", "grpc"), False)])
def test_the_transport_is_chosen(tmp_path: Path, command: str, option: tuple[str, ...], ours: bool) -> None:
    ports = ("--port", "0") if command == "dev" else ("--data", "data", "--mtls-port", "0", "--api-port", "0")
    started = [BIN / "tacit", command, *ports, *option, "--output", "json"]
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            assert server.stdout is not None
            told = json.loads(server.stdout.readline())
            # A server whose transport does without grpcio does not load it.
            loaded = "cygrpc" in Path(f"/proc/{server.pid}/maps").read_text()
            port = int(told["address" if command == "dev" else "api_keys"].rpartition(":")[2])
            plain = socket.create_connection(("127.0.0.1", port), timeout=COMMAND_SECONDS_MAX)
            if command == "up":
                context = ssl.create_default_context(cafile=tmp_path / told["server_ca"])
                context.set_alpn_protocols(["h2"])
                plain = context.wrap_socket(plain, server_hostname="localhost")
            with plain as client:
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                said = b""
                while data := client.recv(65_536):
                    said += data
        finally:
            server.terminate()
    assert (b"this port speaks HTTP/2 (gRPC) only" in said) is ours
    assert loaded is not ours


@pytest.mark.parametrize("taken_beside", [False, True])
def test_http_is_served_beside_grpc_or_where_there_is_room(tmp_path: Path, taken_beside: bool) -> None:
    for _ in range(5):
        port = free_port()
        with socket.socket() as beside:
            if taken_beside:
                beside.bind(("127.0.0.1", port + 10))
                beside.listen()
            command = [BIN / "tacit", "dev", "--port", str(port), "--output", "json"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
                assert server.stdout is not None
                told = json.loads(server.stdout.readline())
                server.terminate()
        if taken_beside:
            assert told["http_address"] != f"127.0.0.1:{port + 10}"
            return
        if told["http_address"] == f"127.0.0.1:{port + 10}":
            return
    pytest.fail("somebody had the port beside five times")


@pytest.mark.parametrize(
    ("command", "options"),
    [("dev", ("--ip", "--port", "--http-port")), ("up", ("--host", "--mtls-port", "--api-port"))],
)
def test_the_options_that_are_named_exist(tmp_path: Path, command: str, options: tuple[str, ...]) -> None:
    told = run(tmp_path, command, "--help").stdout
    assert all(option in told for option in options)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("up", "--data", "blocked/data"), "can't be written"),
        (("dev", "--db", "nowhere/dev.db"), "does not exist: create it"),
        (("dev", "--db", "rubbish.db"), "check that it is a SQLite file"),
    ],
)
def test_a_place_that_can_not_hold_the_data_is_told_in_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    (tmp_path / "rubbish.db").write_bytes(b"no database, but long enough to be read as one" * 100)
    ports = ("--port", "0") if arguments[0] == "dev" else ("--mtls-port", "0", "--api-port", "0")
    result = run(tmp_path, *arguments, *ports)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_version_is_told(tmp_path: Path) -> None:
    result = run(tmp_path, "--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"tacit {importlib.metadata.version('tacit')}\n"
    assert "--version" in run(tmp_path, "--help").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_says_that_it_stops(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [BIN / "tacit", "dev", "--port", "0"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        try:
            said = [server.stderr.readline()]
            while said[-1] and "Tacit is ready" not in said[-1]:
                said.append(server.stderr.readline())
            server.send_signal(number)
            rest, _ = server.stderr.read(), server.wait(COMMAND_SECONDS_MAX)
        finally:
            server.kill()
    assert "Stopping: open calls are answered" in rest
    assert "Traceback" not in rest
    assert server.returncode == 0


def test_options_of_the_official_command_are_taken(tmp_path: Path) -> None:
    without_effect = {
        "--ui-ip": "127.0.0.1",
        "--ui-port": "8233",
        "--ui-asset-path": "assets",
        "--ui-codec-endpoint": "http://localhost:1",
        "--ui-public-path": "/ui",
        "--sqlite-pragma": "synchronous=2",
        "--metrics-port": "9090",
    }
    given = [word for option in without_effect.items() for word in option]
    command = [BIN / "tacit", "dev", "-p", "0", "--log-level", "never", "--log-format", "json"]
    flags = ["--log-config", "--ui-disable-news-fetch", "--headless"]
    with subprocess.Popen(
        [*command, *given, *flags], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        try:
            said = [server.stderr.readline()]
            while said[-1] and "Tacit is ready" not in said[-1]:
                said.append(server.stderr.readline())
        finally:
            server.terminate()
    told = {f"{option} has no effect here.\n" for option in [*without_effect, *flags[:2]]}
    assert set(said[:-1]) == told  # and no log line
    assert "Tacit is ready" in said[-1]


def test_what_is_no_http_request_is_told_in_a_line(tmp_path: Path) -> None:
    command = [BIN / "tacit", "dev", "--port", "0", "--output", "json"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            told = json.loads(server.stdout.readline())
            host, _, http_port = told["http_address"].rpartition(":")
            for sent in (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"GET / HTTP/1.1\r\nhost: localhost\r\nno header\r\n\r\n",
                b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
                b"GET / HTTP/9.9\r\n\r\n",
                b"\x16\x03\x01\x02\x00 a client that speaks TLS\r\n\r\n",
            ):
                with socket.create_connection((host, int(http_port)), timeout=COMMAND_SECONDS_MAX) as client:
                    client.sendall(sent)
                    answer = client.recv(65_536)
                assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400")), answer
        finally:
            server.terminate()
            said = server.stderr.read()
    port = told["address"].rpartition(":")[2]
    assert said.count(f"a gRPC client called the HTTP port; gRPC is on port {port}") == 1
    assert "Traceback" not in said
    assert "Error handling request" not in said
