"""What a schedule holds of its last run, though no history may show it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from codec.storage.gc_schedules import Action, Chain, Held, held_by

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
ACTIONS = [Action(run_id=f"run{index}", started=NOON + timedelta(days=index)) for index in range(3)]


def test_no_action_no_result() -> None:
    assert held_by([], {}, None) == Held()


def test_latest_run_that_has_completed_shows_it() -> None:
    chain = Chain(seen=True, completed=True, hashes={"b", "a"})
    held = held_by(ACTIONS[::-1], {"run2": chain}, None)
    assert held == Held(remember=("run2", ("a", "b")))


def test_what_was_seen_is_remembered_once_the_history_is_gone() -> None:
    held = held_by(ACTIONS, {}, ("run2", ("a", "b")))
    assert held == Held(hashes=frozenset("ab"), remember=("run2", ("a", "b")))


def test_memory_of_an_earlier_run_is_none() -> None:
    assert held_by(ACTIONS, {}, ("run1", ("a",))) == Held(since=ACTIONS[0].started)


def test_all_since_the_first_run_that_is_gone_is_kept() -> None:
    running = Chain(seen=True)
    assert held_by(ACTIONS, {"run2": running}, None) == Held(since=ACTIONS[0].started)
    assert held_by(ACTIONS, {"run0": running, "run2": running}, None) == Held(since=ACTIONS[1].started)
    assert held_by(ACTIONS, dict.fromkeys(("run0", "run1", "run2"), running), None) == Held()
