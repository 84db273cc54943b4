"""`python -m tests.ui [--keep FOLDER]`: opens the pages of the web UI; exit 0 if each is as it should be."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from tests.processes import BIN, ROOT, Server, free_port, tacit_dev
from tests.ui.populate import TASK_QUEUE, Shown, populated, sealing_profile

SOURCES = Path(__file__).parent
BUILD = ROOT / "build" / "ui"
UI_MODULE = "github.com/temporalio/ui-server/v2/cmd/server"
TOOLS = ("go", "node", "npm", "chromium")
BUILD_SECONDS_MAX = 1_200
VISIT_SECONDS_MAX = 600

_CONFIG = """\
temporalGrpcAddress: {address}
host: 127.0.0.1
port: {port}
enableUi: true
defaultNamespace: default
disableNewsFetch: true
cors:
  cookieInsecure: true
  allowOrigins: ["http://127.0.0.1:{port}"]
codec:
  endpoint: http://127.0.0.1:{codec_port}
  passAccessToken: false
"""


def pages(shown: Shown) -> list[dict[str, Any]]:
    """Each page, with texts that must be seen there."""
    base = "/namespaces/default"
    done = f"{base}/workflows/order-done/{shown.done_run}"
    waiting = f"{base}/workflows/order-open/{shown.open_run}"
    failed = f"{base}/workflows/order-doomed/{shown.failed_run}"
    stuck = f"{base}/workflows/order-stuck/{shown.stuck_run}"
    schedule = f"{base}/schedules/nightly-orders"
    sealed = f"{base}/workflows/order-sealed/{shown.sealed_run}"
    stored = f"{base}/workflows/order-stored/{shown.stored_run}"
    wanted: list[tuple[str, str, list[str]]] = [
        ("namespaces", "/namespaces", ["default"]),
        ("namespace", base, ["default", "Retention"]),
        ("workflows", f"{base}/workflows", ["order-open", "3 Running", "5 Completed", "1 Failed"]),
        ("workflows-filtered", f'{base}/workflows?query=Customer%3D"ada"', ["order-open", "1 workflow"]),
        ("workflow-start", f"{base}/workflows/start-workflow", ["Start Workflow", "Random UUID"]),
        ("workflow", f"{waiting}/history", ["order-open", "Workflow Execution Update Completed", "amend"]),
        ("timeline", f"{done}/timeline", ["order-done", "Completed"]),
        ("history", f"{done}/history", ["receipt for order-done", "Workflow Execution Completed"]),
        ("failed", f"{failed}/history", ["card declined"]),
        ("pending-activities", f"{stuck}/pending-activities", ["the till is closed"]),
        ("workflow-workers", f"{waiting}/workers", [TASK_QUEUE]),
        ("relationships", f"{waiting}/relationships", ["order-open-shipment"]),
        ("queries", f"{waiting}/query", ["all_notes", "from a signal", "from an update"]),
        ("call-stack", f"{waiting}/call-stack", ["Call Stack", "run (workflow: Order, id: order-open"]),
        ("user-metadata", f"{waiting}/user-metadata", ["An order that the pages show", "one order"]),
        ("search-attributes", f"{waiting}/search-attributes", ['"Customer": "ada"']),
        ("memo", f"{waiting}/memo", ["made for the pages"]),
        ("task-queue", f"{base}/task-queues/{TASK_QUEUE}", [TASK_QUEUE, "Running"]),
        ("schedules", f"{base}/schedules", ["nightly-orders"]),
        ("schedule", schedule, ["nightly-orders", "Every 12 hour(s)", "order-scheduled", "1 Completed"]),
        ("schedule-edit", f"{schedule}/edit", ["nightly-orders", "Edit Schedule"]),
        ("schedule-create", f"{base}/schedules/create", ["Create Schedule"]),
        ("batches", f"{base}/batch-operations", [shown.job]),
        ("batch", f"{base}/batch-operations/{shown.job}", [shown.job, "to be shown"]),
        ("workers", f"{base}/workers", [TASK_QUEUE]),
        ("archive", f"{base}/archival", ["Archival"]),
        # Encrypted on the client's side; what the pages show of it, the codec server has decrypted for the browser.
        ("sealed", f"{sealed}/history", ["order-sealed", "sealed words", "receipt for sealed words"]),
        ("sealed-memo", f"{sealed}/memo", ["made for the pages, and sealed"]),
        ("sealed-metadata", f"{sealed}/user-metadata", ["A sealed order"]),
        ("sealed-query", f"{sealed}/query", ["sealed note"]),
        ("sealed-stored", f"{stored}/history", ["order-stored", "tacit.objectstore"]),
    ]
    presses = {"queries": ["Run Query"], "sealed-query": ["Run Query"], "sealed-stored": [" KB"]}
    return [
        {"name": name, "path": path, "presses": presses.get(name, []), "texts": texts}
        for name, path, texts in wanted
    ]


def ui_server(folder: Path, address: str, *, port: int, codec_port: int) -> Server:
    """The UI's own server, in front of the service at `address`."""
    (folder / "config").mkdir()
    (folder / "config" / "test.yaml").write_text(
        _CONFIG.format(address=address, port=port, codec_port=codec_port)
    )
    program = str(BUILD / "ui-server")
    return Server(
        name="Temporal web UI",
        command=[program, "--root", str(folder), "--config", "config", "--env", "test", "start"],
        ports=[port],
        log=folder / "ui.log",
    )


