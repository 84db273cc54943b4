import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing import ACTION_TABLE, UnknownKind, actions, actions_by_kind, actions_of
from billing.recount import HIDDEN_KINDS

ENGINE = Path(__file__).parents[2] / "cloud" / "engine"
# Where the engine's sources write a kind: as an argument of what meters, or of what passes it on, or as a `meter=`.
METERING = {"meter", "_follow", "_begin"}


def metered(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [*node.args] if name in METERING else []
            given += [keyword.value for keyword in node.keywords if keyword.arg == "meter"]
        elif isinstance(node, ast.FunctionDef) and node.name == "_meter_of":
            given = [each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            defaults = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            given = [value for argument, value in defaults if argument.arg == "meter" and value]
        else:
            continue
        for value in given:
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
                yield value.value


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
    words = {word for file in ENGINE.rglob("*.py") for word in metered(file.read_text("utf-8"))}
    # Written in each of the ways above: were one missing, this test would no longer see where the engine meters.
    assert words > {
        "start_timer",
        "signal_workflow",
        "continue_as_new_workflow",
        "start_workflow_retry",
        "start_workflow",
    }
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
