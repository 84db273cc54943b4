"""A vendor's client library: imported late, called in threads of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from codec.errors import KeyServiceError
from codec.keys.service import CALLS_AT_ONCE_MAX

T = TypeVar("T")


class BlockingClient:
    """A blocking client, made at its first call. A service that hangs holds up its own threads and nothing else."""

    def __init__(self, make: Callable[[], Any], *, name: str) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._client: Any = None
        self._threads = ThreadPoolExecutor(CALLS_AT_ONCE_MAX, thread_name_prefix=f"tacit-{name}")

    async def run(self, call: Callable[[Any], T]) -> T:
        """What `call` makes of the client, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, call)

    def _run(self, call: Callable[[Any], T]) -> T:
        with self._lock:
            # Importing the library and finding credentials takes a second; whoever gave up waiting finds it made.
            if self._client is None:
                self._client = self._make()
        return call(self._client)


def require(module: str, *, extra: str, what: str) -> None:
    """Raise unless a vendor's client library is there; without importing it.

    Raises:
        KeyServiceError: it is not; the sentence names the extra that brings it.
    """
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise KeyServiceError(
            f"{what} needs its client library, which is not installed: pip install 'tacit[{extra}]'."
        )


def only(settings: Mapping[str, str], known: set[str], *, what: str) -> None:
    """Raise unless all settings are known: a misspelt one must not be ignored.

    Raises:
        KeyServiceError: one is not.
    """
    if unknown := sorted(set(settings) - known):
        listed = ", ".join(sorted(known)) or "none"
        raise KeyServiceError(f"{what} has no setting {unknown[0][:80]!r}; there are: {listed}.")
