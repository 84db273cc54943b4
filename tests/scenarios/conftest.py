"""The server under test, and one scenario of its own for each test.

By default the tests start `tacit dev` on a free port and a new database. With
`TACIT_SCENARIOS_ADDRESS=host:port` they run against any server, such as the real Temporal one (and with
`TACIT_SCENARIOS_HTTP_ADDRESS` those of its HTTP API, too); with `TACIT_SCENARIOS_OURS=1` that one is known to be ours.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from tests.conformance.coverage import COVERAGE_FOLDER, Recorder
from tests.processes import free_port

from .raw import Scenario
from .rendering import IDENTITY
from .round_trip import Importer, importing_cell
from .snapshots import UPDATING, rewrite_sources
from .workers import SEARCH_ATTRIBUTES

START_SECONDS = 20.0

SWITCHED_ON = (
    "history.enableSignalWithStartFromWorkflow",
    "history.enableUpdateCallbacks",
    "frontend.WorkflowPauseEnabled",
    "frontend.workflowRulesAPIsEnabled",
    "nexusoperation.enableStandalone",
    "frontend.WorkerCommandsEnabled",
    "frontend.WorkflowTimeSkippingEnabled",
    "frontend.workerVersioningDataAPIs",
    "frontend.workerVersioningRuleAPIs",
    "frontend.workerVersioningWorkflowAPIs",
    "frontend.enableCancelWorkerPollsOnShutdown",
    "activity.enableCallbacks",
)
"""What is off on the real server by default; ours is compared with it switched on."""

DYNAMIC_CONFIG = {
    **dict.fromkeys(SWITCHED_ON, "true"),
    "matching.wv.VersionDrainageStatusVisibilityGracePeriod": '"1s"',
    "matching.wv.VersionDrainageStatusRefreshInterval": '"1s"',
    "matching.maxVersionsInDeployment": "3",
    "matching.maxTaskQueuesInDeploymentVersion": "3",
    # One partition: the real server may lose sight of a redirected task between several.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    "limit.numPendingActivities.error": "50",
    "limit.numPendingChildExecutions.error": "50",
    "limit.numPendingSignals.error": "50",
    "limit.numPendingCancelRequests.error": "50",
}
"""What the server under test is started with, so that limits and waits are within reach of a test."""

RECORDER = Recorder() if COVERAGE_FOLDER else None
"""Takes down what each scenario touches of the protocol, where `TACIT_CONFORMANCE_COVERAGE` names a folder to keep it in."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where the server under test answers."""

    address: str
    namespace: str
    real: bool
    http_address: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    address = os.environ.get("TACIT_SCENARIOS_ADDRESS")
    if address:
        asyncio.run(_prepare(address, START_SECONDS))
        http_address = os.environ.get("TACIT_SCENARIOS_HTTP_ADDRESS", "")
        ours = os.environ.get("TACIT_SCENARIOS_OURS") == "1"
        yield Server(address=address, namespace="default", real=not ours, http_address=http_address)
        return
    folder = tmp_path_factory.mktemp("tacit-dev")
    port, http_port = free_port(), free_port()
    log = folder / "server.log"
    with log.open("wb") as output, contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "tacit"),
                "dev",
                "--port",
                str(port),
                "--http-port",
                str(http_port),
                "--headless",
                "--db",
                str(folder / "cell.db"),
                *(f"--dynamic-config-value={name}={value}" for name, value in DYNAMIC_CONFIG.items()),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        stack.callback(_stop, process)
        try:
            asyncio.run(_prepare(f"127.0.0.1:{port}", START_SECONDS, process))
        except Exception as caught:
            raise RuntimeError(
                f"tacit dev did not come up; its output:\n{log.read_text()[-4000:]}"
            ) from caught
        yield Server(
            address=f"127.0.0.1:{port}",
            namespace="default",
            real=False,
            http_address=f"127.0.0.1:{http_port}",
        )


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _prepare(address: str, within: float, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Wait until the server answers, and see to it that it has the scenarios' search attributes."""
    client = await _connected(address, within, process)
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace="default")
    )
    missing = {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if name not in known.custom_attributes}
    if missing:
        with contextlib.suppress(RPCError):  # another worker of the same test run may have been faster
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace="default", search_attributes=missing)
            )


async def _connected(address: str, within: float, process: "subprocess.Popen[bytes] | None") -> Client:
    deadline = time.monotonic() + within
    while True:
        try:
            return await Client.connect(address, identity=IDENTITY)
        except RuntimeError:
            if time.monotonic() > deadline or (process is not None and process.poll() is not None):
                raise
            await asyncio.sleep(0.05)


@pytest.fixture
async def client(server: Server, request: pytest.FixtureRequest) -> Client:
    client = await Client.connect(server.address, namespace=server.namespace, identity=IDENTITY)
    if RECORDER is not None:
        RECORDER.listen(client, request.node.nodeid)
    return client


@pytest.fixture(scope="session")
def importer(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Importer | None]:
    """Where the runs of scenarios are imported; none beside the real server, whose runs others bring."""
    if server.real:
        yield None
        return
    with importing_cell(tmp_path_factory.mktemp("importing")) as found:
        asyncio.run(_connected(found.address, START_SECONDS, None))
        yield found
        print(f"runs imported: {found.imported}, not settled: {found.refused}")
        assert found.imported >= found.refused, (
            "most runs of scenarios must be such that they can be imported"
        )


@pytest.fixture
async def s(
    client: Client, request: pytest.FixtureRequest, importer: Importer | None
) -> AsyncIterator[Scenario]:
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")[:60]
    scenario = Scenario(client, f"{name}-{uuid.uuid4().hex[:8]}")
    yield scenario
    try:
        if importer is not None:
            await importer.check(client, list(dict.fromkeys(scenario.started)))
    finally:
        await scenario.clean_up()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # Where several processes test, it is the one that ran the test which keeps it: what it told the first one has its name.
    ours = not hasattr(report, "worker_id")
    if RECORDER is not None and ours and (report.when == "call" or report.outcome != "passed"):
        RECORDER.outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish() -> None:
    if UPDATING:
        rewrite_sources()
    if RECORDER is not None and RECORDER.outcomes:
        RECORDER.write(Path(COVERAGE_FOLDER))
