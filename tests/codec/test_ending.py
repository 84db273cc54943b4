"""A program that ends right after its last write to a store ends well."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.processes import ROOT, clean_environment

PROGRAMS = 20
PROGRAM = """
import asyncio, sys
import obstore
from codec.storage.object_store import open_store

async def main():
    store = open_store(sys.argv[1])
    await asyncio.gather(*(obstore.put_async(store.raw, f"{sys.argv[2]}/{n}", b"x") for n in range(10)))

asyncio.run(main())
print("done")
"""


def test_programs_that_end_at_once_do_not_abort(tmp_path: Path) -> None:
    def run(number: int) -> tuple[int, str, str]:
        command = [sys.executable, "-c", PROGRAM, tmp_path.as_uri(), str(number)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    # More at a time than there are cores: who has to wait for one is who is late.
    with ThreadPoolExecutor(5) as several:
        ended = list(several.map(run, range(PROGRAMS)))
    assert ended == [(0, "done\n", "")] * PROGRAMS
