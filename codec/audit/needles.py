"""What is searched for: canaries, in every form in which text leaks.

A canary is found raw (so also inside protobuf, MessagePack and SQL dumps), in base64 at each of its three alignments and
in both alphabets, in hex, percent-encoded, escaped for JSON (once and twice) and HTML, and in UTF-16. Compressed and
nested forms are the business of `codec.audit.unpacking`, which hands what it opened back to this.

All forms of all canaries are one Aho-Corasick automaton, so the time does not grow with their number.
"""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from ahocorasick_rs import BytesAhoCorasick

from codec.errors import CodecError

CANARIES_MAX = 100_000
CANARY_BYTES_MIN = 8
"""Shorter ones turn up in random bytes by chance, or in base64 by half of their characters."""
CANARY_BYTES_MAX = 4096
_FORM_BYTES_MIN = 8


class AuditError(CodecError):
    """Something can't be audited; the sentence says what and why."""


class Needles:
    """Canaries, ready to be searched for. Their text is in no repr and in no finding: a finding has its number."""

    def __init__(self, canaries: list[str]) -> None:
        """
        Raises:
            AuditError: a canary is too short to be told from chance, or there are too many.
        """
        if len(canaries) > CANARIES_MAX:
            raise AuditError(f"There are {len(canaries)} canaries; at most {CANARIES_MAX} are searched for.")
        self.count = len(canaries)
        patterns: dict[bytes, tuple[int, str]] = {}
        for number, canary in enumerate(canaries, start=1):
            size = len(canary.encode())
            if not CANARY_BYTES_MIN <= size <= CANARY_BYTES_MAX:
                raise AuditError(
                    f"Canary {number} has {size} bytes. Use {CANARY_BYTES_MIN} to {CANARY_BYTES_MAX}: shorter ones turn up "
                    "by chance."
                )
            for form, pattern in forms_of(canary):
                if len(pattern) >= _FORM_BYTES_MIN:
                    patterns.setdefault(pattern, (number, form))
        self._meanings = list(patterns.values())
        self._automaton = BytesAhoCorasick(list(patterns)) if patterns else None
        self.bytes_max = max(map(len, patterns), default=0)

    def __repr__(self) -> str:
        return f"<{self.count} canaries>"

    def find(self, data: bytes | memoryview) -> Iterator[tuple[int, str, int]]:
        """The number of each canary found (from 1), the form it is in, and where."""
        if self._automaton is None:
            return
        for pattern, start, _ in self._automaton.find_matches_as_indexes(data, overlapping=True):
            number, form = self._meanings[pattern]
            yield number, form, start


def read_canaries(path: Path) -> list[str]:
    """The canaries in a file: one a line, empty lines left out.

    Raises:
        AuditError: the file can't be read, or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise AuditError(f"The canaries in {path} can't be read: {reason}.") from None
    canaries = list(dict.fromkeys(line for line in lines if line.strip()))
    if not canaries:
        raise AuditError(f"{path} holds no canaries: write one a line.")
    return canaries


def forms_of(canary: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every form of a canary. The raw one is first, as it counts where two are the same."""
    raw = canary.encode()
    yield "raw", raw
    for encoded in _base64_alignments(raw):
        yield "base64", encoded
        yield "base64", encoded.translate(bytes.maketrans(b"+/", b"-_"))
    yield "hex", raw.hex().encode()
    yield "hex", raw.hex().upper().encode()
    percent = urllib.parse.quote(canary, safe="").encode()
    yield "URL-encoded", percent
    yield "URL-encoded", urllib.parse.quote_plus(canary).encode()
    yield "URL-encoded", urllib.parse.quote(canary).encode()
    yield "URL-encoded", "".join(f"%{byte:02X}" for byte in raw).encode()
    for ascii_only in (True, False):
        once = json.dumps(canary, ensure_ascii=ascii_only)[1:-1]
        yield "JSON-escaped", once.encode()
        yield "JSON-escaped", once.replace("/", "\\/").encode()
        yield "JSON-escaped", json.dumps(once, ensure_ascii=ascii_only)[1:-1].encode()
    yield "HTML-escaped", html.escape(canary).encode()
    yield "UTF-16", canary.encode("utf-16-le")
    yield "UTF-16", canary.encode("utf-16-be")


def _base64_alignments(raw: bytes) -> Iterator[bytes]:
    """The characters of base64 that depend on `raw` alone, wherever in a longer text it stands."""
    for lead in range(3):
        encoded = base64.b64encode(bytes(lead) + raw)
        # The first characters hold bits of what stands before, the last ones of what follows.
        begin = (0, 2, 3)[lead]
        end = ((lead + len(raw)) * 8) // 6
        yield encoded[begin:end]
