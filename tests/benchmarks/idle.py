"""What waits and does nothing: a million sleeping workflows, ten thousand waiting polls."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.benchmarks import sleepers
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.idle_load import SLEEPER_ID, waker_id
from tests.benchmarks.load import Connection
from tests.benchmarks.run import NotTakenError, Run, Running
from tests.processes import ProcessFailedError, Server, free_port, rss_bytes, tacit_dev

SLEEPERS = 1_000_000
SLEEP_DAYS = 30
WAKERS = 200
WAKE_AFTER_S, WAKE_WITHIN_S = 60, 10
STARTS = 500
POLLS = 10_000
QUICK = 10

MEMORY_MIB_MAX = 500
START_RATIO_MAX = 1.2
POLL_KIB_MAX = 20


def scale(run: Run) -> list[Figure]:
    """Memory with a million sleeping workflows, after a restart and after load; whether they wake; what a start costs there."""
    count = SLEEPERS // QUICK if run.quick else SLEEPERS
    folder = run.fresh_folder()
    server = tacit_dev(folder)
    with _running(run, server) as running:
        run.load(running, "sleeper", "a workflow falls asleep", count=SLEEP_DAYS * 86_400)
    file = folder / "tacit.db"

    def moments() -> Iterator[tuple[str, int]]:
        chance, now = random.Random(1), time.time_ns()
        for number in range(count - WAKERS):
            yield (
                f"sleeping-{number:07}",
                now + chance.randrange(12, SLEEP_DAYS * 24) * 3_600 * sleepers.SECOND,
            )
        now = time.time_ns() + WAKE_AFTER_S * sleepers.SECOND  # the copying took its time
        for number in range(WAKERS):
            yield waker_id(number), now + chance.randrange(WAKE_WITHIN_S * sleepers.SECOND)

    label = f"{count:,} sleeping workflows"
    asyncio.run(sleepers.copy(file, SLEEPER_ID, moments(), lambda n: run.on_step(label, n / count)))
    with ExitStack() as stack:
        running = stack.enter_context(_running(run, tacit_dev(folder)))
        empty = stack.enter_context(run.ours())
        woken = run.load(running, "wakers", f"{WAKERS} of them wake", count=WAKERS)
        start = run.load(running, "starts", f"starts beside {label}", count=STARTS, other=empty.connection)
        run.load(running, "one-activity", "load beside the sleepers", in_flight=20, seconds=run.seconds(10))
        after_load = rss_bytes(running.pids[0])
        running.server.check()
    asleep = sleepers.count(file)
    if asleep < count - WAKERS:
        raise NotTakenError(f"only {asleep:,} of {count:,} workflows are asleep in the end")
    return [
        Figure(
            name=f"memory with {label}, after a restart",
            unit="MiB",
            ours=running.rest_rss_bytes / 1024**2,
            target=Target(bound=MEMORY_MIB_MAX, of_ratio=False),
        ),
        Figure(
            name="the same after load",
            unit="MiB",
            ours=after_load / 1024**2,
            target=Target(bound=MEMORY_MIB_MAX, of_ratio=False),
        ),
        Figure(
            name="latency of a start beside them, median",
            unit="ms",
            ours=start["median_ms"],
            peer=start["other_median_ms"],
            peer_name="empty server",
            target=Target(bound=START_RATIO_MAX),
        ),
        Figure(
            name=f"lateness of {WAKERS} that woke, median",
            unit="ms",
            ours=woken["median_ms"],
            note=f"worst {woken['worst_ms']:.0f} ms",
        ),
    ]


def long_polls(run: Run) -> list[Figure]:
    """Memory of the server process for each waiting poll, beside that of servers which do nothing else: on grpcio, on our transport."""
    count = POLLS // QUICK if run.quick else POLLS
    with run.ours() as running:
        ours = run.load(running, "polls", f"{count:,} waiting polls", count=count)
    bare = {}
    for transport in ("grpc", "http2"):
        with _bare(run, transport) as running:
            words = f"{count:,} calls of a bare server on {transport}"
            bare[transport] = run.load(running, "polls", words, count=count)["bytes_each"] / 1024
    return [
        Figure(
            name=f"memory of a waiting poll, {count:,} of them",
            unit="KiB",
            ours=ours["bytes_each"] / 1024,
            peer=bare["grpc"],
            peer_name="bare grpcio server",
            target=Target(bound=POLL_KIB_MAX, of_ratio=False),
        ),
        Figure(
            name="of that, this service's own",
            unit="KiB",
            ours=ours["bytes_each"] / 1024 - bare["http2"],
        ),
    ]


@contextmanager
def _running(run: Run, server: Server) -> Iterator[Running]:
    """A server whose folder the caller keeps."""
    run.on_step(f"start {server.name}", 0.0)
    try:
        server.start()
    except ProcessFailedError as error:
        raise NotTakenError(str(error)) from error
    try:
        time.sleep(5)
        yield Running(
            server=server,
            connection=Connection(address=server.address),
            pids=[server.pid],
            rest_rss_bytes=rss_bytes(server.pid),
        )
    finally:
        server.stop()


@contextmanager
def _bare(run: Run, transport: str) -> Iterator[Running]:
    port = free_port()
    server = Server(
        name=f"bare {transport}",
        command=[sys.executable, "-m", "tests.benchmarks.bare_server", str(port), transport],
        ports=[port],
        log=run.fresh_folder() / "bare.log",
    )
    with _running(run, server) as running:
        yield running
