"""The HTTP API is a way to the same guard: payloads in JSON's shorthand are readable, ciphertext in JSON passes."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from cloud.gateway import DevelopmentDirectory, Gateway, development_http_listener
from tenancy.access import GuardMode, NamespaceAccess
from tests.gateway.doubles import EchoCell

BASE = "/api/v1/namespaces/default"


class Enforcing(DevelopmentDirectory):
    def namespace(self, name: str) -> NamespaceAccess:
        return dataclasses.replace(super().namespace(name), guard=GuardMode.ENFORCE)


@pytest.fixture
async def http(cell: EchoCell) -> AsyncIterator[aiohttp.ClientSession]:
    gateway = Gateway(Enforcing("native"), {"native": cell}.__getitem__, {}, default_cell="native")
    listener = development_http_listener(gateway, port=0, handlers=lambda: ())
    port = await listener.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session
    await listener.stop(0)


def text(value: bytes) -> str:
    return base64.b64encode(value).decode()


SEALED = {"metadata": {"encoding": text(b"binary/tacit-encrypted")}, "data": text(bytes(60))}
OPEN = {"metadata": {"encoding": text(b"json/plain")}, "data": text(b'"secret"')}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/workflows/w", {"input": ["secret"]}, "input.payloads"),
        ("/workflows/w", {"input": {"payloads": [SEALED, OPEN]}}, "input.payloads[1]"),
        ("/workflows/w", {"input": [SEALED], "memo": {"fields": {"k": "secret"}}}, 'memo.fields["k"]'),
        ("/workflows/w/signal/s", {"input": ["secret"]}, "input.payloads"),
        ("/workflows/w/query/q", {"query": {"queryArgs": ["secret"]}}, "query.query_args"),
        ("/workflows/w/update/u", {"request": {"input": {"args": ["secret"]}}}, "request.input.args"),
        ("/activities/a", {"input": ["secret"]}, "input.payloads"),
    ],
)
async def test_readable_payloads_are_refused(
    http: aiohttp.ClientSession, cell: EchoCell, path: str, body: dict[str, Any], field: str
) -> None:
    async with http.post(BASE + path, json=body) as response:
        told = json.loads(await response.text())
        assert response.status == 400, told
    assert field in told["message"]
    assert "tacit namespace guard" in told["message"]
    assert "secret" not in told["message"]
    assert cell.calls == []


async def test_ciphertext_passes(http: aiohttp.ClientSession, cell: EchoCell) -> None:
    for body in (
        {"input": [SEALED]},
        {"input": {"payloads": [SEALED]}, "memo": {"fields": {"k": SEALED}}},
        {},
    ):
        async with http.post(f"{BASE}/workflows/w", json=body) as response:
            assert response.status == 200, await response.text()
    assert len(cell.calls) == 3
