"""Five hundred secrets, one in each place that any feature of the SDK takes, are nowhere outside the client's process.

Looked at is all that a service has and tells: database, its log, log lines, offloaded objects, what its HTTP API shows, and
all that travelled, which a relay keeps (TLS hides it from others, so this is without). That the search finds what is there
is shown by the same run without encryption.
"""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

import sdk
from codec import KeyRing
from codec.audit import Audit, Needles
from tests.canaries.canary import CANARIES
from tests.canaries.features import Run, use_all
from tests.canaries.relay import relay
from tests.processes import Server, free_port, sign_up, tacit, tacit_dev, tacit_up

SECRETS_MIN = 500
ROUND_SECONDS_MAX = 90


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The SDK logs failures, with their messages, on the worker's side; and no profile of the user's is read."""
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "none.toml"))
    CANARIES.places.clear()
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def rounds(one: Callable[[], Any]) -> list[Run]:
    """As many as it takes for five hundred secrets; one at a time, as a namespace has one batch operation at a time."""
    runs: list[Run] = []
    while len(CANARIES) < SECRETS_MIN:
        async with asyncio.timeout(ROUND_SECONDS_MAX):
            runs.append(await one())
    return runs


def audited(*places: Path, objects: Path) -> Audit:
    audit = Audit(Needles(list(CANARIES.places)))
    for place in places:
        audit.path(place)
    audit.objects(str(objects))
    return audit


def found(audit: Audit) -> dict[str, str]:
    """What secrets were for that were found, and how they stood there: what a failing test shows."""
    places = list(CANARIES.places.values())
    return {
        f"{finding.what}: {places[int(finding.what.split()[1]) - 1] if 'canary' in finding.what else ''}": (
            f"{finding.form} in {finding.source}, {finding.place}"
        )
        for finding in audit.report.findings
    }


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - loopback
        body: bytes = answer.read()
        return body


def pages_of(address: str, ids: list[str], folder: Path) -> None:
    """What the HTTP API tells of every workflow, into files."""
    base = f"http://{address}/api/v1/namespaces/default"
    (folder / "workflows.json").write_bytes(fetch(f"{base}/workflows?pageSize=1000"))
    for number, one in enumerate(ids):
        for page in ("", "/history?maximumPageSize=1000"):
            try:
                body = fetch(f"{base}/workflows/{quote(one)}{page}")
            except urllib.error.HTTPError as error:
                body = error.read()  # an id of a schedule, or of a standalone execution
            (folder / f"{number}{page[:8].replace('/', '-')}.json").write_bytes(body)


def dev(folder: Path) -> tuple[Server, str]:
    http_port = free_port()
    return tacit_dev(folder, more=["--http-port", str(http_port)]), f"127.0.0.1:{http_port}"


async def run_on_dev(folder: Path, options: sdk.DataConverterOptions) -> None:
    """A round on `tacit dev`; all that it has and tells is in `folder`/service afterwards, objects beside it."""
    service = folder / "service"
    service.mkdir()
    server, http_address = dev(service)
    server.start()
    metrics_port = free_port()
    runtime = Runtime(
        telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=f"127.0.0.1:{metrics_port}"))
    )
    try:
        async with relay(server.address, service / "traffic.pcap") as address:
            client = await Client.connect(
                address, plugins=[sdk.TacitPlugin(converter=options)], runtime=runtime
            )
            runs = await rounds(lambda: use_all(client))
        ids = [one for run in runs for one in run.ids]
        await asyncio.to_thread(pages_of, http_address, ids, service)
        # Of the SDK's own, on the worker's side: what is scraped leaves the machine, too.
        metrics = await asyncio.to_thread(fetch, f"http://127.0.0.1:{metrics_port}/metrics")
        (service / "metrics.txt").write_bytes(metrics)
    finally:
        server.stop()


async def test_nowhere_on_tacit_dev(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    options = sdk.DataConverterOptions(
        namespace="default", key_ring=KeyRing.create("default"), object_store=objects.as_uri()
    )
    await run_on_dev(tmp_path, options)
    assert len(CANARIES) >= SECRETS_MIN
    audit = audited(tmp_path / "service", objects=objects)
    assert found(audit) == {}
    report = audit.report
    assert not report.canaries_found
    assert not report.unread
    assert report.payloads["ciphertext"] > 1000
    assert report.payloads["reference to an object"] > 0
    assert set(report.payloads) <= {"ciphertext", "reference to an object", "empty", "readable by design"}
    # All was looked at: rows, traffic, log lines, pages, metrics, objects; and names are readable, by design.
    looked_at = {Path(name.removesuffix(" (rows)")).name for name, size in report.sources.items() if size}
    assert looked_at >= {"tacit.db", "traffic.pcap", "tacit-dev.log", "workflows.json", "metrics.txt"}
    assert "Everything" in report.readable["column visibility.workflow_type"].examples


async def test_the_same_search_finds_all_of_them_without_encryption(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    options = sdk.DataConverterOptions(namespace="default", key_ring=None, object_store=objects.as_uri())
    await run_on_dev(tmp_path, options)
    audit = audited(tmp_path / "service", objects=objects)
    missed = [
        place
        for number, place in enumerate(CANARIES.places.values(), start=1)
        if number not in audit.report.canaries_found
    ]
    assert missed == []
    assert audit.report.payloads["plaintext"] > 1000


async def test_nowhere_in_the_cloud(tmp_path: Path) -> None:
    """`tacit up` with an encrypted namespace, whose guard refuses what is readable."""
    objects = tmp_path / "objects"
    objects.mkdir()
    environment = {"TEMPORAL_CONFIG_FILE": str(tmp_path / "client" / "temporal.toml")}
    server = tacit_up(tmp_path)
    server.start()
    try:
        namespace = await asyncio.to_thread(
            lambda: sign_up(server, tmp_path, namespace="canaries", objects=objects, env=environment)
        )
        made = await asyncio.to_thread(lambda: tacit("namespace", "get", namespace, env=environment))
        assert made["guard"] == "enforce"
        for endpoint in ("desk-0", "desk-1"):
            await asyncio.to_thread(
                lambda endpoint=endpoint: tacit(
                    *("nexus", "endpoint", "create", endpoint, "--target-namespace", namespace),
                    *("--target-task-queue", f"q-{endpoint}", "--allow-namespace", namespace),
                    env=environment,
                )
            )
        client = await sdk.connect(config_file=Path(environment["TEMPORAL_CONFIG_FILE"]))
        endpoints = iter(range(1000))

        async def one() -> Run:
            number = next(endpoints) % 2
            return await use_all(client, endpoint=f"desk-{number}", queue=f"q-desk-{number}")

        await rounds(one)
        # While it runs, as somebody with its disk would: the journals are there, too.
        running = audited(tmp_path / "data", server.log, objects=objects)
    finally:
        server.stop()
    stopped = audited(tmp_path / "data", server.log, objects=objects)
    for audit in (running, stopped):
        assert found(audit) == {}
        assert audit.report.payloads["ciphertext"] > 500
    assert any(name.endswith("-wal") for name in running.report.sources), running.report.sources
    shown = json.dumps(stopped.report.to_json())
    assert not [place for secret, place in CANARIES.places.items() if secret in shown]
