import re
from pathlib import Path

import pytest

from billing import ACTION_TABLE, UnknownKind, actions, actions_by_kind, actions_of
from billing.recount import HIDDEN_KINDS

CORE = Path(__file__).parents[2] / "cloud" / "engine"
# A kind is written where it is metered: as the argument of meter(), as `meter=`, or as what a function that picks it returns.
METERED = re.compile(r"""(?:\bmeter\(|\bmeter=|\bmeter: str = )\s*["'](\w+)["']""")


def test_every_constant_has_one_row_and_every_row_a_constant() -> None:
    constants = {value for name, value in vars(actions).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(ACTION_TABLE)


@pytest.mark.parametrize("kind", ACTION_TABLE)
def test_a_row_is_whole(kind: str) -> None:
    rule = ACTION_TABLE[kind]
    assert rule.kind == kind
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind)
    assert 0 <= rule.actions <= 2
    assert len(rule.reason) > 8


def test_what_the_engine_meters_has_a_rule() -> None:
    words = {word for file in CORE.rglob("*.py") for word in METERED.findall(file.read_text("utf-8"))}
    assert len(words) > 8, "the pattern no longer finds where the engine meters"
    assert words <= set(ACTION_TABLE)


def test_hidden_kinds_are_kinds() -> None:
    assert set(ACTION_TABLE) >= HIDDEN_KINDS


def test_a_child_costs_its_intent_and_its_start() -> None:
    assert sum(actions_by_kind({"start_child_workflow": 1, "start_workflow": 1}).values()) == 2


def test_a_schedule_s_run_costs_three() -> None:
    assert sum(actions_by_kind({"schedule_workflow": 1, "start_workflow": 1}).values()) == 3


def test_a_retry_run_and_a_memo_upsert_cost_nothing() -> None:
    assert actions_by_kind({"start_workflow_retry": 5, "modify_workflow_properties": 5}) == {
        "modify_workflow_properties": 0,
        "start_workflow_retry": 0,
    }


def test_unknown_kinds_are_all_named() -> None:
    with pytest.raises(UnknownKind, match="'brew_coffee', 'fold_paper'") as caught:
        actions_by_kind({"fold_paper": 1, "start_timer": 1, "brew_coffee": 0})
    assert caught.value.kinds == ("brew_coffee", "fold_paper")


def test_an_unknown_kind_is_refused_even_for_no_units() -> None:
    with pytest.raises(UnknownKind):
        actions_of("brew_coffee", 0)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="start_timer is -1"):
        actions_of("start_timer", -1)
