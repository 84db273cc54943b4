"""A file as bytes, of which the operating system holds in memory what is looked at."""

from __future__ import annotations

import mmap
from pathlib import Path


def mapped(path: Path) -> memoryview:
    """The content of a file, readable until nobody holds it any more.

    Raises:
        OSError: it can't be read.
    """
    if not path.stat().st_size:
        return memoryview(b"")
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
