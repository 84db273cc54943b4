"""What every benchmark is given: servers to measure, loads to put on them, and a line of progress."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sdk
from tests.benchmarks.load import Connection, Spec, dump
from tests.processes import (
    ROOT,
    ProcessFailedError,
    Server,
    clean_environment,
    rss_bytes,
    sign_up,
    tacit_dev,
    tacit_up,
    temporal_dev,
)

REST_SECONDS = 2.0


class NotTakenError(Exception):
    """A figure can't be taken here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A started server. `pids` share its cost; `rest_rss_bytes` is its memory before any load."""

    server: Server
    connection: Connection
    pids: list[int]
    rest_rss_bytes: int


@dataclass(frozen=True, kw_only=True)
class CloudConnections:
    """How to reach one namespace of `tacit up`, by certificate and by API key; payloads are encrypted."""

    certificate: Connection
    api_key: Connection


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the benchmarks: `quick` trades precision for time, `peer` measures the real server too."""

    quick: bool
    peer: bool
    folder: Path
    on_step: Callable[[str, float], None]

    def seconds(self, full: float) -> float:
        """How long a load runs that takes `full` seconds in a full run."""
        return full / 4 if self.quick else full

    @contextmanager
    def ours(self, database: str | None = None, extra_pids: tuple[int, ...] = ()) -> Iterator[Running]:
        """A fresh `tacit dev`, by default on an SQLite file."""
        with self._started(tacit_dev(self.fresh_folder(), database), extra_pids) as running:
            yield running

    @contextmanager
    def real(self) -> Iterator[Running]:
        """A fresh real server on an SQLite file."""
        with self._started(temporal_dev(self.fresh_folder()), ()) as running:
            yield running

    def load(self, running: Running, kind: str, label: str, **spec: Any) -> dict[str, Any]:
        """Put a load on a server from a process of its own, and return what it measured.

        Raises:
            NotTakenError: the load failed.
        """
        self.on_step(label, 0.0)
        whole = Spec(kind=kind, connection=running.connection, pids=running.pids, **spec)
        errors = (self.folder / "load.log").open("w+")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.load", dump(whole)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env={**clean_environment(), **running.connection.env},
        )
        result: dict[str, Any] | None = None
        assert process.stdout is not None
        with errors, process:
            for line in process.stdout:
                said = json.loads(line)
                result = said.get("result", result)
                self.on_step(label, said.get("done", 1.0))
            process.wait()
            if process.returncode or result is None:
                errors.seek(0)
                last = [line for line in errors.read().splitlines() if line.strip()][-1:]
                raise NotTakenError(f"the load {kind!r} failed: {''.join(last) or 'no reason given'}")
        return result

    @contextmanager
    def cloud(self) -> Iterator[tuple[Running, CloudConnections]]:
        """A fresh `tacit up` with an account and an encrypted namespace."""
        folder = self.fresh_folder()
        server = tacit_up(folder)
        config = folder / "client" / "temporal.toml"
        env = {"TEMPORAL_CONFIG_FILE": str(config)}
        with self._started(server, ()) as running:
            try:
                name = sign_up(server, folder, namespace="bench", objects=folder / "objects", env=env)
            except ProcessFailedError as error:
                raise NotTakenError(str(error)) from error
            profile = sdk.load_profile("default", config_file=config, environment=clean_environment())
            cloud = sdk.load_profile("cloud", config_file=config, environment=clean_environment())
            sdk.write_profile(
                config,
                "api-key",
                address=cloud.address,
                namespace=name,
                server_ca_pem_path=folder / "data" / "server-ca.pem",
                api_key=cloud.connection.api_key,
                codec=profile.codec,
            )
            yield (
                running,
                CloudConnections(
                    certificate=Connection(profile="default", env=env),
                    api_key=Connection(profile="api-key", env=env),
                ),
            )

    def fresh_folder(self) -> Path:
        """A new folder that is removed at the end of the run."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    @contextmanager
    def _started(self, server: Server, extra_pids: tuple[int, ...]) -> Iterator[Running]:
        self.on_step(f"start {server.name}", 0.0)
        try:
            server.start()
        except ProcessFailedError as error:
            raise NotTakenError(str(error)) from error
        try:
            time.sleep(REST_SECONDS)
            pids = [server.pid, *extra_pids]
            yield Running(
                server=server,
                connection=Connection(address=server.address),
                pids=pids,
                rest_rss_bytes=sum(rss_bytes(pid) for pid in pids),
            )
        finally:
            server.stop()
