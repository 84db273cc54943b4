"""Runs a suite against one server, and reads what became of each test."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.official import sdk_python
from tests.processes import Server, clean_environment

PART_SECONDS_MAX = 3_600.0
"""A process that takes longer is ended: what it has not told is missing."""

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a test. `reason` is the first line of why it failed or was skipped."""

    outcome: str
    seconds: float
    reason: str = ""


Results = dict[str, Result]
"""By pytest's id of the test."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A checkout of the suite, and the interpreter that has what it needs."""

    checkout: Path
    python: Path


def with_switches(server: Server) -> Server:
    """`server`, with what the suite wants switched on."""
    more = [f"--dynamic-config-value={name}={value}" for name, value in sdk_python.DYNAMIC_CONFIG.items()]
    server.command = [*server.command, *more]
    return server


def run(suite: Suite, server: Server, parts: Iterable[Sequence[str]], folder: Path) -> Results:
    """Run `parts` of the suite one after another against `server`, which is started and stopped; reports go to `folder`."""
    found: Results = {}
    server.start()
    try:
        for number, part in enumerate(parts):
            report = folder / f"{len(list(folder.glob('*.xml')))}-{number}.xml"
            began = time.monotonic()
            _pytest(suite, server.address, part, report)
            told = read(report, suite.checkout)
            found |= told
            print(f"  {part[0]}: {summary(told)} in {time.monotonic() - began:.0f} s", flush=True)
            server.check()
    finally:
        server.stop()
    return found


def _pytest(suite: Suite, address: str, part: Sequence[str], report: Path) -> None:
    command = [
        *(str(suite.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=short"),
        *(*sdk_python.options(address), f"--junit-xml={report}", *part),
    ]
    with report.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=suite.checkout,
            env=clean_environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(PART_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            print(f"  {part[0]}: ended after {PART_SECONDS_MAX:.0f} s; see {log.name}", flush=True)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def read(report: Path, checkout: Path) -> Results:
    """The outcomes in a report of pytest; none if it was not written."""
    found: Results = {}
    if not report.exists():
        return found
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - written by our own run
        why = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        outcome = PASSED if why is None else SKIPPED if why.tag == "skipped" else FAILED
        reason = "" if why is None else (why.get("message") or "").strip().partition("\n")[0][:200]
        test = _id_of(case.get("classname", ""), case.get("name", ""), checkout)
        if test not in found or outcome == FAILED:  # an error as it ended counts
            found[test] = Result(outcome=outcome, seconds=float(case.get("time", 0)), reason=reason)
    return found


def _id_of(class_name: str, name: str, checkout: Path) -> str:
    """Pytest's id, from dotted names: the longest beginning that is a file is the module, the rest are classes."""
    parts = class_name.split(".") if class_name else name.split(".")
    for length in range(len(parts), 0, -1):
        path = "/".join(parts[:length]) + ".py"
        if (checkout / path).is_file():
            return "::".join([path, *parts[length:], name])
    return "::".join([*parts, name])


def summary(results: Results) -> str:
    """How many of each outcome."""
    counts = dict.fromkeys((PASSED, FAILED, SKIPPED), 0)
    for result in results.values():
        counts[result.outcome] += 1
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
