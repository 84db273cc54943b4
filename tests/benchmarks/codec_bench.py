"""What encryption costs: our codec beside bare AES-256-GCM of the same library, in one run.

Each figure is the median of many rounds in which all competitors take turns, so that a busy machine slows all of
them alike. Times are CPU time of this process: what is measured is work, not waiting.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from codec import ChainCodec, CompressionCodec, EncryptionCodec, KeyRing
from codec.encryption.xaes256gcm import XAES256GCM, fresh_nonce
from tests.benchmarks.figures import Figure, Target
from tests.benchmarks.run import Run

MEBIBYTE = 1024 * 1024
KIBIBYTE = 1024
LARGE_TIMES = 8
SMALL_TIMES = 500

_LOOP = asyncio.new_event_loop()
"""One for all: making a loop takes as long as encrypting a mebibyte."""


def codec_figures(*, rounds: int = 30) -> dict[str, float]:
    """Figures of one run: ratios to bare AES-256-GCM (1.0: as fast), rates per second of one core."""
    # glibc gives memory back to the system, page by page, until it has seen a larger piece freed: then whoever comes
    # first in a round pays for the faults of all. Any worker has seen one soon.
    bytes(16 * MEBIBYTE)
    ring = KeyRing.create("benchmark")
    bare = AESGCM(ring.active.material.reveal())
    cipher = XAES256GCM(ring.active.material.reveal())
    encryption = EncryptionCodec(ring)
    chain = ChainCodec(CompressionCodec(), EncryptionCodec(ring))
    random_large = Payload(metadata={"encoding": b"binary/plain"}, data=os.urandom(MEBIBYTE))
    text_large = Payload(metadata={"encoding": b"json/plain"}, data=_json_text(MEBIBYTE))
    random_small = Payload(metadata={"encoding": b"json/plain"}, data=os.urandom(KIBIBYTE))
    text_small = Payload(metadata={"encoding": b"json/plain"}, data=_json_text(KIBIBYTE))
    # Compression runs in races of its own: what it leaves of the allocator's heap would decide whether the
    # others' megabytes come with page faults.
    large = _race(
        {
            "bare": lambda: _bare(bare, random_large.data, LARGE_TIMES),
            "cipher": lambda: _cipher_alone(cipher, random_large.data, LARGE_TIMES),
            "codec": lambda: _there_and_back(encryption, random_large, LARGE_TIMES),
            "messages": lambda: _bare_in_messages(bare, random_large, LARGE_TIMES),
        },
        rounds,
    )
    small = _race(
        {
            "bare": lambda: _bare(bare, random_small.data, SMALL_TIMES),
            "codec": lambda: _there_and_back(encryption, random_small, SMALL_TIMES),
        },
        rounds,
    )
    small |= _race({"chain": lambda: _there_and_back(chain, text_small, SMALL_TIMES)}, rounds)
    large |= _race({"chain": lambda: _there_and_back(chain, text_large, LARGE_TIMES)}, rounds)
    return {
        "encryption_1mib_ratio_to_bare_aes_gcm": large["bare"] / large["codec"],
        "encryption_1mib_ratio_to_bare_aes_gcm_in_messages": large["messages"] / large["codec"],
        "bare_aes_gcm_in_messages_1mib_round_trips_per_second": LARGE_TIMES / large["messages"],
        "cipher_alone_1mib_ratio_to_bare_aes_gcm": large["bare"] / large["cipher"],
        "cipher_alone_1mib_round_trips_per_second": LARGE_TIMES / large["cipher"],
        "encryption_1mib_round_trips_per_second": LARGE_TIMES / large["codec"],
        "bare_aes_gcm_1mib_round_trips_per_second": LARGE_TIMES / large["bare"],
        "compression_and_encryption_1mib_json_round_trips_per_second": LARGE_TIMES / large["chain"],
        "encryption_1kib_round_trips_per_second": SMALL_TIMES / small["codec"],
        "bare_aes_gcm_1kib_round_trips_per_second": SMALL_TIMES / small["bare"],
        "compression_and_encryption_1kib_json_round_trips_per_second": SMALL_TIMES / small["chain"],
    }


def figures(run: Run) -> list[Figure]:
    """The codec's figures for the report."""
    taken = codec_figures()
    name = "bare AES-256-GCM"
    return [
        Figure(
            name="1 MiB payloads encrypted and decrypted",
            unit="1/s per core",
            ours=taken["encryption_1mib_round_trips_per_second"],
            peer=taken["bare_aes_gcm_1mib_round_trips_per_second"],
            peer_name=name,
            target=Target(bound=0.8, at_least=True),
            note="the rest is copying: protobuf copies a payload's data once each time it goes into a message or out of it",
        ),
        Figure(
            name="1 MiB payloads encrypted and decrypted, beside the same with the copies that protobuf makes",
            unit="1/s per core",
            ours=taken["encryption_1mib_round_trips_per_second"],
            peer=taken["bare_aes_gcm_in_messages_1mib_round_trips_per_second"],
            peer_name="bare AES-256-GCM, into messages and out of them",
            note="the peer takes data out of a message, encrypts it, puts it into one, and back: two copies each way, no more",
        ),
        Figure(
            name="1 MiB of bytes through the cipher alone (XAES-256-GCM)",
            unit="1/s per core",
            ours=taken["cipher_alone_1mib_round_trips_per_second"],
            peer=taken["bare_aes_gcm_1mib_round_trips_per_second"],
            peer_name=name,
        ),
        Figure(
            name="1 KiB payloads encrypted and decrypted",
            unit="1/s per core",
            ours=taken["encryption_1kib_round_trips_per_second"],
            peer=taken["bare_aes_gcm_1kib_round_trips_per_second"],
            peer_name=name,
            note="the peer encrypts bare bytes: no payload, no event loop",
        ),
        Figure(
            name="1 MiB of JSON compressed and encrypted, and back",
            unit="1/s per core",
            ours=taken["compression_and_encryption_1mib_json_round_trips_per_second"],
        ),
        Figure(
            name="1 KiB of JSON compressed and encrypted, and back",
            unit="1/s per core",
            ours=taken["compression_and_encryption_1kib_json_round_trips_per_second"],
        ),
    ]


