"""A service outside: an HTTP server in the test, which answers as it is told and remembers what it was sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Sent:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    header: dict[str, str]
    body: bytes


@dataclass
class Service:
    """Answers by `answers`, the last one for ever."""

    url: str = ""
    sent: asyncio.Queue[Sent] = field(default_factory=asyncio.Queue)
    answers: list[Callable[[], web.Response]] = field(default_factory=list)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        self.sent.put_nowait(
            Sent(
                request.method,
                request.raw_path.partition("?")[0],
                dict(request.query),
                {key.lower(): text for key, text in request.headers.items()},
                await request.read(),
            )
        )
        make = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return make()

    async def next(self) -> Sent:
        """The next request that comes."""
        return await asyncio.wait_for(self.sent.get(), 20)


@asynccontextmanager
async def service(*answers: Callable[[], web.Response]) -> AsyncIterator[Service]:
    """A service on a port of its own."""
    made = Service(answers=list(answers))
    runner = web.ServerRunner(web.Server(made._answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/base"
    try:
        yield made
    finally:
        await runner.cleanup()


def reply(status: int, body: Any = None, **header: str) -> Callable[[], web.Response]:
    """An answer; a body that is no text is JSON."""
    named = {key.replace("_", "-"): text for key, text in header.items()}
    if body is None:
        return lambda: web.Response(status=status, headers=named)
    if isinstance(body, str):
        return lambda: web.Response(status=status, body=body.encode(), headers=named)
    data = json.dumps(body).encode()
    return lambda: web.Response(
        status=status, body=data, headers={"content-type": "application/json", **named}
    )
