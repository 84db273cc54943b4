"""Expectations that stand as text in the test, and can rewrite themselves from the real server's answer.

With `TACIT_SCENARIOS_UPDATE=1` (and a real server's address) a literal that does not match is replaced in
the test's source at the end of the run; what changed is then reviewed as a diff, like any other change.
"""

import ast
import difflib
import os
import re
import sys
import textwrap
from pathlib import Path
from types import FrameType

UPDATING = os.environ.get("TACIT_SCENARIOS_UPDATE") == "1"

_WIDTH = 110
_rewrites: dict[Path, dict[int, str]] = {}


def expect(actual: str, expected: str) -> None:
    """Compare two texts, indentation and wrapping aside."""
    if _lines(actual) == _lines(expected):
        return
    if UPDATING and _note(actual):
        return
    changes = difflib.unified_diff(_lines(expected), _lines(actual), "expected", "got", lineterm="", n=1)
    raise AssertionError("\n".join(changes))


def grouped(outcomes: dict[str, str]) -> str:
    """Cases by their outcome: each outcome once, with the cases that end so below it."""
    groups: dict[str, list[str]] = {}
    for case, outcome in outcomes.items():
        groups.setdefault(outcome.replace("\n", " | "), []).append(case)
    return "\n".join(f"{outcome}\n  {', '.join(cases)}" for outcome, cases in groups.items())


def rewrite_sources() -> None:
    """Put the noted answers into the sources of their tests."""
    for path, answers in _rewrites.items():
        lines = path.read_text().splitlines()
        for literal in sorted(_literals(path, answers), key=lambda found: -found[0].lineno):
            node, actual = literal
            start, end = node.lineno - 1, (node.end_lineno or node.lineno) - 1
            indent = " " * (len(lines[start]) - len(lines[start].lstrip()))
            body = [f"{indent}    {line}".rstrip() for line in _block(actual, len(indent) + 4).splitlines()]
            raw = "r" if "\\" in actual else ""
            text = lines[start][: node.col_offset] + raw + '"""'
            lines[start : end + 1] = [text, *body, f'{indent}"""' + lines[end][node.end_col_offset :]]
        path.write_text("\n".join(lines) + "\n")
    _rewrites.clear()


def _lines(text: str) -> list[str]:
    """Logical lines: one that is indented deeper than the first continues the line before it."""
    raw = [line for line in textwrap.dedent(text).splitlines() if line.strip()]
    logical: list[str] = []
    for line in raw:
        if line.startswith("      ") and logical:
            logical[-1] += " " + line.strip()
        else:
            logical.append(line.rstrip())
    return [re.sub(r"(?<=\S) +", " ", line) for line in logical]


def _block(text: str, indent: int) -> str:
    """The text, wrapped to fit the sources at this indentation."""
    return "\n".join(
        textwrap.fill(
            line,
            _WIDTH - indent,
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in _lines(text)
    )


def _note(actual: str) -> bool:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not Path(frame.f_code.co_filename).name.startswith("test_"):
        frame = frame.f_back
    if frame is None:
        return False
    path = Path(frame.f_code.co_filename)
    if not _literals(path, {frame.f_lineno: actual}):
        return False
    _rewrites.setdefault(path, {})[frame.f_lineno] = actual
    return True


def _literals(path: Path, answers: dict[int, str]) -> list[tuple[ast.Constant, str]]:
    """For each line that called an expectation, the string literal to replace."""
    found: list[tuple[ast.Constant, str]] = []
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    for line, actual in answers.items():
        for node in calls:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if not name.startswith("expect") or not node.lineno <= line <= (node.end_lineno or 0):
                continue
            texts = [arg for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            if texts:
                found.append((texts[-1], actual))
                break
    return found
