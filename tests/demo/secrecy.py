"""Third part: what the service holds, and whom it refuses."""

from __future__ import annotations

import asyncio

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

import codec
import sdk
from codec.audit import Audit, Needles
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


async def audit_all_that_the_service_has(story: Story) -> str:
    """`tacit codec audit`: no word of the input in databases, journals, logs, nor objects; ids are readable, and are told."""
    words = await asyncio.to_thread(scan.telling_words, library.sources(), story.written_before)
    canaries = story.folder / "words-of-the-input.txt"
    canaries.write_bytes(b"\n".join(sorted(words)) + b"\n")
    story.say(f"looking for {len(words):,} words", 0, 1)
    report = await asyncio.to_thread(
        lambda: story.tacit(
            *("codec", "audit", str(story.data), str(story.service.log)),
            *("--objects", str(story.objects), "--canaries", str(canaries)),
        )
    )
    require(
        report["clean"] and not report["canaries_found"],
        f"nothing is readable; found {report['findings'][:3]}",
    )
    require(report["canaries"] == len(words), "each word was looked for")
    payloads = report["payloads"]
    require(payloads["ciphertext"] > 1000, "the payloads are there, and are ciphertext")
    require(payloads["reference to an object"], "some are references to objects")
    shown = {row["what"]: row["examples"] for row in report["readable_by_design"]}
    require(
        WORKFLOW_ID in str(shown["column runs.workflow_id"]), "workflow ids, readable by design, are told"
    )
    control = Audit(Needles(sorted(word.decode() for word in words)))
    control.path(library.sources()[0])
    require(not control.report.clean, "the same audit finds words in a source file")
    size = sum(source["bytes"] for source in report["sources"])
    return (
        f"{len(words):,} words in all their encodings, {size / 1e6:.0f} MB in {len(report['sources'])} sources: none; "
        f"{payloads['ciphertext']:,} payloads are ciphertext, {payloads['reference to an object']:,} references"
    )


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
