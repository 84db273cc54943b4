"""Which words of the input tell that it was written down somewhere: what `tacit codec audit` is to look for."""

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
    """The long words in `content`, as they are written."""
    return set(_RUN.findall(content))


def telling_words(inputs: Iterable[Path], before: Iterable[Path]) -> set[bytes]:
    """Long words of the inputs that the service has no other reason to write; as they stand there, and in lower case.

    Left out are words of the service's own sources, of the protocol, and of what it wrote `before` any workflow ran.
    """
    import temporalio.api

    protocol = Path(temporalio.api.__file__).parent
    own = [path for folder in OWN_SOURCES for path in (ROOT / folder).rglob("*.py")]
    known: set[bytes] = set()
    for path in [*own, *protocol.rglob("*.pyi"), *before]:
        known |= {word.lower() for word in words_of(path.read_bytes())}
    told: set[bytes] = set()
    for path in inputs:
        told |= words_of(path.read_bytes())
    # A known word inside a longer one is no finding, either: the search looks for words anywhere.
    whole = b"\n".join(known)
    return {form for word in told if word.lower() not in whole for form in (word, word.lower())}


def files_in(*places: Path) -> list[Path]:
    """All files in and under `places`."""
    return [
        path
        for place in places
        for path in sorted(place.rglob("*") if place.is_dir() else [place])
        if path.is_file()
    ]
