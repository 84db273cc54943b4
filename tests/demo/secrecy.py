"""Third part: what the service holds, and whom it refuses."""

from __future__ import annotations

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

import codec
import sdk
from tests.demo import library, scan
from tests.demo.story import CheckFailedError, Story, require
from tests.demo.work import LIBRARIAN, WORKFLOW_ID
from tests.demo.workflows import QUEUE, IndexLibrary

SHOWN_BYTES = 24


async def show_a_stored_payload(story: Story) -> str:
    """The signal's payload, as a client without a key gets it, and as it stands in the database."""
    raw = await _without_codec(story.profile())
    payload = await _payload_of_the_signal(raw)
    require(codec.is_encrypted(payload), "the stored payload is marked as encrypted")
    require(LIBRARIAN.encode() not in payload.SerializeToString(), "its plaintext is not in it")
    holding = [path.name for path in scan.files_in(story.data) if payload.data in path.read_bytes()]
    require(holding, "these very bytes are in the service's database")
    (plain,) = await story.connected.data_converter.decode([payload], [str])
    require(plain == LIBRARIAN, "with the key it reads as it was sent")
    shown = payload.data[:SHOWN_BYTES].hex(" ")
    return f"in {', '.join(holding)}: {shown} … ({len(payload.data)} bytes); with the key: {plain!r}"


async def scan_for_words_of_the_input(story: Story) -> str:
    """No word of the input in databases, WAL, logs, nor in the object store; ids are readable, and are found."""
    words = scan.telling_words(library.sources(), story.written_before)
    files = scan.files_in(story.data, story.service.log, story.objects)
    found = scan.found_in(files, words)
    shown = {path.name: sorted(some)[:3] for path, some in found.items()}
    require(not found, f"no word of the input stands in what the service wrote; found {shown}")
    control = scan.found_in(library.sources()[:1], words)
    require(control, "the same scan finds words in a source file")
    readable = [path for path in files if WORKFLOW_ID.encode() in path.read_bytes()]
    require(readable, "workflow ids, which are readable by design, are found")
    offloaded = len(scan.files_in(story.objects))
    require(offloaded, "some payloads were above the threshold and went to the object store")
    size = sum(path.stat().st_size for path in files)
    return f"{len(words):,} words, {size / 1e6:.0f} MB in {len(files)} files, {offloaded} of them offloaded: none"


async def refuse_a_plain_client(story: Story) -> str:
    plain = await _without_codec(story.profile())
    try:
        await plain.start_workflow(IndexLibrary.run, [["a secret path"]], id="plain", task_queue=QUEUE)
    except RPCError as error:
        require(
            error.status is RPCStatusCode.INVALID_ARGUMENT, f"the refusal's code is right: {error.status}"
        )
        require("encrypt" in error.message and "input" in error.message, f"it says why: {error.message}")
        require("secret" not in error.message, "it does not repeat the payload")
        return error.message
    raise CheckFailedError("a plain client without codec was let in")


async def refuse_another_namespaces_certificate(story: Story) -> str:
    _, mtls = story.service.ports
    other = story.tacit(
        *("namespace", "create", "elsewhere", "--worker-profile", "elsewhere"),
        *("--worker-address", f"127.0.0.1:{mtls}"),
    )
    allowed = await sdk.connect(story.profile("elsewhere"))
    await allowed.count_workflows()
    intruder = await _without_codec(story.profile("elsewhere"), namespace=story.namespace)
    try:
        await intruder.get_workflow_handle(WORKFLOW_ID).describe()
    except RPCError as error:
        codes = {RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAUTHENTICATED}
        require(error.status in codes, f"the refusal's code is right: {error.status}")
        return f"{other['namespace']}'s certificate: {error.status.name}: {error.message}"
    raise CheckFailedError("the certificate of another namespace was let in")


async def _without_codec(profile: sdk.Profile, namespace: str = "") -> Client:
    """A plain client of the official SDK with the profile's certificate and no keys."""
    config = profile.connection.to_client_connect_config()
    return await Client.connect(
        profile.address, namespace=namespace or profile.namespace, tls=config.get("tls", False)
    )


async def _payload_of_the_signal(client: Client) -> Payload:
    async for event in client.get_workflow_handle(WORKFLOW_ID).fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            return event.workflow_execution_signaled_event_attributes.input.payloads[0]
    raise CheckFailedError("the signal is not in the history")
