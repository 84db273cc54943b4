"""The official samples' format, made and read by the standard library of the samples' own languages.

`python -m tests.codec.samples` writes vectors.json anew, with the toolchains that it finds (all of them must be there):
the programs beside this file do what the samples do, with nonces that are given. The tests read the vectors, and where a
toolchain is found they have its program read what we write.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent
VECTORS = FOLDER / "vectors.json"
KEY = b"test-key-test-key-test-key-test!"
"""The key that all samples share."""

SECONDS_MAX = 300
PROGRAMS = {
    "go": ("go", "run", str(FOLDER / "main.go")),
    "typescript": ("node", str(FOLDER / "main.mjs")),
    "java": ("java", str(FOLDER / "Samples.java")),
}
"""Python has no AES of its own: its sample uses `cryptography`, as we do."""

METADATA = {
    "go": {"encoding": "binary/encrypted", "encryption-key-id": "test"},
    "typescript": {"encoding": "binary/encrypted", "encryption-key-id": "test-key-id"},
    "python": {"encoding": "binary/encrypted", "encryption-key-id": "test-key-id"},
    "java": {
        "encoding": "binary/encrypted",
        "encryption-cipher": "AES/GCM/NoPadding",
        "encryption-key-id": KEY.decode(),
    },
}
"""What each sample writes beside the data."""


def found(language: str) -> bool:
    """Whether the machine has what runs the language's program."""
    return shutil.which(PROGRAMS[language][0]) is not None


def run(language: str, verb: str, lines: Iterable[tuple[bytes, ...]]) -> list[bytes]:
    """What the language's program makes of each line."""
    text = "".join(" ".join("x" + word.hex() for word in line) + "\n" for line in lines)
    done = subprocess.run(
        [*PROGRAMS[language], verb],
        input=text,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"the {language} program failed: {done.stderr[-2000:]}")
    return [bytes.fromhex(word[1:]) for word in done.stdout.split()]
