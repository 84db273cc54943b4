"""The programs: what each needs, how it is built, and how it is run."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.processes import ROOT, clean_environment

SOURCES = Path(__file__).parent
BUILD = ROOT / "build" / "sdks"
BUILD_SECONDS_MAX = 1_200
RUN_SECONDS_MAX = 300

STEPS = (
    "connect",
    "activities and timers",
    "signals and queries",
    "updates",
    "children",
    "continue as new",
    "cancel and terminate",
    "schedules",
    "visibility",
    "replay",
)
"""What every program does, by the names that it prints."""


class BuildFailedError(Exception):
    """A program can't be built; the message is the tool's last words."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program in `SOURCES`/`name`. `build` are the commands that make it, `command` runs it, both in its folder.

    `crossing` runs it as one of several languages with the same keys (`crossing.py`).
    """

    name: str
    sdk: str
    tools: Sequence[str]
    build: Sequence[Sequence[str]]
    command: Callable[[Path], Sequence[str]]
    crossing: Callable[[Path], Sequence[str]]
    version: Callable[[Path], str]

    def missing(self) -> list[str]:
        """The tools that this machine has not."""
        return [tool for tool in self.tools if shutil.which(tool) is None]

    def made(self) -> Path:
        """Build it.

        Raises:
            BuildFailedError: it can't be built.
        """
        folder = BUILD / self.name
        shutil.copytree(SOURCES / self.name, folder, dirs_exist_ok=True)
        for command in self.build:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX, check=False
            )
            if done.returncode:
                lines = (done.stdout + done.stderr).strip().splitlines()[-8:]
                raise BuildFailedError(f"`{' '.join(command)}` failed:\n" + "\n".join(lines))
        return folder

    def run(self, folder: Path, env: Mapping[str, str]) -> dict[str, str]:
        """Run it: "ok" or what went wrong, for every step."""
        try:
            done = subprocess.run(
                self.command(folder),
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS_MAX,
                check=False,
                env={**clean_environment(), **env},
            )
            printed, ended = done.stdout, f"it ended with {done.returncode}: {done.stderr.strip()[-400:]}"
        except subprocess.TimeoutExpired as error:
            printed = (error.stdout or b"").decode(errors="replace")
            ended = f"it did not end within {RUN_SECONDS_MAX} s"
        told = dict(line.split(": ", 1) for line in printed.splitlines() if ": " in line)
        outcomes = {}
        for step in STEPS:
            outcomes[step] = told.get(step, ended)
            if step not in told:
                ended = "not tried"
        return outcomes


def _go_version(folder: Path) -> str:
    found = re.search(r"go\.temporal\.io/sdk v(\S+)", (folder / "go.mod").read_text())
    return found[1] if found else "?"


def _node_version(folder: Path) -> str:
    package = (folder / "node_modules" / "@temporalio" / "client" / "package.json").read_text()
    found = re.search(r'"version": "([^"]+)"', package)
    return found[1] if found else "?"


def _java_version(folder: Path) -> str:
    found = re.search(r"<temporal.version>([^<]+)<", (folder / "pom.xml").read_text())
    return found[1] if found else "?"


def _java(folder: Path) -> tuple[str, ...]:
    classes = f"{folder / 'target' / 'classes'}:{(folder / 'classpath').read_text().strip()}"
    return ("java", "-cp", classes)


PROGRAMS = (
    Program(
        name="go",
        sdk="Go",
        tools=("go",),
        build=(("go", "build", "-o", "program", "."),),
        command=lambda folder: (str(folder / "program"),),
        crossing=lambda folder: (str(folder / "program"),),
        version=_go_version,
    ),
    Program(
        name="node",
        sdk="TypeScript",
        tools=("node", "npm"),
        build=(("npm", "install", "--no-audit", "--no-fund", "--no-package-lock"),),
        command=lambda folder: ("node", str(folder / "main.js")),
        crossing=lambda folder: ("node", str(folder / "crossing.js")),
        version=_node_version,
    ),
    Program(
        name="java",
        sdk="Java",
        tools=("java", "mvn"),
        build=(("mvn", "-q", "-B", "compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath"),),
        command=lambda folder: (*_java(folder), "sdks.Main"),
        crossing=lambda folder: (*_java(folder), "sdks.Crossing"),
        version=_java_version,
    ),
)
