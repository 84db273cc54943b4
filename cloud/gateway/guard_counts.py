"""How often payloads that are not encrypted were seen, by namespace, field and what was done about it.

Counts gather here until whoever keeps them takes them. A caller decides what a request holds, so what is remembered is
bounded: fields that lie in themselves (a cause's cause) count as one, and beyond `FIELDS_MAX` a namespace's count as
`OTHERS`.
"""

from __future__ import annotations

import enum
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FIELDS_MAX = 500
"""Distinct fields of one namespace between two takings. All RPCs together have some thousand; a client uses a dozen."""
NAMESPACES_MAX = 10_000
FIELD_CHARS_MAX = 200
OTHERS = "(other fields)"


class Outcome(enum.StrEnum):
    """What became of the call."""

    OBSERVED = "observed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is counted."""

    namespace: str
    field: str
    outcome: Outcome


class GuardCounts:
    """Counts calls. Belongs to one event loop."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counter[tuple[str, Outcome]]] = defaultdict(Counter)

    def add(self, namespace: str, fields: Iterable[str], outcome: Outcome) -> None:
        """Count a call once for each of these fields."""
        if namespace not in self._counts and len(self._counts) >= NAMESPACES_MAX:
            return
        counts = self._counts[namespace]
        for field in {_plain(field) for field in fields}:
            known = (field, outcome)
            if known not in counts and len(counts) >= FIELDS_MAX:
                known = (OTHERS, outcome)
            counts[known] += 1

    def take(self) -> dict[Finding, int]:
        """All counts since the last time; they begin anew."""
        taken = self.since_taken()
        self._counts.clear()
        return taken

    def put_back(self, counts: Mapping[Finding, int]) -> None:
        """Add what was taken and could not be kept."""
        for finding, count in counts.items():
            if finding.namespace in self._counts or len(self._counts) < NAMESPACES_MAX:
                self._counts[finding.namespace][finding.field, finding.outcome] += count

    def since_taken(self) -> dict[Finding, int]:
        """All counts that were not taken yet."""
        return {
            Finding(namespace, field, outcome): count
            for namespace, counts in self._counts.items()
            for (field, outcome), count in counts.items()
        }


def _plain(field: str) -> str:
    parts: list[str] = []
    for part in field.split("."):
        if not parts or parts[-1] != part:
            parts.append(part)
    return ".".join(parts)[:FIELD_CHARS_MAX]
