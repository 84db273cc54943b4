"""Runs a page of the documentation as its reader would: block by block, in one folder, with one profile.

What a fenced block is stands behind its three backticks: `sh` (a shell's commands), `sh background` (a server, which runs until
the end; a port behind it is the one to wait for), `python NAME` (saved under that name), `toml tacit.toml` (lines of the
profile's table). Text in backquotes right behind "It prints", below a block, is in what its commands printed.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.processes import BIN, ROOT, clean_environment, free_port

SECONDS_MAX = 60
_BLOCK = re.compile(
    r"^```(?P<info>[a-z]+(?: [^\n]*)?)\n(?P<body>.*?)^```$(?P<after>.*?)(?=^```|^#|\Z)",
    re.DOTALL | re.MULTILINE,
)
_PROMISE = re.compile(r"It prints `([^`]+)`")


class Block(NamedTuple):
    """One fenced block: its language and words, its text, what is promised of it, and its line in the page."""

    kind: str
    words: tuple[str, ...]
    body: str
    promised: tuple[str, ...]
    line: int


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page that say what they are."""
    text = page.read_text()
    for match in _BLOCK.finditer(text):
        kind, *words = match["info"].split()
        promised = tuple(_PROMISE.findall(match["after"]))
        yield Block(kind, tuple(words), match["body"], promised, text.count("\n", 0, match.start()) + 1)


@dataclass
class Reader:
    """Somebody who follows a page, in `folder`. Ports of the page are others here: `ports` has which."""

    folder: Path
    more: Mapping[str, str] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    _servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ports.setdefault("7233", str(free_port()))
        (self.folder / "temporal.toml").touch()
        # As the README advises: the SDK's own end of the interpreter may abort after all is done.
        (self.folder / "sitecustomize.py").write_text(
            "import atexit, time\natexit.register(time.sleep, 0.3)\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            **clean_environment(),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHONPATH": f"{self.folder}:{ROOT}",
            "TEMPORAL_CONFIG_FILE": str(self.folder / "temporal.toml"),
            "TEMPORAL_ADDRESS": f"127.0.0.1:{self.ports['7233']}",
            **self.more,
        }

    def follow(self, block: Block) -> str:
        """Do what a block says. Returns what was printed."""
        match block.kind:
            case "python":
                (self.folder / block.words[0]).write_text(self._here(block.body))
            case "toml":
                self._add(self.folder / block.words[0], self._here(block.body))
            case "sh" if block.words[:1] == ("background",):
                self._serve(block.body.strip(), *block.words[1:])
            case "sh":
                return self._run(self._here(block.body))
        return ""

    def end(self) -> None:
        """Stop what runs in the background."""
        for server in reversed(self._servers):
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()

    def _here(self, text: str) -> str:
        """With this run's ports and folders."""
        for written, port in self.ports.items():
            text = text.replace(f"localhost:{written}", f"127.0.0.1:{port}")
        return text.replace("/tmp/orders-objects", str(self.folder / "objects"))

    def _add(self, path: Path, lines: str) -> None:
        """Put settings into the profile's table, in place of those of the same name."""
        names = {line.split("=")[0].strip() for line in lines.splitlines() if "=" in line}
        kept = [line for line in path.read_text().splitlines() if line.split("=")[0].strip() not in names]
        path.write_text("\n".join(kept) + "\n" + lines)

    def _serve(self, command: str, port: str = "7233") -> None:
        chosen = self.ports.setdefault(port, str(free_port()))
        listening = f" --listen 127.0.0.1:{chosen}" if " proxy" in command else f" --port {chosen}"
        log = (self.folder / f"background-{len(self._servers)}.log").open("wb")
        self._servers.append(
            subprocess.Popen(
                ["bash", "-c", f"exec {command}{listening}"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        give_up = time.monotonic() + SECONDS_MAX
        while True:
            try:
                with socket.create_connection(("127.0.0.1", int(chosen)), timeout=1):
                    return
            except OSError:
                if time.monotonic() > give_up or self._servers[-1].poll() is not None:
                    told = (self.folder / f"background-{len(self._servers) - 1}.log").read_text()
                    raise AssertionError(f"`{command}` does not listen: {told[-2000:]}") from None
                time.sleep(0.05)

    def _run(self, commands: str) -> str:
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", commands],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode in (0, 134, 139), (
            f"{done.returncode} of {commands}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )
        return done.stdout + done.stderr
