"""The table of what the scenarios cover of the protocol, and whether both servers do the same: docs/conformance.md."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from tests.conformance.coverage import METHOD, Item, universe

EQUAL, DIFFERENT, UNCOVERED = "equal", "known difference", "not covered"
Runs = Mapping[str, tuple[str, set[Item]]]
"""Outcome and touched items by scenario."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One item: in how many scenarios both servers agreed, in how many only ours does what is written there."""

    item: Item
    agreed: int
    only_ours: int
    reason: str = ""

    @property
    def status(self) -> str:
        """The row's cell."""
        if self.agreed:
            return EQUAL
        return DIFFERENT if self.only_ours else UNCOVERED


def rows(
    ours: Runs, real: Runs, compared_methods: Mapping[str, int], reasons: Mapping[str, str]
) -> list[Row]:
    """A row for each item of the protocol. `compared_methods`: bad requests that end alike on both, by method."""
    agreed: dict[Item, int] = defaultdict(int)
    only_ours: dict[Item, int] = defaultdict(int)
    for scenario, (outcome, items) in ours.items():
        if outcome != "passed":
            continue
        counts = agreed if real.get(scenario, ("", set()))[0] == "passed" else only_ours
        for item in items:
            counts[item] += 1
    for method, count in compared_methods.items():
        agreed[METHOD, method] += count
    return [
        Row(item=item, agreed=agreed[item], only_ours=only_ours[item], reason=_reason(item, reasons))
        for item in universe()
    ]


def _reason(item: Item, reasons: Mapping[str, str]) -> str:
    text = f"{item[0]} {item[1]}"
    return next((reason for pattern, reason in reasons.items() if fnmatch.fnmatchcase(text, pattern)), "")


def unexplained(table: list[Row]) -> list[str]:
    """Items that are not equal on both, and have no reason."""
    return [
        f"{row.item[0]} {row.item[1]}: {row.status}"
        for row in table
        if row.status != EQUAL and not row.reason
    ]


def markdown(table: list[Row], versions: str) -> str:
    """The page."""
    lines = [
        "# Conformance",
        "",
        "Made by `make conformance`; do not edit. Every scenario and every bad request was run against the real server and against",
        f"`tacit dev` ({versions}). *Equal*: in this many of them both do the same. Where that is none, the reason is beside it.",
        "",
    ]
    for kind in dict.fromkeys(row.item[0] for row in table):
        of_kind = [row for row in table if row.item[0] == kind]
        equal = sum(row.status == EQUAL for row in of_kind)
        lines += [
            f"## {kind.capitalize()}s: {equal} of {len(of_kind)} equal",
            "",
            "| name | status | equal | only here | reason |",
        ]
        lines += ["| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {row.item[1]} | {row.status} | {row.agreed} | {row.only_ours} | {'' if row.agreed else row.reason} |"
            for row in of_kind
        ]
        lines.append("")
    return "\n".join(lines)
