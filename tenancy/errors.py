"""How tenancy refuses.

TenancyError
├── Invalid        the request can never be right; names every fault with its field, all at once
├── Missing        there is no such thing, or the actor may not know of it (one sentence for both)
├── Forbidden      the actor may know of the thing, but not do this to it
├── Exists         what the request would make is there already
├── Stale          the thing changed since the actor read it; read again and retry
├── Refused        the request is right, the state of the thing is not
└── LimitReached   a limit of the account stands against it

Sentences are for the caller: they hold no secret and nothing of another account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with a request. `field` is a path such as ``retention_days`` or ``filters[2]``."""

    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class TenancyError(Exception):
    """A refusal; only its subclasses are raised."""


class Invalid(TenancyError):
    """The request can never be right."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class Missing(TenancyError):
    """No such thing for this actor."""


class Forbidden(TenancyError):
    """The actor lacks the right."""


class Exists(TenancyError):
    """It is there already."""


class Stale(TenancyError):
    """Another change came first."""


class Refused(TenancyError):
    """The state forbids it."""


class LimitReached(TenancyError):
    """A limit forbids it."""


def refuse_faults(faults: Sequence[Fault]) -> None:
    """Raise Invalid if there is any fault."""
    if faults:
        raise Invalid(faults)
