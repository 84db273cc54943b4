"""docs/codec-server.md: every snippet is run in order, as a reader would, with names and ports of the test's own."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import sdk
from cloud.gateway.server_certificate import OwnCertificate
from tests.codec.server.oidc import oidc
from tests.codec.server.test_codec_serve import Confidential, Setup, report
from tests.codec.server.test_codec_serve import setup as setup
from tests.processes import BIN, ROOT, Server, clean_environment, free_port

PAGE = ROOT / "docs" / "codec-server.md"
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SERVES = re.compile(r"(tacit codec serve (?:.|\\\n)*?) &$", re.MULTILINE)


class Reader:
    """Somebody who follows the page in a shell of their own."""

    def __init__(self, setup: Setup, issuer: str) -> None:
        self.setup = setup
        self.exports = ""
        self.server: Server | None = None
        self.ports = {"8081": str(free_port()), "8443": str(free_port())}
        own = OwnCertificate(setup.folder / "tls", ("127.0.0.1",))
        (setup.folder / "ca.pem").write_bytes(own.ca_pem)
        shown = own.current()
        (setup.folder / "codec.pem").write_bytes(shown.chain_pem)
        (setup.folder / "codec.key").write_bytes(shown.key_pem)
        (setup.folder / "codec.key").chmod(0o600)
        self.replaced = {
            **{f":{old}": f":{new}" for old, new in self.ports.items()},
            **{f"--port {old}": f"--port {new}" for old, new in self.ports.items()},
            "--ip 0.0.0.0": "--ip 127.0.0.1",
            "codec.acme.example": "127.0.0.1",
            "https://login.acme.example": issuer,
            "--type Order --task-queue orders": "--type Confidential --task-queue q",
        }

    def own(self, text: str) -> str:
        for old, new in self.replaced.items():
            text = text.replace(old, new)
        return text

    @property
    def env(self) -> dict[str, str]:
        folder = self.setup.folder
        return clean_environment() | {
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "TEMPORAL_CONFIG_FILE": str(self.setup.config),
            "TEMPORAL_ADDRESS": self.setup.dev.address,
            "SSL_CERT_FILE": str(folder / "ca.pem"),
        }

    def run(self, block: str) -> str:
        """Run a block of shell; servers in it are started and waited for."""
        block = self.own(block)
        for command in _SERVES.findall(block):
            before, _, block = block.partition(f"{command} &")
            self._shell(before)
            self._serve(command)
        return self._shell(block)

    def _serve(self, command: str) -> None:
        self.stop()
        port = re.search(r"--port (\d+)", command)
        assert port is not None
        self.server = Server(
            name="codec server",
            command=["bash", "-c", f"cd {self.setup.folder} && exec {command}"],
            ports=[int(port[1])],
            log=self.setup.folder / "server.log",
            env=self.env,
        )
        self.server.start()

    def _shell(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{self.exports}\n{script}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.setup.folder,
            env=self.env,
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}"
        self.exports += "".join(
            f"{line}\n" for line in script.splitlines() if line.startswith(("export", "unset"))
        )
        return done.stdout

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()


def blocks() -> Iterator[tuple[str, str, str]]:
    found = _BLOCK.findall(PAGE.read_text())
    assert len(found) >= 7
    return iter(found)


async def test_the_page(setup: Setup) -> None:
    client = await sdk.connect(config_file=setup.config)
    async with (
        oidc() as issuer,
        Worker(
            client,
            task_queue="q",
            workflows=[Confidential],
            activities=[report],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ),
    ):
        reader = Reader(setup, issuer.url)
        said = []
        try:
            for language, name, block in blocks():
                if language == "toml":
                    (setup.folder / name).write_text(reader.own(block))
                else:
                    assert language == "sh"
                    said.append(await asyncio.to_thread(reader.run, block))
        finally:
            await asyncio.to_thread(reader.stop)
    audit = [json.loads(line) for line in (setup.folder / "codec-audit.jsonl").read_text().splitlines()]
    assert {line["outcome"] for line in audit} == {"done"}
    assert {line["who"]["kind"] for line in audit} == {"nobody", "token"}
    decoded = json.loads((setup.folder / "decoded.json").read_text())
    assert decoded["events"][0]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"
    assert "Ada Lovelace" in said[-1]
    assert '"customer": "Ada"' in said[-1]


@pytest.mark.parametrize(
    "option", ["--fetch-mib", "--body-mib", "--rate", "--origin", "--credentials", "--audit", "--access"]
)
def test_the_page_names_what_there_is(option: str) -> None:
    assert option in PAGE.read_text()
    shown = subprocess.run(
        [str(BIN / "tacit"), "codec", "serve", "--help"],
        capture_output=True, text=True, check=True, env=clean_environment() | {"COLUMNS": "200"},
    ).stdout  # fmt: skip
    assert option in shown


def test_files_that_the_page_links_are_there() -> None:
    for place in re.findall(r"`(tests/[^`]+)`", PAGE.read_text()):
        assert (Path(ROOT) / place).exists()
