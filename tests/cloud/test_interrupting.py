"""Ctrl-C while a command is still being imported, or works: no stack trace, and the shell sees an interruption."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import BIN

BEGUN = """
import sys
sys.argv = ["tacit", *sys.argv[1:]]
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            print("importing", flush=True)
            import time
            time.sleep(60)
sys.meta_path.insert(0, Slow())
from cloud.cli.main import main
main()
"""


def heeding() -> None:
    """In the new process: what a shell ignores for its background jobs, a test runner among them, is heeded here."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_amid_the_imports() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BEGUN, "codec", "serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeding,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    # A shell tells it as 130.
    assert process.returncode == -signal.SIGINT
    assert said == ""


@pytest.mark.parametrize("after", [0.4, 0.8, 1.2])
def test_in_the_first_second(after: float, tmp_path: Path) -> None:
    command = [str(BIN / "tacit"), "codec", "serve", "--no-auth", "--port", "0"]
    (tmp_path / "tacit.toml").write_text('version = 1\n[profile.default]\nencryption = "off"\n')
    environment = {
        "TEMPORAL_CONFIG_FILE": str(tmp_path / "temporal.toml"),
        "HOME": str(tmp_path),
        "PATH": "/bin",
    }
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=heeding,
    ) as process:
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert "Traceback" not in said
    # It was ready already, and stopped as asked; or was interrupted.
    assert process.returncode in (0, 130, -signal.SIGINT)
