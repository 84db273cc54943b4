"""Who asked for something to become of a standalone execution, of either kind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Asked:
    """What somebody asked for from outside: a cancellation, a pause."""

    at: int = 0
    identity: str = ""
    reason: str = ""
    request_id: str = ""