def _race(competitors: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """The median CPU seconds of each competitor over `rounds`, in turn, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for turn in range(rounds + 1):
        for name, compete in competitors.items():
            before = time.process_time()
            compete()
            if turn:
                seconds[name].append(time.process_time() - before)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _bare(cipher: AESGCM, data: bytes, times: int) -> None:
    for _ in range(times):
        nonce = os.urandom(12)
        if len(cipher.decrypt(nonce, cipher.encrypt(nonce, data, None), None)) != len(data):
            raise AssertionError("AES-GCM gave back something else")


def _bare_in_messages(cipher: AESGCM, payload: Payload, times: int) -> None:
    for _ in range(times):
        nonce = os.urandom(12)
        sealed = Payload(data=cipher.encrypt(nonce, payload.data, None))
        opened = Payload(data=cipher.decrypt(nonce, sealed.data, None))
        if opened.external_payloads:
            raise AssertionError("AES-GCM gave back something else")


def _cipher_alone(cipher: XAES256GCM, data: bytes, times: int) -> None:
    for _ in range(times):
        nonce = fresh_nonce()
        if len(cipher.decrypt(nonce, cipher.encrypt(nonce, data, b""), b"")) != len(data):
            raise AssertionError("XAES-256-GCM gave back something else")


def _there_and_back(codec: PayloadCodec, payload: Payload, times: int) -> None:
    async def go() -> None:
        for _ in range(times):
            [decoded] = await codec.decode(await codec.encode([payload]))
            if decoded.metadata["encoding"] != payload.metadata["encoding"]:
                raise AssertionError("the codec gave back something else")

    _LOOP.run_until_complete(go())


def _json_text(size: int) -> bytes:
    orders = [
        {"id": number, "customer": f"customer-{number * 7919 % 10007}", "total": number * 1299 % 99991 / 100}
        for number in range(max(1, size // 40))
    ]
    return json.dumps(orders).encode()[:size]


if __name__ == "__main__":
    print(json.dumps(codec_figures(), indent=2))
