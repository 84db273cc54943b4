"""`tacit codec audit`: looks for plaintext in what the service keeps, logs and sends, and tells what is readable by design."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cloud.cli.output import EXIT_FAILED, EXIT_MISUSED, Output, OutputOption, emit, fail, note, warn

if TYPE_CHECKING:
    from codec.audit import Report

EXAMPLE = "Example: tacit codec audit data/ tacit.log capture.pcap --objects s3://payloads/orders --canaries secrets.txt"
SHOWN_MAX = 20


def audit(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH|URL]...",
            help="Files and directories: SQLite databases, logs, packet captures, dumps, exports, anything. "
            "postgresql:// URLs, too.",
            show_default=False,
        ),
    ] = None,
    objects: Annotated[
        list[str] | None,
        typer.Option(
            "--objects",
            help="An object store, all of which should be ciphertext: a directory, or file://, s3://, gs://, az://. "
            "May be repeated.",
            show_default=False,
        ),
    ] = None,
    object_option: Annotated[
        list[str] | None,
        typer.Option(
            "--object-option", help="NAME=VALUE for the object stores (region=…).", show_default=False
        ),
    ] = None,
    canaries: Annotated[
        Path | None,
        typer.Option(
            help="Secrets that may be nowhere, one a line: searched for raw, encoded and compressed.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Look for plaintext. Exit 0: none was found. Exit 1: there is some, or something can't be read.

    Every payload that is found is judged, whatever it stands in; canaries show what else leaks. Then all that is readable
    by design is told, with examples. The audit changes nothing, needs no key, and its report holds no secret.
    """
    # The audit's libraries only when it runs: the other commands of the group start without them.
    from codec.audit import Audit, AuditError, Needles, read_canaries
    from codec.audit.databases import is_postgres
    from codec.errors import CodecError

    if not paths and not objects:
        fail("Say what to look at: paths, postgresql:// URLs, or --objects.", EXIT_MISUSED)
    options = {}
    for one in object_option or ():
        name, found, value = one.partition("=")
        if not found:
            fail(f"--object-option is NAME=VALUE, not {name!r}.", EXIT_MISUSED)
        options[name] = value
    try:
        needles = Needles(read_canaries(canaries) if canaries is not None else [])
        with _progress() as tell:
            work = Audit(needles, tell)
            for path in paths or ():
                if is_postgres(path):
                    work.database(path)
                else:
                    work.path(Path(path))
            for url in objects or ():
                work.objects(url, options)
    except (AuditError, CodecError) as error:
        fail(str(error))
    report = work.report
    if output is Output.JSON:
        emit(report.to_json(), output)
    else:
        _tell(report)
    if not report.clean:
        raise typer.Exit(EXIT_FAILED)


def _tell(report: Report) -> None:
    size = sum(report.sources.values())
    emit(
        {
            "looked_at": f"{len(report.sources)} sources, {size / 1e6:,.1f} MB",
            "taken_along": report.taken_along,
            "payloads": [f"{count:,} {kind}" for kind, count in report.payloads.most_common()],
            "canaries": f"{len(report.canaries_found)} of {report.canaries} found",
            "opaque": [f"{count:,} {what}" for what, count in report.opaque.items()],
            "plaintext": report.findings_count,
        },
        Output.TEXT,
    )
    if report.readable:
        note("\nReadable by design:")
        emit(
            [
                {"what": what, "count": one.count, "examples": one.examples}
                for what, one in sorted(report.readable.items())
            ],
            Output.TEXT,
        )
    for gap in report.unread:
        warn(f"not read: {gap}")
    if report.findings:
        note("\nPlaintext:")
        emit(
            [
                {
                    "what": finding.what,
                    "form": finding.form,
                    "where": f"{finding.source}: {finding.place}, at {finding.offset}",
                }
                for finding in report.findings[:SHOWN_MAX]
            ],
            Output.TEXT,
        )
        if report.findings_count > SHOWN_MAX:
            note(f"… and {report.findings_count - SHOWN_MAX} more; --output json has them.")
    else:
        typer.echo("\nNo plaintext was found.")


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None] | None]:
    """What to tell the progress to; on a terminal it is shown."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.fields[size]}  {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("", total=None, size="")
        done = 0

        def tell(source: str, count: int) -> None:
            nonlocal done
            done += count
            bar.update(shown, description=source[-60:], size=f"{done / 1e6:,.0f} MB")

        yield tell
