"""One-activity workflows through `tacit codec proxy`, beside the same without it: plainly, and with the codec in the worker."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import codec
import sdk
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.load import Connection
from tests.benchmarks.run import Run, Running
from tests.processes import BIN, Server, cpu_seconds, free_port

IN_FLIGHT = 20
SECONDS = 8.0
ROUNDS = 3
WARM_UP_TURNS = 3
"""What the load runs before it measures, as often as there are callers."""
PLAIN = "direct, not encrypted"
IN_PROCESS = "direct, with the codec in the worker"
THROUGH = "through the sidecar"


def figures(run: Run) -> list[Figure]:
    """All ways in turn, before one `tacit dev` and before the real server; the median of three rounds."""
    with run.ours() as running:
        taken = _told(_through(run, running, (PLAIN, IN_PROCESS, THROUGH)), "")
    if run.peer:
        with run.real() as running:
            taken += _told(_through(run, running, (PLAIN, THROUGH)), ", before the real server")
    return taken


def _through(run: Run, running: Running, wanted: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    folder = run.fresh_folder()
    ring = folder / "keyring.json"
    codec.create_key_ring(ring, codec.KeyRing.create("default"))
    config = folder / "temporal.toml"
    sdk.write_profile(
        config,
        "default",
        address=running.connection.address,
        namespace="default",
        tls=False,
        codec=sdk.CodecSettings(key_ring=ring),
    )
    env = {"TEMPORAL_CONFIG_FILE": str(config)}
    port = free_port()
    proxy = Server(
        name="tacit codec proxy",
        command=[
            str(BIN / "tacit"),
            *("codec", "proxy", "--listen", f"127.0.0.1:{port}", "--audit", str(folder / "audit.jsonl")),
        ],
        ports=[port],
        log=folder / "proxy.log",
        env=env,
    )
    proxy.start()
    try:
        ways = {
            PLAIN: running.connection,
            IN_PROCESS: Connection(profile="default", env=env),
            THROUGH: Connection(address=proxy.address),
        }
        return _taken(run, running, {way: ways[way] for way in wanted}, proxy.pid)
    finally:
        proxy.stop()


def _taken(
    run: Run, running: Running, ways: dict[str, Connection], proxy_pid: int
) -> dict[str, list[dict[str, Any]]]:
    taken: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, connection in ways.items():
            measured = Running(
                server=running.server,
                connection=connection,
                pids=[*running.pids, proxy_pid],
                rest_rss_bytes=running.rest_rss_bytes,
            )
            before = cpu_seconds(proxy_pid)
            result = run.load(
                measured, "one-activity", way, in_flight=IN_FLIGHT, seconds=run.seconds(SECONDS)
            )
            ran = result["count"] + WARM_UP_TURNS * IN_FLIGHT
            result["sidecar_cpu_ms"] = (cpu_seconds(proxy_pid) - before) / ran * 1000
            result["all_cpu_ms"] = result["server_cpu_ms"] + result["client_cpu_ms"]
            taken[way].append(result)
    return taken


def _told(taken: dict[str, list[dict[str, Any]]], where: str) -> list[Figure]:
    values = {
        way: {
            key: median(one[key] for one in results)
            for key in ("per_second", "sidecar_cpu_ms", "all_cpu_ms", "median_ms")
        }
        for way, results in taken.items()
    }
    through = values[THROUGH]
    figures = [
        Figure(name=f"CPU of the sidecar per workflow{where}", unit="ms", ours=through["sidecar_cpu_ms"])
    ]
    for way in (PLAIN, IN_PROCESS):
        direct = values.get(way)
        if direct is None:
            continue
        beside = where if way == PLAIN else f"{where}, beside the codec in the worker"
        figures += [
            Figure(
                name=f"throughput {THROUGH}{beside}",
                unit="/s",
                ours=through["per_second"],
                peer=direct["per_second"],
                peer_name=way,
                target=Target(bound=0.8, at_least=True) if way == PLAIN else None,
                note="worker, service and sidecar share this machine's cores" if way == PLAIN else "",
            ),
            Figure(
                name=f"CPU of all processes per workflow, {THROUGH}{beside}",
                unit="ms",
                ours=through["all_cpu_ms"],
                peer=direct["all_cpu_ms"],
                peer_name=way,
            ),
            Figure(
                name=f"median latency {THROUGH}{beside}",
                unit="ms",
                ours=through["median_ms"],
                peer=direct["median_ms"],
                peer_name=way,
            ),
        ]
    return figures
