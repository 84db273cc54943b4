"""One-activity workflows through `tacit codec proxy`, beside the same without it: plainly, and with the codec in the worker."""

from __future__ import annotations

from statistics import median
from typing import Any

import codec
import sdk
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.load import Connection
from tests.benchmarks.run import Run, Running
from tests.processes import BIN, Server, free_port

IN_FLIGHT = 20
SECONDS = 8.0
ROUNDS = 3
PLAIN = "direct, not encrypted"
IN_PROCESS = "direct, with the codec in the worker"
THROUGH = "through the sidecar"


def figures(run: Run) -> list[Figure]:
    """All three ways in turn against one `tacit dev`; the median of three rounds."""
    with run.ours() as running:
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
            taken = _taken(run, running, ways, proxy.pid)
        finally:
            proxy.stop()
    return _told(taken)


def _taken(
    run: Run, running: Running, ways: dict[str, Connection], proxy_pid: int
) -> dict[str, list[dict[str, Any]]]:
    taken: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, connection in ways.items():
            pids = [proxy_pid] if way == THROUGH else running.pids
            measured = Running(
                server=running.server, connection=connection, pids=pids, rest_rss_bytes=running.rest_rss_bytes
            )
            taken[way].append(
                run.load(measured, "one-activity", way, in_flight=IN_FLIGHT, seconds=run.seconds(SECONDS))
            )
    return taken


def _told(taken: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    values = {
        way: {
            key: median(one[key] for one in results)
            for key in ("per_second", "client_cpu_ms", "server_cpu_ms", "median_ms")
        }
        for way, results in taken.items()
    }
    through, plain, in_process = values[THROUGH], values[PLAIN], values[IN_PROCESS]
    return [
        Figure(
            name=f"throughput {THROUGH}",
            unit="/s",
            ours=through["per_second"],
            peer=plain["per_second"],
            peer_name=PLAIN,
            target=Target(bound=0.8, at_least=True),
        ),
        Figure(
            name=f"throughput {THROUGH}, beside the codec in the worker",
            unit="/s",
            ours=through["per_second"],
            peer=in_process["per_second"],
            peer_name=IN_PROCESS,
        ),
        Figure(
            name=f"median latency {THROUGH}",
            unit="ms",
            ours=through["median_ms"],
            peer=plain["median_ms"],
            peer_name=PLAIN,
        ),
        Figure(name="CPU of the sidecar per workflow", unit="ms", ours=through["server_cpu_ms"]),
        Figure(
            name=f"CPU of the worker per workflow, {THROUGH}",
            unit="ms",
            ours=through["client_cpu_ms"],
            peer=in_process["client_cpu_ms"],
            peer_name=IN_PROCESS,
        ),
    ]
