"""`python -m tests.benchmarks.sidecar_calls`: the sidecar's CPU for each call of a one-activity workflow, without sockets.

The calls of one workflow are recorded first, before a service in this process. Then each is replayed many times through all of
the sidecar but its sockets: frames in, frames to the service, the service's frames in, frames out. Kinds take turns, and times
are CPU time of this process, so that a busy machine changes little.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import codec
import sdk
from cloud.app.development import Development, DevelopmentOptions
from cloud.sidecar.audit import AuditLog
from cloud.sidecar.listening import server
from cloud.sidecar.routes import Routes
from cloud.sidecar.setting_up import routes_of
from cloud.sidecar.sidecar import Sidecar
from cloud.sidecar.upstream import Upstream
from cloud.transport.calls import ListenerKind
from cloud.transport.http2 import calling, frames
from cloud.transport.http2.edge import Edge
from cloud.transport.http2.header_blocks import Block
from cloud.transport.http2.messages import OK, OPENING, framed
from cloud.transport.http2.server import _Open
from tests.benchmarks.workload import OneActivity, greet

HOST = "127.0.0.1"
QUEUE = "calls"
WORKFLOWS = 20
TOGETHER = 4
"""Calls that come in one read of the socket, as they do with 20 workflows in flight."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One call: what came from the worker, and what the service answered."""

    path: str
    request: bytes
    answer: bytes
    per_workflow: float


async def recorded(routes: Routes) -> list[Recorded]:
    """The calls of workflows with one activity each, one of each kind: the largest answer stands for all."""
    came: list[tuple[str, bytes, bytes]] = []
    upstream = routes.first.upstream
    inner = Sidecar(routes, audit=AuditLog(None))

    class Recording:
        methods = inner.methods

        async def answer(self, method: Any, message: bytes, parts: Any) -> bytes:
            said: list[bytes] = []

            async def call(*given: Any, **named: Any) -> bytes:
                said.append(await Upstream.call(upstream, *given, **named))
                return said[0]

            upstream.call = call  # type: ignore[method-assign]
            answer = await inner.answer(method, message, parts)
            came.append((method.path, message, said[0] if said else b""))
            return answer

    listening = server(Recording(), host=HOST, tls=None)  # type: ignore[arg-type]
    port = await listening.start(f"{HOST}:0")
    client = await Client.connect(f"{HOST}:{port}")
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[OneActivity],
        activities=[greet],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        del came[:]
        for _ in range(WORKFLOWS):
            await client.execute_workflow(OneActivity.run, "world", id=f"w-{uuid.uuid4()}", task_queue=QUEUE)
        calls = list(came)
    await listening.stop(0)
    counts = Counter(path for path, _, _ in calls)
    one_of_each: dict[str, tuple[bytes, bytes]] = {}
    for path, request, answer in calls:
        if path not in one_of_each or len(answer) > len(one_of_each[path][1]):
            one_of_each[path] = (request, answer)
    return [
        Recorded(path=path, request=request, answer=answer, per_workflow=counts[path] / WORKFLOWS)
        for path, (request, answer) in one_of_each.items()
    ]


class _Socket:
    """What a protocol writes to; `on_write` is what the other side does at once."""

    def __init__(self, on_write: Callable[[bytes], None]) -> None:
        self.write = on_write
        self.abort = self.close = lambda: None

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False


