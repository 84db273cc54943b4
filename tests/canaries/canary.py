"""The secrets: each made for one place where users' data goes, and remembered."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path


class Canaries:
    """Hands out distinct secrets, which are also Python identifiers, so that they can stand in stack traces."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.places: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.places)

    def new(self, place: str) -> str:
        """A secret that is used for `place` alone."""
        with self._lock:
            secret = f"zq{secrets.token_hex(15)}"
            self.places[secret] = place
            return secret

    def new_for(self, *places: str) -> dict[str, str]:
        """A secret for each place, by its name."""
        return {place: self.new(place) for place in places}

    def write(self, path: Path) -> Path:
        """All secrets, one a line, as `tacit codec audit --canaries` reads them."""
        path.write_text("".join(f"{secret}\n" for secret in self.places))
        return path


CANARIES = Canaries()
"""Those of this process: its activities draw from it, as they run outside the sandbox."""
