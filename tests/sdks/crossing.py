"""Programs in four languages with the same keys in one namespace: each asks a worker of every other, and reads its answer.

Go, TypeScript and Java have a codec of their own here (`codec.go`, `codec.js`, `RingCodec.java`), by their SDKs' own interfaces, over a key
ring's file; Python has `sdk`. Two write the samples' format, two Tacit's, and all read both. At last Go goes without any codec, through
the sidecar. Then nothing of what was said may be in the service's files.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from temporalio import workflow
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

import sdk
from codec import KeyRing, WriteFormat, create_key_ring
from codec.audit import Audit, Needles
from sdk.settings import CodecSettings
from tests.processes import BIN, Server, clean_environment, free_port, tacit_dev
from tests.sdks.programs import Program

READY_SECONDS_MAX = 60
ASK_SECONDS_MAX = 90
FORMATS = {"go": "tacit", "node": "samples", "java": "tacit", "python": "samples"}
PYTHON_QUEUE = "crossing-python"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one question: who asked, what it was, "ok" or what went wrong."""

    sdk: str
    step: str
    outcome: str


@workflow.defn(name="Read", sandboxed=False)
class Read:
    """The workflow that every language serves: it tells who has read what."""

    @workflow.run
    async def run(self, text: str) -> str:
        if text.startswith("fail"):
            raise ApplicationError(f"python has read {text}", non_retryable=True)
        return f"python has read {text}"


def cross(folder: Path, built: Mapping[Program, Path]) -> Iterator[Outcome]:
    """Ask every program of `built`, and Python, by every other."""
    said: list[str] = []
    with ExitStack() as stack:
        service = tacit_dev(folder)
        stack.callback(service.stop)
        service.start()
        ring = folder / "keyring.json"
        create_key_ring(ring, KeyRing.create("default"))
        config = folder / "crossing.toml"
        settings = CodecSettings(
            key_ring=ring, write_format=WriteFormat(FORMATS["python"]), compression=False
        )
        sdk.write_profile(
            config, "default", address=service.address, namespace="default", tls=False, codec=settings
        )
        environments = {
            program.name: {
                "TEMPORAL_CONFIG_FILE": str(config),
                "KEY_RING": str(ring),
                "WRITE_FORMAT": FORMATS[program.name],
            }
            for program in built
        }
        for program, place in built.items():
            stack.enter_context(_serving(program, place, environments[program.name], folder))
        for program, place in built.items():
            for target in (*(other.name for other in built), "python"):
                text = _text(program.name, target, said)
                told = _ask(program, place, environments[program.name], f"crossing-{target}", text, config)
                yield _outcome(program.sdk, f"asks {target}, with a codec", told, f"{target} has read {text}")
        for target in (*(program.name for program in built), "python"):
            for prefix in ("", "fail "):
                text = prefix + _text("python", target, said)
                told = asyncio.run(_ask_by_python(config, f"crossing-{target}", text))
                step = f"asks {target}" + (", which fails" if prefix else "")
                yield _outcome("Python", step, told, f"{target} has read {text}")
        plain = next((program for program in built if program.name == "go"), None)
        if plain is not None:
            yield from _through_the_sidecar(stack, folder, config, plain, built[plain], said)
    audit = Audit(Needles(said))
    for path in folder.glob("tacit*"):
        audit.path(path)
    readable = f"the audit found {audit.report.findings[:2]}"
    yield Outcome(
        sdk="all", step="nothing readable is left", outcome="ok" if audit.report.clean else readable
    )


def _through_the_sidecar(
    stack: ExitStack, folder: Path, config: Path, program: Program, place: Path, said: list[str]
) -> Iterator[Outcome]:
    port = free_port()
    command = [BIN / "tacit", "codec", "proxy", "--listen", f"127.0.0.1:{port}", "--audit", "none"]
    proxy = Server(
        name="tacit codec proxy",
        command=[str(part) for part in command],
        ports=[port],
        log=folder / "sidecar.log",
        env={"TEMPORAL_CONFIG_FILE": str(config)},
    )
    stack.callback(proxy.stop)
    proxy.start()
    there = folder / "sidecar.toml"
    there.write_text(f'[profile.default]\naddress = "127.0.0.1:{port}"\nnamespace = "default"\n')
    text = _text("sidecar", "python", said)
    told = _ask(program, place, {"TEMPORAL_CONFIG_FILE": str(there)}, PYTHON_QUEUE, text, config)
    yield _outcome(
        program.sdk, "asks python, without a codec, by the sidecar", told, f"python has read {text}"
    )


def _text(asker: str, target: str, said: list[str]) -> str:
    said.append(f"{asker} tells {target} {secrets.token_hex(12)}")
    return said[-1]


def _outcome(name: str, step: str, told: str, wanted: str) -> Outcome:
    return Outcome(sdk=name, step=step, outcome="ok" if wanted in told else f"it said {told!r}")


@contextmanager
def _serving(program: Program, place: Path, env: Mapping[str, str], folder: Path) -> Iterator[None]:
    """A worker in a program's language, until the end."""
    log = folder / f"{program.name}.log"
    with log.open("wb") as file:
        worker = subprocess.Popen(
            [*program.crossing(place), "serve", f"crossing-{program.name}"],
            cwd=place,
            env={**clean_environment(), **env},
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        give_up = time.monotonic() + READY_SECONDS_MAX
        while b"ready" not in log.read_bytes() and worker.poll() is None and time.monotonic() < give_up:
            time.sleep(0.1)
        yield
    finally:
        worker.kill()
        worker.wait()


def _ask(program: Program, place: Path, env: Mapping[str, str], queue: str, text: str, config: Path) -> str:
    """What a program says that it was told."""
    command = [*program.crossing(place), "ask", queue, f"crossing-{secrets.token_hex(6)}", text]
    asking = subprocess.Popen(
        command,
        cwd=place,
        env={**clean_environment(), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        if queue == PYTHON_QUEUE:
            asyncio.run(_serve_by_python(config, asking))
        out, _ = asking.communicate(timeout=ASK_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return f"nothing within {ASK_SECONDS_MAX} s"
    finally:
        asking.kill()
        asking.wait()
    told = [line.removeprefix("told: ") for line in out.splitlines() if line.startswith("told: ")]
    return told[0] if told else out.strip()[-400:]


async def _serve_by_python(config: Path, until: subprocess.Popen[str]) -> None:
    client = await sdk.connect(config_file=config)
    async with Worker(client, task_queue=PYTHON_QUEUE, workflows=[Read]):
        for _ in range(ASK_SECONDS_MAX * 10):
            if until.poll() is not None:
                return
            await asyncio.sleep(0.1)


async def _ask_by_python(config: Path, queue: str, text: str) -> str:
    client = await sdk.connect(config_file=config)
    async with Worker(client, task_queue=PYTHON_QUEUE, workflows=[Read]):
        asked = client.execute_workflow("Read", text, id=f"crossing-{secrets.token_hex(6)}", task_queue=queue)
        try:
            return str(await asyncio.wait_for(asked, ASK_SECONDS_MAX))
        except WorkflowFailureError as error:
            return str(error.cause)
        except TimeoutError:
            return f"nothing within {ASK_SECONDS_MAX} s"
