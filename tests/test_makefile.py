"""`make setup` says what it does while it does it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.processes import ROOT

PIP = """#!/bin/sh
echo "pip was given: $*"
"""


def test_setup_shows_that_it_is_at_work(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PIP)
    python.chmod(0o700)
    made = subprocess.run(
        ["make", "setup", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        # Under `make test` this would be a make within a make, which says so and takes its flags.
        env={name: value for name, value in os.environ.items() if "MAKE" not in name and name != "MFLAGS"},
        capture_output=True,
        text=True,
        check=True,
    )
    before, pip, after = made.stdout.splitlines()
    assert "a minute or two" in before
    assert pip.startswith("pip was given: -m pip install")
    assert not {"-q", "--quiet"} & set(pip.split())
    assert "tacit runs" in after