def codec_server(folder: Path, config: Path, *, ui_port: int) -> Server:
    """The codec server that the pages ask, with the profile that sealed workflows are written with."""
    port = free_port()
    options = ("--no-auth", "--port", str(port), "--origin", f"http://127.0.0.1:{ui_port}")
    return Server(
        name="codec server",
        command=[str(BIN / "tacit"), "codec", "serve", *options, "--audit", str(folder / "audit.jsonl")],
        ports=[port],
        log=folder / "codec-server.log",
        env={"TEMPORAL_CONFIG_FILE": str(config)},
    )


def make() -> None:
    """Build what is needed into build/ui."""
    shutil.copytree(SOURCES, BUILD, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for command in (
        ("go", "build", "-o", "ui-server", UI_MODULE),
        ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"),
    ):
        subprocess.run(command, cwd=BUILD, check=True, timeout=BUILD_SECONDS_MAX)


async def visit(ui: Server, shown: Shown, folder: Path) -> list[dict[str, Any]]:
    """Open all pages; what was found on each."""
    plan = {
        "browser": shutil.which("chromium"),
        "address": f"http://{ui.address}",
        "folder": str(folder),
        "pages": pages(shown),
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    process = await asyncio.create_subprocess_exec(
        "node", "visit.js", str(folder / "plan.json"), cwd=BUILD, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(VISIT_SECONDS_MAX):
        told, _ = await process.communicate()
    return [json.loads(line) for line in told.splitlines()]


def downloaded(folder: Path, console: Console) -> bool:
    """Whether the press on a stored payload fetched it through the codec server."""
    lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    done = any(line["operation"] == "download" and line["outcome"] == "done" for line in lines)
    console.print(f"[{'green]✓' if done else 'red]✗'}[/] a stored payload is fetched by a press")
    return done


async def check(console: Console, folder: Path) -> bool:
    """Start everything, look at every page; whether all are as they should be."""
    with ExitStack() as stack:
        dev = tacit_dev(folder, more=("--search-attribute", "Customer=Keyword"))
        config = sealing_profile(folder, dev.address)
        ui_port = free_port()
        codecs = codec_server(folder, config, ui_port=ui_port)
        ui = ui_server(folder, dev.address, port=ui_port, codec_port=codecs.ports[0])
        for server in (dev, codecs, ui):
            stack.callback(server.stop)
            server.start()
        async with populated(dev.address, config) as shown:
            wanted, found = pages(shown), await visit(ui, shown, folder)
    good = len(found) == len(wanted) and downloaded(folder, console)
    for page in found:
        faults = [f"not seen: {text}" for text in page["missing"]]
        faults += [f"refused: {call}" for call in page["refused"]] + page["errors"]
        console.print(f"[{'red]✗' if faults else 'green]✓'}[/] {page['name']}")
        for fault in faults:
            console.print(f"    {escape(fault)}")
        good = good and not faults
    return good


def main() -> int:
    """Look at the pages. Returns 1 if one is not as it should be, 0 too where a tool is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.ui", description=inspect.getdoc(sys.modules["tests.ui"])
    )
    parser.add_argument("--keep", type=Path, help="keep screenshots and logs in this new folder")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    logging.disable(logging.WARNING)  # activities fail here on purpose
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        console.print(f"Left out: no {' and no '.join(missing)} here.")
        return 0
    with console.status("building the UI's server"):
        make()
    with tempfile.TemporaryDirectory(prefix="tacit-ui-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return 0 if asyncio.run(check(console, folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
