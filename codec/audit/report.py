"""What an audit found: plaintext, with its places; payloads by kind; and what is readable by design, with examples.

A finding says where something is and how it was hidden, never what it is: reports are passed around.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from codec.audit.payloads import Found, Kind

FINDINGS_MAX = 1000
"""Kept with their places; all are counted."""
EXAMPLES_MAX = 3
EXAMPLE_CHARACTERS_MAX = 60
READABLE_MAX = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """Plaintext. `what` is "canary 17" or what a payload is; `form` how it was packed, outermost first."""

    what: str
    form: str
    source: str
    place: str
    offset: int


@dataclasses.dataclass(kw_only=True)
class Readable:
    """A kind of thing that the service reads by design: how often, and some of them."""

    count: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)


class Report:
    """Filled while sources are looked at; see `to_json` for all of it."""

    def __init__(self, canaries: int) -> None:
        self.canaries = canaries
        self.canaries_found: set[int] = set()
        self.findings: list[Finding] = []
        self.findings_count = 0
        self.payloads: Counter[str] = Counter()
        self.readable: dict[str, Readable] = {}
        self.sources: dict[str, int] = {}
        self.taken_along: list[str] = []
        """Sources that nobody named: journals beside a database."""
        self.opaque: Counter[str] = Counter()
        self.unread: list[str] = []

    @property
    def clean(self) -> bool:
        """Whether no plaintext was found."""
        return not self.findings_count

    def found_canary(self, number: int, form: str, source: str, place: str, offset: int) -> None:
        """A canary stands somewhere."""
        self.canaries_found.add(number)
        self._add(f"canary {number}", form, source, place, offset)

    def found_payload(
        self, found: Found, trail: str, source: str, place: str, *, counted: bool = True
    ) -> None:
        """A payload stands somewhere. Copies of what is counted elsewhere (pages of a database) are looked at only."""
        if counted:
            self.payloads[found.kind.value] += 1
        if found.kind is Kind.PLAINTEXT:
            what = f"payload of {found.size} bytes, encoding {found.encoding}: {found.why}"
            self._add(what, trail or "raw", source, place, found.offset)
        elif found.kind is Kind.BY_DESIGN and counted:
            self.found_readable(f"payload: {found.why}", f"{found.encoding}, {found.size} bytes")

    def found_text(self, what: str, source: str, place: str) -> None:
        """Something is readable that should be ciphertext."""
        self._add(what, "raw", source, place, 0)

    def found_readable(self, what: str, example: str) -> None:
        """Something stands there by design."""
        known = self.readable.get(what)
        if known is None:
            if len(self.readable) >= READABLE_MAX:
                return
            known = self.readable[what] = Readable()
        known.count += 1
        shown = (
            example if len(example) <= EXAMPLE_CHARACTERS_MAX else example[: EXAMPLE_CHARACTERS_MAX - 1] + "…"
        )
        if shown and shown not in known.examples and len(known.examples) < EXAMPLES_MAX:
            known.examples.append(shown)

    def _add(self, what: str, form: str, source: str, place: str, offset: int) -> None:
        self.findings_count += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(what=what, form=form, source=source, place=place, offset=offset))

    def to_json(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        return {
            "clean": self.clean,
            "canaries": self.canaries,
            "canaries_found": sorted(self.canaries_found),
            "findings_count": self.findings_count,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "payloads": dict(sorted(self.payloads.items())),
            "sources": [{"source": name, "bytes": size} for name, size in self.sources.items()],
            "taken_along": self.taken_along,
            "readable_by_design": [
                {"what": what, "count": one.count, "examples": one.examples}
                for what, one in sorted(self.readable.items())
            ],
            "opaque": dict(self.opaque),
            "unread": self.unread,
        }
