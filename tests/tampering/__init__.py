"""All ways to tamper with what a service or a store keeps, drawn by hypothesis: each case is an error, none a wrong value.

`python -m tests.tampering` runs 100,000 cases and reports; `make test` runs some of each kind (tests/codec/test_tampering.py).
A kind is a function that draws a case, tampers, and calls `refused`. It adds itself by `@kind`, with its share of all cases.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from codec import CodecError

CASE_SECONDS_MAX = 10.0
"""A case that takes longer hangs, for whoever waits for a workflow task."""

ROUNDS_MAX = 100

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Kind:
    """One way to tamper. `weight` is its share of all cases."""

    name: str
    case: Callable[[st.DataObject], None]
    weight: int


KINDS: dict[str, Kind] = {}


def kind(
    name: str, *, weight: int = 10
) -> Callable[[Callable[[st.DataObject], None]], Callable[[st.DataObject], None]]:
    """Add a kind of tampering."""

    def add(case: Callable[[st.DataObject], None]) -> Callable[[st.DataObject], None]:
        KINDS[name] = Kind(name, case, weight)
        return case

    return add


@dataclasses.dataclass
class Outcomes:
    """What came of the cases of a kind. Those in which nothing came to be changed do not count."""

    errors: dict[str, int] = dataclasses.field(default_factory=dict)
    longest_seconds: float = 0.0

    @property
    def cases(self) -> int:
        """How many there were; each ended with an error, or `examine` does not return."""
        return sum(self.errors.values())


OUTCOMES = Outcomes()
"""Of the kind that runs."""


class WrongValueError(AssertionError):
    """Something that was tampered with was taken for good."""


def run(work: Awaitable[_T]) -> _T:
    """Run a coroutine on the one event loop of this package, for at most the time that a case may take."""

    async def bounded() -> _T:
        async with asyncio.timeout(CASE_SECONDS_MAX):
            return await work

    return _LOOP.run_until_complete(bounded())


def refused(codec: PayloadCodec, payloads: Sequence[Payload]) -> None:
    """Decode, and demand an error.

    Raises:
        WrongValueError: there was none.
    """
    errs(lambda: run(codec.decode(payloads)))


def errs(work: Callable[[], object]) -> None:
    """Do something that must fail with an error of the codec's own.

    Raises:
        WrongValueError: it did not fail.
    """
    before = time.perf_counter()
    try:
        result = work()
    except CodecError as error:
        count(type(error).__name__)
    else:
        raise WrongValueError(f"taken for good: {str(result)[:300]}")
    finally:
        OUTCOMES.longest_seconds = max(OUTCOMES.longest_seconds, time.perf_counter() - before)


def count(error: str) -> None:
    """Note an error that was seen."""
    OUTCOMES.errors[error] = OUTCOMES.errors.get(error, 0) + 1


def examine(one: Kind, cases: int, *, number: int) -> Outcomes:
    """Draw and run at least `cases` cases of a kind; `number` is the seed, so that a run can be had again.

    Raises:
        AssertionError: a case was no error (hypothesis shows it, made small).
    """
    global OUTCOMES
    OUTCOMES = outcomes = Outcomes()

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def case(data: st.DataObject) -> None:
        one.case(data)

    for turn in range(ROUNDS_MAX):
        # A round ends early where hypothesis has seen all that can be drawn.
        seed(number + turn)(case)()
        if outcomes.cases >= cases:
            return outcomes
    raise AssertionError(
        f"{one.name}: only {outcomes.cases} cases in {ROUNDS_MAX} rounds came to tamper with anything"
    )


_LOOP = asyncio.new_event_loop()
