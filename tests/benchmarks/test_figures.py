"""The verdict on a figure, and what is kept of one that could not be taken."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.figures import Figure, Target, not_taken
from tests.benchmarks.report import keep


def figure(ours: float | None, peer: float | None, target: Target | None) -> Figure:
    return Figure(name="cost", unit="ms", ours=ours, peer=peer, target=target)


def test_a_ratio_is_held_against_the_peer() -> None:
    assert figure(1, 4, Target(bound=0.25)).verdict == "met"
    assert figure(1.1, 4, Target(bound=0.25)).verdict == "not met"
    assert figure(20, 4, Target(bound=5, at_least=True)).verdict == "met"
    assert figure(19, 4, Target(bound=5, at_least=True)).verdict == "not met"


def test_a_ratio_without_a_peer_is_not_taken() -> None:
    assert figure(1, None, Target(bound=0.25)).verdict == "not taken"


def test_an_absolute_bound_needs_no_peer() -> None:
    assert figure(119, None, Target(bound=120, of_ratio=False)).verdict == "met"
    assert figure(121, None, Target(bound=120, of_ratio=False)).verdict == "not met"


def test_a_figure_without_a_target_has_no_verdict() -> None:
    assert figure(1, 2, None).verdict == ""


def test_what_was_not_taken_is_kept_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "latest.json"
    keep(path, {"cores": 2}, {"section": [not_taken("cost", "ms", "no server")]}, quick=True)
    (kept,) = json.loads(path.read_text())["figures"]["section"]
    assert (kept["tacit"], kept["verdict"], kept["note"]) == (None, "not taken", "no server")
