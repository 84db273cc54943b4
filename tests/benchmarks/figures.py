"""What a benchmark hands back: figures, each with a peer's beside it and what it is to reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Target:
    """A bound on our figure, or on its ratio to the peer's."""

    bound: float
    of_ratio: bool = True
    at_least: bool = False

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:g}{' x' if self.of_ratio else ''}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure in `unit`; None where it was not taken, and then `note` says why."""

    name: str
    unit: str
    ours: float | None
    peer: float | None = None
    peer_name: str = "temporal server"
    target: Target | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's."""
        if self.ours is None or not self.peer:
            return None
        return self.ours / self.peer

    @property
    def verdict(self) -> str:
        """`met`, `not met`, `not taken`, or nothing where nothing is to be reached."""
        if self.ours is None:
            return "not taken"
        if self.target is None:
            return ""
        value = self.ratio if self.target.of_ratio else self.ours
        if value is None:
            return "not taken"
        reached = value >= self.target.bound if self.target.at_least else value <= self.target.bound
        return "met" if reached else "not met"


def not_taken(name: str, unit: str, why: object) -> Figure:
    """A figure that could not be taken, and why."""
    return Figure(name=name, unit=unit, ours=None, note=str(why))
