"""Looks for words of the input in what the service wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.processes import ROOT

# Shorter ones turn up in random bytes by chance; of ten letters, once in some thousand such scans.
LETTERS_MIN = 10
_RUN = re.compile(rb"[A-Za-z]{%d,}" % LETTERS_MIN)
OWN_SOURCES = ("cloud", "tenancy", "billing")


def words_of(content: bytes) -> set[bytes]:
    """The long words in `content`, in lower case."""
    return {word.lower() for word in _RUN.findall(content)}


def telling_words(inputs: Iterable[Path], before: Iterable[Path]) -> set[bytes]:
    """Long words of the inputs that the service has no other reason to write.

    Left out are words of the service's own sources, of the protocol, and of what it wrote `before` any workflow ran.
    """
    import temporalio.api

    protocol = Path(temporalio.api.__file__).parent
    own = [path for folder in OWN_SOURCES for path in (ROOT / folder).rglob("*.py")]
    known: set[bytes] = set()
    for path in [*own, *protocol.rglob("*.pyi"), *before]:
        known |= words_of(path.read_bytes())
    told: set[bytes] = set()
    for path in inputs:
        told |= words_of(path.read_bytes())
    return told - known


def files_in(*places: Path) -> list[Path]:
    """All files in and under `places`."""
    return [
        path
        for place in places
        for path in sorted(place.rglob("*") if place.is_dir() else [place])
        if path.is_file()
    ]


def found_in(files: Iterable[Path], words: set[bytes]) -> dict[Path, set[bytes]]:
    """Which of `words` stand in which of `files`; files without any are left out."""
    found = {path: words_of(path.read_bytes()) & words for path in files}
    return {path: some for path, some in found.items() if some}
