"""How a server says that it can't go on."""

from __future__ import annotations

import asyncio


class Ended(asyncio.Event):
    """Set once the server must stop by itself; `reason` is the sentence for its operator."""

    reason = ""

    def because(self, reason: str) -> None:
        """Set it."""
        self.reason = reason
        self.set()
