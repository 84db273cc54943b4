"""How the servers are imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_grpcio() -> Iterator[None]:
    """While this is open, modules see no grpcio unless it is loaded already.

    The compiled protos load it for stubs, where it is installed: ten MB in a server whose transport does without.
    What wants it in earnest (`--transport grpc`, reflection) imports it later, and gets it.
    """
    if "grpc" in sys.modules:
        yield
        return
    sys.modules["grpc"] = None  # type: ignore[assignment] # which is how Python says: not there
    try:
        yield
    finally:
        del sys.modules["grpc"]
