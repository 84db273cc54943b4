"""The heap of deadlines stays as small as what is pending, and finds the right moment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud.engine.core.deadlines import next_due, push
from cloud.engine.core.state import Execution, RunKey

KIND = 1


def test_a_moment_that_moves_later_keeps_one_entry() -> None:
    execution = Execution(RunKey("ns", "wf", "run"))
    for due in range(1, 1_000):  # an activity that heartbeats
        push(execution, KIND, 7, due)
    assert len(execution.deadlines.heap) == 1
    assert next_due(execution, {KIND: lambda _, key: 999}) == (999, KIND, 7)
    assert len(execution.deadlines.heap) == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=60))
def test_the_earliest_moment_is_found_however_moments_move(moves: list[tuple[int, int]]) -> None:
    """Each move sets what is due for a key (0: called off) and says so; the answer is the minimum of what holds."""
    execution = Execution(RunKey("ns", "wf", "run"))
    due: dict[int | str, int] = {}
    for key, moment in moves:
        due[key] = moment
        push(execution, KIND, key, moment)
        expected = min((at for at in due.values() if at), default=None)
        found = next_due(execution, {KIND: lambda _, key: due[key]})
        assert (found[0] if found else None) == expected
