"""Object stores beside S3 and directories, for tests: GCS on a server of ours, Azure on Azurite, and any that one has.

- "gcs" always runs, on `tests.gcs_server`.
- "azurite" runs where its program `azurite-blob` is on the PATH, or TACIT_TESTS_AZURITE names it (npm's package `azurite`).
- "given" runs where TACIT_TESTS_OBJECT_STORE names a store, as a setting `object-store` would, with TACIT_TESTS_OBJECT_STORE_OPTIONS
  (a table of JSON) and what the provider's own variables say: a real bucket. The tests write below a folder of their own, and
  leave little there.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from aiohttp import ClientSession

from codec.storage.object_store import OpenStore, open_store
from tests.gcs_server import GcsServer
from tests.object_stores import S3, FaultyProxy
from tests.processes import Server, free_port

KINDS = ("gcs", "azurite", "given")
AZURITE = "TACIT_TESTS_AZURITE"
GIVEN = "TACIT_TESTS_OBJECT_STORE"

# Known to everyone: Azurite's own.
_AZURE_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_AZURE_VERSION = "2021-12-02"


@dataclasses.dataclass(frozen=True)
class Place:
    """An empty store: what the settings `object-store` and `object-store-options` would say.

    `reader` are the options of a client who only reads and lists, `stranger` of one whom the store does not know, where they can
    be had.
    """

    kind: str
    url: str
    options: Mapping[str, str] = dataclasses.field(repr=False)
    reader: Mapping[str, str] | None = dataclasses.field(default=None, repr=False)
    stranger: Mapping[str, str] | None = dataclasses.field(default=None, repr=False)
    gcs: GcsServer | None = dataclasses.field(default=None, repr=False)

    def store(self) -> OpenStore:
        """The store, with all rights."""
        return open_store(self.url, self.options)

    @asynccontextmanager
    async def faulty(self) -> AsyncIterator[tuple[Place, FaultyProxy]]:
        """The same store behind a proxy that misbehaves. Only for "gcs"."""
        assert self.gcs is not None
        async with FaultyProxy(S3(self.gcs.endpoint)) as proxy:
            options = {**self.options, "base_url": proxy.endpoint}
            yield dataclasses.replace(self, options=options), proxy


def why_not(kind: str) -> str | None:
    """Why a kind's tests can't run here; None if they can."""
    if kind == "azurite" and _azurite() is None:
        return f"no azurite-blob on the PATH, and {AZURITE} names none (npm install azurite)"
    if kind == "given" and not os.environ.get(GIVEN):
        return f"{GIVEN} names no object store"
    return None


@asynccontextmanager
async def place_of(kind: str, folder: Path) -> AsyncIterator[Place]:
    """An empty store of a kind, while it is needed. `folder` is for its server's files."""
    match kind:
        case "gcs":
            async with GcsServer(page_max=7) as server:
                yield gcs_place(server)
        case "azurite":
            async with _azure(folder) as place:
                yield place
        case _:
            options = json.loads(os.environ.get(f"{GIVEN}_OPTIONS", "{}"))
            url = f"{os.environ[GIVEN].rstrip('/')}/tests-{uuid.uuid4().hex[:12]}"
            yield Place("given", url, options)


def gcs_place(server: GcsServer) -> Place:
    """A bucket of a running server, with service accounts for its users."""

    def options_of(user: str) -> dict[str, str]:
        return {"base_url": server.endpoint, "service_account_key": server.service_account(user)}

    return Place(
        "gcs",
        f"gs://{server.bucket()}/some/prefix",
        options_of("writer"),
        reader=options_of("reader"),
        stranger=options_of("stranger"),
        gcs=server,
    )


@asynccontextmanager
async def _azure(folder: Path) -> AsyncIterator[Place]:
    folder.mkdir(parents=True, exist_ok=True)
    port, container = free_port(), f"tests-{uuid.uuid4().hex[:20]}"
    server = Server(
        name="Azurite",
        command=[
            *(str(_azurite()), "--blobPort", str(port), "--inMemoryPersistence", "--silent"),
            *("--skipApiVersionCheck", "--disableTelemetry"),
        ],
        ports=[port],
        log=folder / "azurite.log",
    )
    server.start()
    try:
        endpoint = f"http://127.0.0.1:{port}/{_AZURE_ACCOUNT}"
        async with ClientSession() as session:
            made = f"{endpoint}/{container}?restype=container&{urlencode(_signature('c'))}"
            async with session.put(made, headers={"x-ms-version": _AZURE_VERSION}) as answer:
                assert answer.status == 201, await answer.text()
        account = {"account_name": _AZURE_ACCOUNT, "endpoint": endpoint}
        yield Place(
            "azurite",
            f"az://{container}/some/prefix",
            {**account, "account_key": _AZURE_KEY},
            reader={**account, "sas_token": urlencode(_signature("rl"))},
            stranger={**account, "account_key": base64.b64encode(b"wrong" * 8).decode()},
        )
    finally:
        server.kill()


def _azurite() -> str | None:
    return os.environ.get(AZURITE) or shutil.which("azurite-blob")


def _signature(rights: str) -> dict[str, str]:
    """An account's shared access signature: for containers and objects, over HTTP too, for an hour."""
    expiry = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    fields = {"sp": rights, "ss": "b", "srt": "co", "st": "", "se": expiry, "sip": "", "spr": "https,http"}
    signed = [_AZURE_ACCOUNT, *fields.values(), _AZURE_VERSION, "", ""]
    key = hmac.new(base64.b64decode(_AZURE_KEY), "\n".join(signed).encode(), hashlib.sha256)
    given = {name: value for name, value in fields.items() if value}
    return {**given, "sv": _AZURE_VERSION, "sig": base64.b64encode(key.digest()).decode()}
