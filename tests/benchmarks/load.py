"""The load on one server: a client and a worker of the official SDK in a process of their own.

Reads a :class:`Spec` as JSON from its one argument, writes JSON lines: ``{"done": 0.4}`` while it goes on,
then ``{"result": {...}}``. CPU of the measured processes is read from the operating system just before and
after.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.service import TLSConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.benchmarks import idle_load, operations_load
from tests.benchmarks.workload import Bursts, FanOut, Listener, OneActivity, Sleeper, Tick, greet
from tests.processes import cpu_seconds, rss_bytes

QUEUE = "benchmarks"
UNSERVED_QUEUE = "nobody"
RSS_SAMPLE_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach the server: plainly, with a certificate (PEM files), or by a profile through the sdk."""

    address: str = ""
    namespace: str = "default"
    certificate: str = ""
    private_key: str = ""
    server_ca: str = ""
    profile: str = ""
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What to run. `pids` are the measured processes: the server's, and a database's if it has one."""

    kind: str
    connection: Connection
    pids: list[int]
    in_flight: int = 1
    seconds: float = 5
    count: int = 0
    window: int = 0
    turns: int = 0
    other: Connection = Connection()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """CPU seconds used so far."""

    servers: float
    own: float


def _sample(pids: list[int]) -> Sample:
    return Sample(servers=sum(cpu_seconds(pid) for pid in pids), own=cpu_seconds(os.getpid()))


def _say(**words: object) -> None:
    print(json.dumps(words), flush=True)


def _say_done(done: float) -> None:
    _say(done=done)


async def connect(connection: Connection) -> Client:
    """A client of the official SDK for `connection`."""
    if connection.profile:
        import sdk

        return await sdk.connect(connection.profile)
    tls: TLSConfig | bool = False
    if connection.certificate:
        tls = TLSConfig(
            client_cert=Path(connection.certificate).read_bytes(),
            client_private_key=Path(connection.private_key).read_bytes(),
            server_root_ca_cert=Path(connection.server_ca).read_bytes() if connection.server_ca else None,
        )
    return await Client.connect(connection.address, namespace=connection.namespace, tls=tls)


async def one_activity(client: Client, spec: Spec) -> dict[str, Any]:
    """A closed loop of `in_flight` callers, each running one workflow after another for `seconds`."""
    for _ in range(3):
        await asyncio.gather(*[_greet(client) for _ in range(spec.in_flight)])
    latencies: list[float] = []
    rss_max = 0
    before, begin = _sample(spec.pids), time.monotonic()

    async def caller() -> None:
        while time.monotonic() - begin < spec.seconds:
            started = time.monotonic()
            await _greet(client)
            latencies.append(time.monotonic() - started)

    async def watch() -> None:
        nonlocal rss_max
        while True:
            rss_max = max(rss_max, sum(rss_bytes(pid) for pid in spec.pids))
            _say(done=min(1.0, (time.monotonic() - begin) / spec.seconds))
            await asyncio.sleep(RSS_SAMPLE_SECONDS)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*[caller() for _ in range(spec.in_flight)])
    watcher.cancel()
    elapsed, after = time.monotonic() - begin, _sample(spec.pids)
    count = len(latencies)
    return {
        "count": count,
        "per_second": count / elapsed,
        "server_cpu_ms": (after.servers - before.servers) / count * 1000,
        "client_cpu_ms": (after.own - before.own) / count * 1000,
        "median_ms": statistics.median(latencies) * 1000,
        "p99_ms": statistics.quantiles(latencies, n=100, method="inclusive")[98] * 1000
        if count > 1
        else None,
        "rss_max_bytes": rss_max,
    }


async def _greet(client: Client) -> None:
    answer = await client.execute_workflow(
        OneActivity.run, "world", id=f"greet-{uuid.uuid4()}", task_queue=QUEUE
    )
    if answer != "Hello, world!":
        raise AssertionError(f"a workflow answered {answer!r}")


async def _take_turns(
    spec: Spec,
    long: Callable[[], Awaitable[None]],
    short: Callable[[], Awaitable[Callable[[], Awaitable[None]]]],
) -> dict[str, float]:
    """CPU per unit of a slice of work on a long history, and of the same on short ones made for it.

    They take turns, so that a machine that is busy for a while slows both alike. `short` prepares a fresh history
    and returns its slice of work.
    """
    cost = {"long": 0.0, "short": 0.0}
    for turn in range(spec.turns):
        for name, work in (("short", await short()), ("long", long)):
            before = _sample(spec.pids).servers
            await work()
            cost[name] += _sample(spec.pids).servers - before
        _say(done=0.5 + 0.5 * (turn + 1) / spec.turns)
    units = spec.turns * spec.window
    return {"short_cpu_ms": cost["short"] / units * 1000, "long_cpu_ms": cost["long"] / units * 1000}


async def in_turn(client: Client, spec: Spec, tick: Tick) -> dict[str, Any]:
    """Activities one after another, `window` a slice, on a history that had `count` before, and on fresh ones."""
    left = 0
    ended = asyncio.Event()

    def on_tick(_number: int) -> None:
        nonlocal left
        left -= 1
        if left % 50 == 0:
            _say(done=0.5 * (1 - left / spec.count) if left > spec.window else 0.5)
        if not left:
            ended.set()

    tick.on_tick = on_tick

    async def burst(handle: WorkflowHandle[Bursts, None], count: int) -> None:
        nonlocal left
        left = count
        ended.clear()
        await handle.signal(Bursts.go, count)
        await ended.wait()

    async def fresh() -> WorkflowHandle[Bursts, None]:
        return await client.start_workflow(Bursts.run, id=f"bursts-{uuid.uuid4()}", task_queue=QUEUE)

    async def short() -> Callable[[], Awaitable[None]]:
        handle = await fresh()
        await burst(handle, 1)
        return lambda: burst(handle, spec.window)

    grown = await fresh()
    await burst(grown, spec.count)
    costs = await _take_turns(spec, lambda: burst(grown, spec.window), short)
    await grown.signal(Bursts.finish)
    await grown.result()
    return {"events": (await grown.describe()).history_length, **costs}


async def signals(client: Client, spec: Spec) -> dict[str, Any]:
    """Signals, `in_flight` at a time, `window` a slice, to a workflow that had `count` before, and to fresh ones.

    No worker serves their queue: what is measured is one event's way into the history, and nothing that varies.
    """

    async def send(handle: WorkflowHandle[Listener, None], count: int) -> None:
        for sent in range(0, count, spec.in_flight):
            together = min(spec.in_flight, count - sent)
            await asyncio.gather(*[handle.signal(Listener.say, "word") for _ in range(together)])
            if sent % 500 == 0 and count == spec.count:
                _say(done=0.5 * sent / count)

    async def fresh() -> WorkflowHandle[Listener, None]:
        return await client.start_workflow(
            Listener.run, id=f"listener-{uuid.uuid4()}", task_queue=UNSERVED_QUEUE
        )

    async def short() -> Callable[[], Awaitable[None]]:
        handle = await fresh()
        await send(handle, 1)
        return lambda: send(handle, spec.window)

    grown = await fresh()
    await send(grown, spec.count)
    costs = await _take_turns(spec, lambda: send(grown, spec.window), short)
    events, sent = (await grown.describe()).history_length, spec.count + spec.turns * spec.window
    if events < sent:
        raise AssertionError(f"{sent} signals were sent and the history has {events} events")
    return {"events": events, **costs}


async def fan_out(client: Client, spec: Spec) -> dict[str, Any]:
    """`count` activities in one workflow, and as many in workflows of `window`: CPU per activity of each."""

    async def run(width: int, workflows: int) -> float:
        before = _sample(spec.pids)
        for number in range(workflows):
            await client.execute_workflow(FanOut.run, width, id=f"fan-out-{uuid.uuid4()}", task_queue=QUEUE)
            _say(done=(number + 1) / workflows / 2)
        return (_sample(spec.pids).servers - before.servers) / (width * workflows) * 1000

    await run(spec.window, 2)
    narrow = await run(spec.window, spec.count // spec.window)
    return {"narrow_cpu_ms": narrow, "wide_cpu_ms": await run(spec.count, 1)}


async def operations(client: Client, spec: Spec) -> dict[str, Any]:
    """One kind of operation in a closed loop."""
    measured = await operations_load.prepared(
        client, spec.kind.partition(":")[2], QUEUE, spec.in_flight, spec.seconds
    )
    before = _sample(spec.pids).servers
    count = await measured()
    used = _sample(spec.pids).servers - before
    return {"count": count, "server_cpu_ms": used / count * 1000}


async def starts(client: Client, spec: Spec) -> dict[str, Any]:
    """Starts on this server and on `spec.other` in turn."""
    other = await connect(spec.other)
    return await idle_load.starts(client, other, UNSERVED_QUEUE, spec.count, _say_done)


async def _main(spec: Spec) -> None:
    if spec.kind == "polls":  # of a server that may speak nothing else
        _say(result=await idle_load.polls(spec.connection.address, spec.pids[0], spec.count, _say_done))
        return
    client = await connect(spec.connection)
    tick = Tick()
    loads: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
        "one-activity": lambda: one_activity(client, spec),
        "in-turn": lambda: in_turn(client, spec, tick),
        "signals": lambda: signals(client, spec),
        "fan-out": lambda: fan_out(client, spec),
        "sleeper": lambda: idle_load.sleeper(client, QUEUE, spec.count),
        "wakers": lambda: idle_load.wakers(client, spec.count, _say_done),
        "starts": lambda: starts(client, spec),
        "operation": lambda: operations(client, spec),
    }
    kind = spec.kind.partition(":")[0]
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[OneActivity, Bursts, FanOut, Listener, Sleeper, *operations_load.WORKFLOWS],
        activities=[greet, tick.tick],
        nexus_service_handlers=[operations_load.GreeterHandler()] if kind == "operation" else [],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        result = await loads[kind]()
    _say(result=result)


def dump(spec: Spec) -> str:
    """`spec` as the argument of this program."""
    return json.dumps(asdict(spec))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    connections = {name: Connection(**given[name]) for name in ("connection", "other")}
    asyncio.run(_main(Spec(**{**given, **connections})))
    # The SDK's threads can outlive the interpreter's end and crash it; all that matters is said.
    sys.stdout.flush()
    os._exit(0)
