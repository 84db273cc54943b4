"""`tacit dev` and `tacit up` where their ports are taken."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import BIN, COMMAND_SECONDS_MAX


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


@pytest.mark.parametrize(
    ("command", "options"), [("dev", ("--ip", "--port")), ("up", ("--host", "--mtls-port", "--api-port"))]
)
def test_the_options_that_are_named_exist(tmp_path: Path, command: str, options: tuple[str, ...]) -> None:
    told = run(tmp_path, command, "--help").stdout
    assert all(option in told for option in options)
