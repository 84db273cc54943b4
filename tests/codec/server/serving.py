"""A codec server for tests: two namespaces with keys of their own, one with an object store, and all that it says kept."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.converter import ExternalStorage

from codec import ChainCodec, CompressionCodec, EncryptionCodec, KeyRing, ObjectStoreDriver
from codec.server.access import Access, Rule
from codec.server.allowances import Allowances, Bounds
from codec.server.audit import AuditTrail
from codec.server.cors import DEFAULT_ORIGINS, Cors
from codec.server.identity import Identities
from codec.server.namespaces import NamespaceCodec
from codec.server.protocol import Answer, Refusal, Request
from codec.server.service import CodecServer

ORDERS, BILLS = "orders.acme", "bills.acme"
SECRET = b'"a secret of the application"'
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=SECRET)
THRESHOLD_BYTES = 2_000


class Kept:
    """A sink that keeps its lines, or refuses them."""

    is_file = False

    def __init__(self) -> None:
        self.content = b""
        self.refuses = False

    def write(self, content: bytes) -> None:
        if self.refuses:
            raise OSError(28, "No space left on device")
        self.content += content

    def follow(self) -> None: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.content.splitlines()]


class Served:
    """The server and what is around it."""

    def __init__(
        self,
        folder: Path,
        *,
        rules: Sequence[Rule] = (),
        identities: Identities | None = None,
        cors: Cors | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.now_s = 1_000.0
        self.sink = Kept()
        self.bounds = bounds or Bounds()
        self.codecs = {
            name: ChainCodec(
                CompressionCodec(), EncryptionCodec(KeyRing.create(name, key_id=f"key-of-{name}"))
            )
            for name in (ORDERS, BILLS)
        }
        driver = ObjectStoreDriver((folder / "objects").as_uri(), namespace=ORDERS)
        self.storage = ExternalStorage(drivers=[driver], payload_size_threshold=THRESHOLD_BYTES)
        self.server = CodecServer(
            {
                name: NamespaceCodec(
                    codec=codec, storage=self.storage if name == ORDERS else None, bounds=self.bounds
                )
                for name, codec in self.codecs.items()
            },
            identities=identities or Identities(),
            access=Access(rules, open_to_all=identities is None),
            cors=cors or Cors.of(DEFAULT_ORIGINS),
            allowances=Allowances(self.bounds, lambda: self.now_s),
            audit=AuditTrail(self.sink, clock=lambda: self.now_s),
            bounds=self.bounds,
        )

    async def ask(
        self,
        path: str,
        payloads: Sequence[Payload] | bytes = (),
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        remote: str = "192.0.2.7",
    ) -> Answer:
        """What the server answers. Asserts what holds for every answer."""
        body = payloads if isinstance(payloads, bytes) else body_of(payloads)

        async def read_body(most: int) -> bytes:
            if len(body) > most:
                raise Refusal(413, "too large.", "too-large")
            return body

        place, _, query = path.partition("?")
        given = {name.lower(): value for name, value in (headers or {}).items()}
        answer = await self.server.answer(
            Request(method=method, path=place, query=query, headers=given, remote=remote, read_body=read_body)
        )
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert SECRET not in self.sink.content
        if answer.status >= 400:
            sentence = answer.body.decode()
            assert sentence.endswith(".\n")
            assert sentence.count("\n") == 1
            assert "secret" not in sentence
        return answer

    async def payloads(self, path: str, payloads: Sequence[Payload], **more: Any) -> list[Payload]:
        """The payloads of an answer that must be a good one."""
        answer = await self.ask(path, payloads, **more)
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"] == "application/json"
        return payloads_of(answer.body)


def body_of(payloads: Sequence[Payload]) -> bytes:
    """As clients write it, without the library that the server reads with."""
    listed = []
    for payload in payloads:
        one: dict[str, Any] = {
            "metadata": {key: base64.b64encode(value).decode() for key, value in payload.metadata.items()},
            "data": base64.b64encode(payload.data).decode(),
        }
        if payload.external_payloads:
            one["externalPayloads"] = [{"sizeBytes": str(e.size_bytes)} for e in payload.external_payloads]
        listed.append(one)
    return json.dumps({"payloads": listed}).encode()


def payloads_of(body: bytes) -> list[Payload]:
    """What a client reads."""
    document = json.loads(body)
    assert document.keys() == {"payloads"}
    found = []
    for one in document["payloads"]:
        payload = Payload(data=base64.b64decode(one.get("data", "")))
        for key, value in one.get("metadata", {}).items():
            payload.metadata[key] = base64.b64decode(value)
        for external in one.get("externalPayloads", ()):
            payload.external_payloads.add().size_bytes = int(external.get("sizeBytes", "0"))
        found.append(payload)
    return found
