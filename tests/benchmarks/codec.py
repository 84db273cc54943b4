"""The codec's figures, taken by its own benchmark."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from tests.benchmarks.figures import Figure
from tests.benchmarks.run import NotTakenError, Run

MODULE = "tests.benchmarks.codec_bench"


def figures(run: Run) -> list[Figure]:
    """What the codec's benchmark measures."""
    if find_spec(MODULE) is None:
        raise NotTakenError(f"{MODULE} is not there")
    taken: list[Figure] = import_module(MODULE).figures(run)
    return taken
