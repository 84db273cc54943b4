"""How every command speaks: data on stdout (a table for people, JSON for machines), all else on stderr.

A command ends in one of three ways: 0 done, 1 failed, 2 misused. A failure is one sentence that says what
happened, to what, and what to do about it; it never shows a stack trace.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Annotated, Any, NoReturn
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_MISUSED = 2


class Output(enum.StrEnum):
    """The two forms of a command's data."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[
    Output,
    typer.Option("--output", "-o", help="Form of the data on stdout: text for people, json for machines."),
]
"""The `--output` option that every command takes; give it the default ``Output.TEXT``."""

Row = Mapping[str, object]

# Columns; wider than anything that is shown, so that nothing is folded.
_WIDE = 10_000


def emit(data: Row | Sequence[Row], output: Output, *, empty: str = "Nothing to show.") -> None:
    """Write a command's result to stdout.

    A mapping is one thing (fields below each other), a sequence of mappings a list (one row each). Keys are
    snake_case: JSON shows them as they are, text as words. `empty` is what text says of an empty list (on
    stderr, so that a pipe sees nothing).
    """
    if output is Output.JSON:
        typer.echo(json.dumps(plain(data), indent=2, ensure_ascii=False))
        return
    if isinstance(data, Mapping):
        _print_fields(data)
    elif data:
        _console(wide=not sys.stdout.isatty()).print(_rows(data))
    else:
        note(empty)


def note(message: str) -> None:
    """Tell a person something that is no data: progress, a hint, what to do next (stderr)."""
    _console(stderr=True).print(Text(message))


def warn(message: str) -> None:
    """Tell a person of something that may surprise them later (stderr)."""
    _console(stderr=True).print(Text.assemble(("warning: ", "yellow"), message))


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """End the command with one clear sentence on stderr.

    Raises:
        typer.Exit: always, with `code` (1 failed, 2 misused).
    """
    _console(stderr=True).print(Text.assemble(("error: ", "bold red"), message))
    raise typer.Exit(code)


def plain(value: object) -> Any:
    """`value` as JSON can hold it: times as RFC 3339, durations in seconds, decimals as text.

    Raises:
        TypeError: a value of a type that has no JSON form here; bytes are refused, as they might be a secret.
    """
    match value:
        case None | bool() | int() | float():
            return value
        case enum.Enum():
            return plain(value.value)
        case str():
            return value
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID() | PurePath():
            return str(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"a {type(value).__name__} has no JSON form; turn it into text first")


def _console(*, stderr: bool = False, wide: bool = False) -> Console:
    # Made per call: a console keeps the stream it was made with, and tests and pipes exchange the streams.
    # Soft wrapping leaves long values (paths, keys) in one piece, so that they can be copied.
    return Console(stderr=stderr, soft_wrap=True, highlight=False, width=_WIDE if wide else None)


def _print_fields(row: Row) -> None:
    # Lines and not a table: a value may be a key or a path to be copied, which the terminal may wrap but nothing cut.
    console = _console()
    width = max((len(key) for key in row), default=0)
    for key, value in row.items():
        first, *more = _cell(value).split("\n") or [Text()]
        console.print(Text.assemble((_words(key).ljust(width), "bold"), "  ", first))
        for line in more:
            console.print(Text.assemble(" " * (width + 2), line))


def _rows(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    for key in keys:
        table.add_column(Text(_words(key)), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(key)) for key in keys))
    return table


def _words(key: str) -> str:
    return key.replace("_", " ")


def _cell(value: object) -> Text:
    simple = plain(value)
    if simple is None or simple in ([], {}):
        return Text("-", style="dim")
    if isinstance(simple, bool):
        return Text("yes" if simple else "no")
    if isinstance(simple, list):
        return Text("\n".join(_inline(item) for item in simple))
    return Text(_inline(simple))


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_inline(item)}" for key, item in value.items())
    return str(value)
