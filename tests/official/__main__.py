"""The official suite of the Python SDK against `tacit dev` and the real server.

``python -m tests.official --checkout DIR --python INTERPRETER [--part PATH ...] [--keep DIR]``

`DIR` is a checkout of temporalio/sdk-python, `INTERPRETER` that of an environment with the same release of `temporalio` and what the
suite's ``pyproject.toml`` lists for tests. Both servers get the switches that the suite gives a server of its own. Tests that failed here
and passed there are tried again, alone, up to three times. Fails if one never passes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.official import sdk_python
from tests.official.running import FAILED, PASSED, Results, Suite, run, summary, with_switches
from tests.processes import tacit_dev, temporal_dev

TRIES = 3
SLOW_SECONDS = 5.0
SLOW_FACTOR = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.official", description=__doc__)
    parser.add_argument("--checkout", type=Path, required=True, help="a checkout of temporalio/sdk-python")
    parser.add_argument("--python", type=Path, required=True, help="the interpreter that runs the suite")
    parser.add_argument("--part", action="append", help="only this file or folder; may be repeated")
    parser.add_argument("--keep", type=Path, help="where reports and logs are kept")
    given = parser.parse_args()
    suite = Suite(checkout=given.checkout.resolve(), python=given.python.absolute())
    parts = [[part] for part in given.part] if given.part else sdk_python.parts(suite.checkout)
    with tempfile.TemporaryDirectory(prefix="tacit-official-") as made:
        folder = given.keep or Path(made)
        real = _run(suite, "temporal server", parts, folder / "real")
        ours = _run(suite, "tacit dev", parts, folder / "ours")
        worse = _worse(ours, real)
        flaky: set[str] = set()
        for attempt in range(TRIES):
            again = sorted(worse - flaky)
            if again:
                found = _run(suite, "tacit dev", [[test] for test in again], folder / f"again-{attempt}")
                flaky |= {test for test in again if test in found and found[test].outcome == PASSED}
    _report(ours, real, worse, flaky)
    return 1 if worse - flaky else 0


def _run(suite: Suite, name: str, parts: list[list[str]], folder: Path) -> Results:
    folder.mkdir(parents=True, exist_ok=True)
    server = with_switches(tacit_dev(folder) if name == "tacit dev" else temporal_dev(folder))
    print(f"{name}:", flush=True)
    return run(suite, server, parts, folder)


def _worse(ours: Results, real: Results) -> set[str]:
    """What passes there and not here. A test that one side never came to is worse, too."""
    return {
        test
        for test, there in real.items()
        if there.outcome == PASSED and (test not in ours or ours[test].outcome != PASSED)
    }


def _report(ours: Results, real: Results, worse: set[str], flaky: set[str]) -> None:
    print(f"\nreal server: {summary(real)}\ntacit dev:   {summary(ours)}")
    for test in sorted(worse):
        kind = "passed when it was tried again" if test in flaky else "FAILS HERE ONLY"
        print(f"{kind}: {test}: {ours[test].reason if test in ours else 'never reached'}")
    for test, result in sorted(ours.items()):
        there = real.get(test)
        if result.outcome == FAILED and there is not None and there.outcome == FAILED:
            print(f"fails on both: {test}: {result.reason}")
        elif result.outcome == PASSED and there is not None and there.outcome == FAILED:
            print(f"fails there only: {test}: {there.reason}")
        elif (
            there is not None
            and result.seconds > SLOW_SECONDS
            and result.seconds > SLOW_FACTOR * there.seconds > 0
        ):
            print(f"slower here: {test}: {result.seconds:.1f} s, {there.seconds:.1f} s there")


if __name__ == "__main__":
    sys.exit(main())
