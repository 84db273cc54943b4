"""`python -m tests.tampering`: many cases of every kind; exit code 1 if one of them was no error."""

from __future__ import annotations

import argparse
import random
import sys
import time

from rich.console import Console
from rich.table import Table

from tests.tampering import KINDS, compression, examine, objects, payloads

CASES = 100_000


def main() -> int:
    """Run, and show a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.tampering", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help="how many in all (100,000)")
    parser.add_argument("--seed", type=int, help="of an earlier run, to have it again")
    parser.add_argument("kinds", nargs="*", help="only these kinds")
    arguments = parser.parse_args()
    number = arguments.seed if arguments.seed is not None else random.randrange(2**31)
    chosen = [kind for kind in KINDS.values() if not arguments.kinds or kind.name in arguments.kinds]
    weights = sum(kind.weight for kind in chosen)
    console = Console()
    console.print(f"{arguments.cases} cases of {len(chosen)} kinds, seed {number}")
    table = Table("kind", "cases", "errors", "longest (ms)", "seconds")
    total, faults = 0, 0
    for kind in chosen:
        begun = time.perf_counter()
        try:
            outcomes = examine(kind, -(-arguments.cases * kind.weight // weights), number=number)
        except Exception:
            console.print_exception(max_frames=10)
            faults += 1
            continue
        total += outcomes.cases
        errors = ", ".join(f"{name} {count}" for name, count in sorted(outcomes.errors.items()))
        took = time.perf_counter() - begun
        table.add_row(
            kind.name, str(outcomes.cases), errors, f"{outcomes.longest_seconds * 1e3:.0f}", f"{took:.0f}"
        )
        console.print(f"{kind.name}: {outcomes.cases} cases, {took:.0f} s")
    console.print(table)
    console.print(f"{total} cases, {faults} kinds with a fault")
    return 1 if faults else 0


assert {compression, objects, payloads}, "imported for the kinds that they add"
sys.exit(main())
