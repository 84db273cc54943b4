"""What the steps of the demonstration share: the folder, the service, the client's side, and how a check fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle

import sdk
from tests import processes
from tests.demo.workflows import Index, IndexLibrary
from tests.processes import Server, python_module

# A tenth of the default: on the standard library's sources, compressed, some dozen payloads are above it.
OFFLOAD_THRESHOLD_BYTES = 24 * 1024


class CheckFailedError(Exception):
    """What the demonstration claims is not so."""


def require(holds: object, claim: str) -> None:
    """Raise CheckFailedError with `claim` unless it holds."""
    if not holds:
        raise CheckFailedError(f"not so: {claim}")


@dataclass(kw_only=True)
class Story:
    """The state that grows from step to step. `say` shows progress within a step: a sentence, done, of how many."""

    folder: Path
    say: Callable[[str, int, int], None]
    service: Server
    worker: Server | None = None
    workers_started: int = 0
    namespace: str = ""
    client: Client | None = None
    handle: WorkflowHandle[IndexLibrary, Index] | None = None
    index: Index | None = None
    written_before: list[Path] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """The service's data directory."""
        return self.folder / "data"

    @property
    def objects(self) -> Path:
        """The client's object store."""
        return self.folder / "objects"

    @property
    def config_file(self) -> Path:
        """The client's profiles."""
        return self.folder / "client" / "temporal.toml"

    @property
    def client_environment(self) -> dict[str, str]:
        """What the client's side, commands and workers, is told; the service is told nothing of it."""
        return {
            "TEMPORAL_CONFIG_FILE": str(self.config_file),
            "TACIT_CODEC_OFFLOAD_THRESHOLD_BYTES": str(OFFLOAD_THRESHOLD_BYTES),
        }

    @property
    def connected(self) -> Client:
        """The client, once there is one."""
        if self.client is None:
            raise CheckFailedError("there is no client yet")
        return self.client

    @property
    def indexing(self) -> WorkflowHandle[IndexLibrary, Index]:
        """The workflow, once it is started."""
        if self.handle is None:
            raise CheckFailedError("nothing is being indexed yet")
        return self.handle

    def profile(self, name: str = "default") -> sdk.Profile:
        """A profile that the commands wrote."""
        environment = {**processes.clean_environment(), **self.client_environment}
        return sdk.load_profile(name, config_file=self.config_file, environment=environment)

    def tacit(self, *arguments: str) -> dict[str, Any]:
        """Run a `tacit` command as a person would, and return what it says as JSON.

        Raises:
            ProcessFailedError: it failed; the message is its own.
        """
        answer: dict[str, Any] = processes.tacit(*arguments, env=self.client_environment)
        return answer

    def start_worker(self) -> None:
        """Start a worker process, in place of the one before."""
        self.workers_started += 1
        log = self.folder / f"worker-{self.workers_started}.log"
        self.worker = python_module("tests.demo.worker", log=log, env=self.client_environment)
        self.worker.start()

    def end(self) -> None:
        """Stop all processes."""
        if self.worker is not None:
            self.worker.kill()
        self.service.stop()