class Replay:
    """A sidecar between a worker that says what was recorded and a service that answers so."""

    def __init__(self, sidecar: Sidecar, routes: Routes) -> None:
        self._loop = asyncio.get_running_loop()
        self._open = _Open(sidecar, ListenerKind.DEVELOPMENT)
        self._edge = Edge(self._open)
        self._edge.connection_made(_Socket(lambda data: None))
        self._stream = 1
        self._edge.data_received(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0))
        channel: Any = routes.first.upstream._channel
        self._line = line = calling._Line()
        self._service_stream = 1
        self._due = 0
        line.connection_made(_Socket(self._serve))
        line.data_received(frames.settings_frame({}) + frames.window_update(0, 2**30))
        channel._lines = [line]
        self._answer = b""

    def _serve(self, data: bytes) -> None:
        # Whatever is written comes in whole calls, in the order of their streams.
        self._due += data.count(b"application/grpc")
        if self._due:
            self._loop.call_soon(self._reply)

    def _reply(self) -> None:
        due, self._due = self._due, 0
        replies = []
        for _ in range(due):
            stream = self._service_stream.to_bytes(4, "big")
            self._service_stream += 2
            replies += [
                *(OPENING.opens, stream, OPENING.data),
                *(len(self._answer).to_bytes(3, "big"), bytes((frames.DATA, 0)), stream, self._answer),
                *(OK.ends, stream, OK.data),
            ]
        self._line.data_received(b"".join(replies))

    async def seconds(self, call: Recorded, times: int) -> float:
        """CPU seconds of one call, from `times` of them."""
        head = Block(
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "127.0.0.1:7235"),
            (":path", call.path),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "tonic/0.14.2"),
            ("grpc-timeout", "10000000u"),
            ("client-name", "temporal-python"),
            ("client-version", "1.35.0"),
            ("temporal-namespace", "default"),
        )
        body = framed(call.request)
        self._answer = framed(call.answer)
        length = len(body).to_bytes(3, "big") + bytes((frames.DATA, frames.END_STREAM))
        connection = self._edge.connection
        rounds = times // TOGETHER
        grown = frames.window_update(0, len(call.answer) * times + 100 * times)
        self._edge.data_received(grown)
        began = time.process_time()
        for _ in range(rounds):
            parts = []
            for _ in range(TOGETHER):
                stream = self._stream.to_bytes(4, "big")
                self._stream += 2
                parts += [head.opens, stream, head.data, length, stream, body]
            self._edge.data_received(b"".join(parts))
            while connection.streams:
                await asyncio.sleep(0)
        return (time.process_time() - began) / (rounds * TOGETHER)


async def _main(times: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="tacit-calls-") as name:
        folder = Path(name)
        service = Development(
            DevelopmentOptions(port=0, http_port=0, database=str(folder / "s.db"), namespaces=("default",))
        )
        await service.start()
        try:
            ring = folder / "keyring.json"
            codec.create_key_ring(ring, codec.KeyRing.create("default"))
            config = folder / "temporal.toml"
            sdk.write_profile(
                config,
                "default",
                address=f"{HOST}:{service.port}",
                namespace="default",
                tls=False,
                codec=sdk.CodecSettings(key_ring=ring),
            )
            profile = sdk.load_profile("default", config_file=config, environment={})
            routes = routes_of([profile])
            calls = await recorded(routes)
            await routes.first.upstream.close()
        finally:
            await service.stop()
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        routes = routes_of([profile])
        sidecar = Sidecar(routes, audit=AuditLog(folder / "audit.jsonl"))
        replay = Replay(sidecar, routes)
        taken: dict[str, list[float]] = {call.path: [] for call in calls}
        for call in calls:
            await replay.seconds(call, 200)
        for _ in range(rounds):
            for call in calls:
                taken[call.path].append(await replay.seconds(call, times))
        whole = 0.0
        for call in calls:
            us = statistics.median(taken[call.path]) * 1e6
            whole += us * call.per_workflow
            print(
                f"{call.path.rpartition('/')[2]:<36} {call.per_workflow:4.2f} x {us:6.1f} us"
                f"   request {len(call.request):5} B, answer {len(call.answer):5} B"
            )
        print(f"{'a workflow':<36}        {whole:6.1f} us   refused {sidecar.counts['refused']}")


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sidecar_calls", description=__doc__)
    parser.add_argument("--times", type=int, default=2_000, help="calls of a kind in one round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    uvloop.run(_main(options.times, options.rounds))


if __name__ == "__main__":
    main()
