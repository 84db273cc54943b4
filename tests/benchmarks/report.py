"""Shows figures as a table and keeps them as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import Figure

STYLES = {"met": "green", "not met": "red", "not taken": "yellow"}


def show(console: Console, title: str, figures: Sequence[Figure]) -> None:
    """Print `figures` as a table, and below it why those that are missing were not taken."""
    taken = [figure for figure in figures if figure.ours is not None]
    if taken:
        peer = next((figure.peer_name for figure in taken if figure.peer is not None), "no peer")
        table = Table(title=title, title_justify="left", title_style="bold")
        table.add_column("figure", min_width=30)
        for column in ("tacit", peer, "ratio", "to reach"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for figure in taken:
            verdict = figure.verdict
            table.add_row(
                figure.name,
                _number(figure.ours, figure.unit),
                _number(figure.peer, figure.unit),
                _number(figure.ratio, "x"),
                str(figure.target or ""),
                f"[{STYLES[verdict]}]{verdict}[/]" if verdict else "",
            )
        console.print(table)
    for figure in figures:
        if figure.note:
            missing = "" if figure in taken else "not taken: "
            console.print(f"{figure.name}: {missing}{figure.note}", style="dim", highlight=False)
    console.print()


def keep(path: Path, machine: dict[str, object], sections: dict[str, Sequence[Figure]], quick: bool) -> None:
    """Write all figures with the machine's facts to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {
        "machine": machine,
        "quick": quick,
        "figures": {
            name: [
                {
                    "name": figure.name,
                    "unit": figure.unit,
                    "tacit": figure.ours,
                    "peer": figure.peer,
                    "peer_name": figure.peer_name if figure.peer is not None else None,
                    "ratio": figure.ratio,
                    "target": str(figure.target) if figure.target else None,
                    "verdict": figure.verdict or None,
                    "note": figure.note or None,
                }
                for figure in figures
            ]
            for name, figures in sections.items()
        },
    }
    path.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()
