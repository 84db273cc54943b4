"""Records what the real server answers: ``python -m tests.conformance ADDRESS [FILE]``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.conformance.outcomes import GOLDEN, all_outcomes


def main() -> None:
    address, path = sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else GOLDEN
    outcomes = asyncio.run(all_outcomes(address))
    path.write_text(json.dumps(outcomes, indent=1, ensure_ascii=False) + "\n")
    print(f"{sum(map(len, outcomes.values()))} outcomes of {len(outcomes)} methods in {path}")


if __name__ == "__main__":
    main()
