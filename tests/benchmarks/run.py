"""What every benchmark is given: servers to measure, loads to put on them, and a line of progress."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.load import Connection, Spec, dump
from tests.processes import ROOT, ProcessFailedError, Server, rss_bytes, tacit_dev, temporal_dev

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
        with self._started(tacit_dev(self._fresh(), database), extra_pids) as running:
            yield running

    @contextmanager
    def real(self) -> Iterator[Running]:
        """A fresh real server on an SQLite file."""
        with self._started(temporal_dev(self._fresh()), ()) as running:
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
            env={**os.environ, **running.connection.env},
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

    def _fresh(self) -> Path:
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
