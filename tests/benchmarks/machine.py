"""The facts of the machine and of the programs that a figure depends on."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from tests.processes import BIN, ROOT

PACKAGES = ("tacit", "temporalio", "grpcio", "uvloop", "protobuf", "sqlalchemy", "cryptography")


def facts() -> dict[str, object]:
    """What is needed to judge a figure later, or on another machine."""
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "load_average_before": psutil.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "peer": _output([str(BIN / "temporal"), "--version"]),
        "commit": _output(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
    }


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo")
    names = (
        [line for line in lines.read_text().splitlines() if line.startswith("model name")]
        if lines.exists()
        else []
    )
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown: {error}"
