"""Writes vectors.json; see the package."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload

from tests.codec.samples import KEY, METADATA, VECTORS, run

PAYLOADS = (
    Payload(metadata={"encoding": b"json/plain"}, data=b'"My Secret Friend"'),
    Payload(metadata={"encoding": b"binary/null"}),
    Payload(
        metadata={"encoding": b"json/protobuf", "messageType": b"acme.Order"},
        data='{"name":"Ünïcode"}'.encode(),
    ),
    Payload(metadata={"encoding": b"binary/plain"}, data=bytes(range(256)) * 4),
    Payload(),
)


def main() -> None:
    """Ask every language, and write down what it says."""
    plains = [payload.SerializeToString(deterministic=True) for payload in PAYLOADS]
    nonces = [bytes([number] * 4 + list(range(8))) for number in range(len(plains))]
    lines = [(KEY, nonce, plain) for nonce, plain in zip(nonces, plains, strict=True)]
    vectors = []
    for language, metadata in METADATA.items():
        sealed = (
            [nonce + AESGCM(KEY).encrypt(nonce, plain, None) for _, nonce, plain in lines]
            if language == "python"
            else run(language, "seal", lines)
        )
        vectors += [
            {"language": language, "metadata": metadata, "plain": plain.hex(), "data": data.hex()}
            for plain, data in zip(plains, sealed, strict=True)
        ]
    zlib = [
        {"plain": plain.hex(), "data": data.hex()}
        for plain, data in zip(plains, run("go", "zlib", [(plain,) for plain in plains]), strict=True)
    ]
    VECTORS.write_text(json.dumps({"key": KEY.decode(), "encrypted": vectors, "zlib": zlib}, indent=1) + "\n")


main()
