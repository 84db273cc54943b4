"""The codec's figures beside bare AES-256-GCM of the same library."""

from __future__ import annotations

from tests.benchmarks.codec_bench import codec_figures
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.run import Run

BARE = "bare AES-256-GCM"
FULL_ROUNDS = {"large_rounds": 60, "small_rounds": 30}
QUICK_ROUNDS = {"large_rounds": 15, "small_rounds": 8}


def figures(run: Run) -> list[Figure]:
    """Round trips (encode and decode) per second of one core."""
    run.on_step("codec", 0.0)
    taken = codec_figures(**(QUICK_ROUNDS if run.quick else FULL_ROUNDS))
    large = taken["bare_aes_gcm_1mib_round_trips_per_second"]
    small = taken["bare_aes_gcm_1kib_round_trips_per_second"]
    return [
        Figure(
            name="1 MiB payloads, encryption",
            unit="/s",
            ours=taken["encryption_1mib_round_trips_per_second"],
            peer=large,
            peer_name=BARE,
            target=Target(bound=0.8, at_least=True),
        ),
        Figure(
            name="1 MiB payloads of JSON, compression and encryption",
            unit="/s",
            ours=taken["compression_and_encryption_1mib_json_round_trips_per_second"],
            peer=large,
            peer_name=BARE,
        ),
        Figure(
            name="1 KiB payloads, encryption",
            unit="/s",
            ours=taken["encryption_1kib_round_trips_per_second"],
            peer=small,
            peer_name=BARE,
        ),
        Figure(
            name="1 KiB payloads of JSON, compression and encryption",
            unit="/s",
            ours=taken["compression_and_encryption_1kib_json_round_trips_per_second"],
            peer=small,
            peer_name=BARE,
        ),
    ]
