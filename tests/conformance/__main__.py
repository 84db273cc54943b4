"""Conformance with the real server.

``python -m tests.conformance``           all of it: scenarios, bad requests and random ones; writes docs/conformance.md
``python -m tests.conformance ADDRESS``   only records what the server at ADDRESS answers to bad requests
``python -m tests.conformance serve PORT HTTP_PORT``   only runs the real server, to record scenarios beside it
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.conformance import switches
from tests.conformance.coverage import read
from tests.conformance.outcomes import GOLDEN, Outcomes, all_outcomes, differences, golden
from tests.conformance.table import Row, markdown, rows, unexplained
from tests.conformance.test_bad_input import KNOWN
from tests.processes import BIN, ROOT, free_port, tacit_dev, temporal_dev

PAGE = ROOT / "docs" / "conformance.md"
RANDOM_REQUESTS = 100_000


def main() -> int:
    if sys.argv[1:2] == ["serve"]:
        port, http_port = sys.argv[2:]
        command = [str(BIN / "temporal"), "server", "start-dev", "--headless", "--log-level", "error"]
        switched = [*switches.for_scenarios(), *switches.for_callbacks(int(http_port))]
        command += ["--port", port, "--http-port", http_port, *switched]
        return subprocess.run(command, check=False).returncode
    if len(sys.argv) > 1:
        outcomes = asyncio.run(all_outcomes(sys.argv[1]))
        GOLDEN.write_text(json.dumps(outcomes, indent=1, ensure_ascii=False) + "\n")
        print(f"{sum(map(len, outcomes.values()))} outcomes of {len(outcomes)} methods in {GOLDEN}")
        return 0
    with tempfile.TemporaryDirectory(prefix="tacit-conformance-") as name:
        return _compare(Path(name))


def _compare(folder: Path) -> int:
    problems: list[str] = []
    bad: dict[str, Outcomes] = {}
    for server in (temporal_dev(folder), tacit_dev(folder)):
        server.command = [*server.command, *switches.for_bad_requests()]
        print(f"{server.name}: bad requests", flush=True)
        server.start()
        try:
            bad[server.name] = asyncio.run(all_outcomes(server.address))
        finally:
            server.stop()
    ours, real = bad["tacit dev"], bad["temporal server"]
    problems += [f"the golden is old: {line}" for line in differences(real, golden())]

    for server in (temporal_dev(folder / "real"), tacit_dev(folder / "ours")):
        server.log.parent.mkdir()
        http_port = free_port()
        switched = switches.for_scenarios()
        if server.log.parent.name == "real":
            switched += switches.for_callbacks(http_port)
        server.command = [*server.command, "--http-port", str(http_port), *switched]
        print(f"{server.name}: scenarios", flush=True)
        server.start()
        try:
            _run_scenarios(
                server.address,
                f"127.0.0.1:{http_port}",
                folder / f"coverage-{server.log.parent.name}",
                ours=server.name == "tacit dev",
            )
        finally:
            server.stop()
    alike = {
        method: sum(ours.get(method, {}).get(label) == outcome for label, outcome in outcomes.items())
        for method, outcomes in real.items()
    }
    reasons = tomllib.loads(KNOWN.read_text())["not_equal"]
    table = rows(read(folder / "coverage-ours"), read(folder / "coverage-real"), alike, reasons)
    PAGE.write_text(markdown(table, _versions()))
    problems += [f"no scenario shows it equal, and no reason is given: {line}" for line in unexplained(table)]

    print(f"random requests: {RANDOM_REQUESTS}", flush=True)
    if _pytest("tests/conformance", TACIT_CONFORMANCE_FUZZ=str(RANDOM_REQUESTS)):
        problems.append("tests/conformance failed")
    print(_summary(table))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _run_scenarios(address: str, http_address: str, coverage: Path, *, ours: bool) -> None:
    # Failures are what the table is made from.
    _pytest(
        "tests/scenarios",
        *("-n", "3", "--dist", "loadfile"),
        TACIT_SCENARIOS_ADDRESS=address,
        TACIT_SCENARIOS_HTTP_ADDRESS=http_address,
        TACIT_SCENARIOS_OURS=str(int(ours)),
        TACIT_CONFORMANCE_COVERAGE=str(coverage),
    )


def _pytest(*arguments: str, **env: str) -> int:
    command = [BIN / "python", "-m", "pytest", "-q", "--no-header", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, check=False).returncode


def _versions() -> str:
    said = subprocess.run([BIN / "temporal", "--version"], capture_output=True, text=True, check=True).stdout
    return said.strip()


def _summary(table: list[Row]) -> str:
    kinds = dict.fromkeys(row.item[0] for row in table)
    return ", ".join(
        f"{kind}s equal: {sum(r.agreed > 0 for r in table if r.item[0] == kind)}"
        f"/{sum(r.item[0] == kind for r in table)}"
        for kind in kinds
    )


if __name__ == "__main__":
    sys.exit(main())
