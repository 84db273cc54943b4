"""Samples our server under load with py-spy, to see where its time goes."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.benchmarks.run import NotTakenError, Run
from tests.processes import BIN

SAMPLES_PER_SECOND = 200
SECONDS = 12.0


def record(run: Run, path: Path) -> Path:
    """Write a profile of `tacit dev` with 20 one-activity workflows in flight to `path`.

    Raises:
        NotTakenError: py-spy could not attach, or wrote nothing.
    """
    form = "flamegraph" if path.suffix == ".svg" else "speedscope"
    path.parent.mkdir(parents=True, exist_ok=True)
    with run.ours() as running:
        command = [BIN / "py-spy", "record", "--pid", running.server.pid, "--format", form, "--output", path]
        command += ["--rate", SAMPLES_PER_SECOND, "--subprocesses", "--duration", "unlimited"]
        sampler = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        run.load(running, "one-activity", "tacit dev: profiled", in_flight=20, seconds=run.seconds(SECONDS))
        sampler.send_signal(signal.SIGINT)
        said, _ = sampler.communicate(timeout=60)
    if not path.exists():
        raise NotTakenError(f"py-spy wrote no profile: {said.strip().splitlines()[-1:]}")
    return path
