"""Every bad request ends here as it ends on the real server, but for the differences that are known and have a reason."""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path

import pytest

from tests.conformance import switches
from tests.conformance.outcomes import Outcomes, all_outcomes, differences, golden
from tests.processes import tacit_dev

KNOWN = Path(__file__).parent / "known_differences.toml"


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_bad_requests_end_as_on_the_real_server(tmp_path: Path) -> None:
    file = tomllib.loads(KNOWN.read_text())
    known: dict[str, str] = file["bad_input"]
    server = tacit_dev(tmp_path)
    server.command = [*server.command, *switches.for_bad_requests()]
    server.start()
    try:
        ours = await all_outcomes(f"127.0.0.1:{server.ports[0]}")
    finally:
        server.stop()
    assert set(ours) == set(golden()), "a method is new, or gone: record the golden anew"
    unexplained, used = [], set()
    served = {method: outcomes for method, outcomes in golden().items() if method not in file["not_served"]}
    for line in differences(ours, served):
        patterns = [
            pattern for pattern in known if fnmatch.fnmatchcase(line.partition(" | real:")[0], pattern)
        ]
        used.update(patterns)
        if not patterns:
            unexplained.append(line)
    assert not unexplained, "\n".join(["other than the real server:", *unexplained])
    assert not set(known) - used, (
        f"these differences are gone, take them out of {KNOWN.name}: {set(known) - used}"
    )
    assert not _broken(ours), "a request must end with a proper refusal"


def _broken(outcomes: Outcomes) -> list[str]:
    return [
        f"{method} | {label}: {outcome}"
        for method, by_label in outcomes.items()
        for label, outcome in by_label.items()
        if outcome.split()[0] in {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS"}
    ]
