"""`python -m tests.demo`: tells the story step by step; exit 0 only if each step was checked."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text
from temporalio.service import RPCError

from tests.demo import bill, opening, secrecy, work
from tests.demo.story import CheckFailedError, Story
from tests.processes import ProcessFailedError, tacit_up

Step = Callable[[Story], Awaitable[str]]

STEPS: tuple[Step, ...] = (
    opening.open_the_service,
    opening.sign_up_with_an_encrypted_namespace,
    opening.start_a_worker_over_mtls,
    work.index_the_library,
    work.kill_the_worker_half_way,
    work.kill_the_service,
    work.approve_by_signal_after_the_timer,
    work.compare_with_the_index_computed_directly,
    work.read_the_volume_by_its_handle,
    secrecy.show_a_stored_payload,
    secrecy.audit_all_that_the_service_has,
    secrecy.refuse_a_plain_client,
    secrecy.refuse_another_namespaces_certificate,
    bill.compare_usage_with_a_recount,
    bill.preview_the_invoice,
)
NAME_WIDTH = max(len(step.__name__) for step in STEPS)


def title(step: Step) -> str:
    """A step's name as a sentence."""
    return str(step.__name__).replace("_", " ")


async def tell(console: Console, folder: Path) -> bool:
    """Run all steps; whether each of them was so."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        bar = stack.enter_context(Progress(*columns, console=console, transient=True))
        shown = bar.add_task("", total=len(STEPS))
        story = Story(
            folder=folder,
            service=tacit_up(folder),
            say=lambda text, _done, _of: bar.update(shown, description=f"{title(current)}: {text}"),
        )
        stack.callback(story.end)
        current: Step
        for number, current in enumerate(STEPS):
            bar.update(shown, description=title(current), completed=number)
            began = time.monotonic()
            try:
                told = await current(story)
            except (CheckFailedError, ProcessFailedError, RPCError) as error:
                console.print(Text(f"✗ {title(current)}: {error}", style="red"))
                return False
            seconds = time.monotonic() - began
            console.print(
                Text.assemble(("✓ ", "green"), (title(current), "bold"), (f"  {seconds:.1f} s", "dim"))
            )
            console.print(Text(f"  {told}"), soft_wrap=False)
    return True


def main() -> int:
    """Tell the story. Returns 1 if a step was not so."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.demo", description=inspect.getdoc(sys.modules["tests.demo"])
    )
    parser.add_argument("--keep", type=Path, help="keep all that was written in this new folder")
    options = parser.parse_args()
    console = Console(highlight=False)
    began = time.monotonic()
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="tacit-demo-")
        folder = options.keep or Path(stack.enter_context(temporary))
        folder.mkdir(parents=True, exist_ok=True)
        good = asyncio.run(tell(console, folder))
    seconds = time.monotonic() - began
    verdict = "Each step was checked" if good else "A step was not so"
    console.print(f"{verdict}, {seconds:.0f} seconds in all.", style="green" if good else "red")
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        # What was started is stopped by now.
        sys.stderr.write("The demo was interrupted.\n")
        sys.exit(130)
