"""`python -m tests.benchmarks.audit_lines`: what a line of the sidecar's audit trail costs, beside a bare write to a file.

Callers take turns on one event loop, as calls of workers do. CPU is that of the process, its threads included; waiting is how
long a caller's line took, the other callers' turns included.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from cloud.sidecar.audit import AuditLog
from codec.audit_trail import Durability

CALLERS = 20
Work = Callable[[], Awaitable[None]]


async def _taken(work: Work, lines: int, pause_s: float) -> tuple[float, float, float]:
    """CPU and waiting, median and 99th of 100, in seconds a line."""
    waited: list[float] = []

    async def caller() -> None:
        for _ in range(lines // CALLERS):
            began = time.perf_counter()
            await work()
            waited.append(time.perf_counter() - began)
            await asyncio.sleep(pause_s)

    began = time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    spent = time.process_time() - began
    waited.sort()
    return spent / lines, statistics.median(waited), waited[int(len(waited) * 0.99)]


async def _main(lines: int, per_second: float, folder: Path) -> None:
    pause_s = CALLERS / per_second if per_second else 0.0

    async def nothing() -> None:
        pass

    bare = os.open(folder / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def write() -> None:
        os.write(bare, b"x" * 250 + b"\n")

    logs = {one: AuditLog(folder / one.value, durability=one) for one in Durability}
    with Path(os.devnull).open("w") as null:
        stream = AuditLog(null)

        def line(log: AuditLog) -> Work:
            return lambda: log.decoded(
                namespace="orders.acme",
                method="PollWorkflowTaskQueue",
                payloads=3,
                key_ids={"2026-11-26-0123456789abcdef"},
                identity="4711@worker-1",
                peer="ipv4:127.0.0.1:54321",
            )

        ways = {"nothing": nothing, "bare write": write, "none": line(AuditLog(None))}
        ways |= {f"file, {durability}": line(log) for durability, log in logs.items()}
        ways["stream"] = line(stream)
        for name, work in ways.items():
            await _taken(work, CALLERS, 0)
            count = lines // 10 if name.endswith("synced") and not per_second else lines
            cpu_s, median_s, late_s = await _taken(work, count, pause_s)
            sys.stdout.write(
                f"{name:<16} {cpu_s * 1e6:7.1f} us CPU, waits {median_s * 1e6:8.1f} us, p99 {late_s * 1e6:8.1f} us\n"
            )
        await stream.close()
    for log in logs.values():
        await log.close()
    os.close(bare)


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.audit_lines", description=__doc__)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument(
        "--per-second", type=float, default=0.0, help="of all callers; 0 is as fast as can be"
    )
    parser.add_argument("--folder", type=Path, help="where the files are written")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tacit-audit-", dir=options.folder) as name:
        uvloop.run(_main(options.lines, options.per_second, Path(name)))


if __name__ == "__main__":
    main()
