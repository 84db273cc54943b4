"""The words that are looked for are the input's, without those that the service says by itself."""

from __future__ import annotations

from pathlib import Path

from tests.demo import scan


def test_words_of_the_input_tell_in_both_cases(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text("class Hippopotamus: pass")
    assert scan.telling_words([source], []) == {b"Hippopotamus", b"hippopotamus"}


def test_words_of_the_service_and_of_before_are_no_finding(tmp_path: Path) -> None:
    source, before = tmp_path / "source.py", tmp_path / "before.log"
    source.write_text("workflowexecution hippopotamus")
    before.write_text("hippopotamus")
    assert scan.telling_words([source], [before]) == set()


def test_files_are_found_under_folders_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    inner, outer = tmp_path / "folder" / "inner", tmp_path / "outer"
    inner.touch()
    outer.touch()
    assert scan.files_in(tmp_path / "folder", outer, tmp_path / "missing") == [inner, outer]
