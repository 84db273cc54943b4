"""The price of each layer: the same load plainly, with the codec, through certificates and guard, with an API key."""

from __future__ import annotations

from typing import Any

import codec
import sdk
from tests.benchmarks.figures import Figure, not_taken
from tests.benchmarks.load import Connection
from tests.benchmarks.run import NotTakenError, Run, Running

IN_FLIGHT = 20
SECONDS = 12.0
MEASURES = {
    "server CPU per workflow": ("ms", "server_cpu_ms"),
    "client CPU per workflow": ("ms", "client_cpu_ms"),
    "throughput": ("/s", "per_second"),
    "median latency": ("ms", "median_ms"),
}
PLAIN = "tacit dev"


def figures(run: Run) -> list[Figure]:
    """Each layer beside plain `tacit dev`, all with 20 in flight."""
    taken: dict[str, dict[str, Any]] = {}

    def load(running: Running, layer: str, connection: Connection) -> None:
        measured = Running(
            server=running.server,
            connection=connection,
            pids=running.pids,
            rest_rss_bytes=running.rest_rss_bytes,
        )
        taken[layer] = run.load(
            measured, "one-activity", layer, in_flight=IN_FLIGHT, seconds=run.seconds(SECONDS)
        )

    with run.ours() as running:
        load(running, PLAIN, running.connection)
        load(running, "with the codec", _with_codec(run, running))
    missing: list[Figure] = []
    try:
        with run.cloud() as (running, connections):
            load(running, "tacit up: certificates, guard, codec", connections.certificate)
            load(running, "tacit up: API key, guard, codec", connections.api_key)
    except NotTakenError as error:
        missing.append(not_taken("the layers of tacit up", "", error))
    plain = taken[PLAIN]
    return missing + [
        Figure(name=f"{measure}, {layer}", unit=unit, ours=result[key], peer=plain[key], peer_name=PLAIN)
        for measure, (unit, key) in MEASURES.items()
        for layer, result in taken.items()
    ]


def _with_codec(run: Run, running: Running) -> Connection:
    """A profile for `tacit dev` whose payloads are encrypted."""
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
    return Connection(profile="default", env={"TEMPORAL_CONFIG_FILE": str(config)})
