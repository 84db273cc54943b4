"""Whatever our own codecs write, in each of their settings, counts as encrypted; what they leave readable does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import DataBlob, Payload
from temporalio.converter import WorkflowSerializationContext

from cloud.gateway.method_table import METHOD_TABLE, Scope
from cloud.gateway.opaque import payload_problem
from codec import KeyRing, WriteFormat
from sdk import DataConverterOptions, data_converter
from tests.gateway.payload_paths import places

VALUES: tuple[Any, ...] = (
    None,
    "",
    "a",
    {"customer": "Ada"},
    "x" * 5_000,
    b"\x00" * 5_000,
    os.urandom(9_000).hex(),
)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"compression": False},
        {"padding": True},
        {"bind_workflow": True},
        {"bind_workflow": True, "refuse_unbound": True, "padding": True},
        {"write_format": WriteFormat.SAMPLES},
        {"offload_threshold_bytes": 1_000},
        {"offload_threshold_bytes": 0},
    ],
    ids=str,
)
async def test_what_clients_send_passes(tmp_path: Path, settings: dict[str, Any]) -> None:
    if "offload_threshold_bytes" in settings:
        settings = settings | {"object_store": tmp_path.as_uri()}
    options = DataConverterOptions(
        namespace="orders.acme", key_ring=KeyRing.create("orders.acme"), **settings
    )
    converter = data_converter(options).with_context(
        WorkflowSerializationContext(namespace="orders.acme", workflow_id="w")
    )
    sent = [payload for value in VALUES for payload in await converter.encode([value])]
    assert [payload_problem(one) for one in sent] == [None] * len(VALUES)


async def test_what_is_only_compressed_does_not(tmp_path: Path) -> None:
    options = DataConverterOptions(namespace="orders.acme", key_ring=None)
    sent = await data_converter(options).encode(["a", "x" * 5_000])
    assert all(payload_problem(one) for one in sent)


@pytest.mark.parametrize(
    "metadata",
    [
        {"encryption-key-id": b"k", "encryption-dek": b"d" * 200},
        {"encryption-key-id": b"arn:aws:kms:eu-central-1:1:key/x", "anything-of-tomorrow": b"x" * 100},
    ],
)
def test_fields_that_formats_gain_are_no_reason_to_refuse(metadata: dict[str, bytes]) -> None:
    for encoding in (b"binary/encrypted", b"binary/tacit-encrypted"):
        for first in (b"\x01", b"\x02", b"\xff"):
            payload = Payload(metadata={"encoding": encoding, **metadata}, data=first + bytes(60))
            assert payload_problem(payload) is None


def test_what_no_guard_looks_at() -> None:
    """Payloads in requests that are about no namespace, and packed histories: a new one has to be decided on."""
    found = {
        (row.method.name, path)
        for row in METHOD_TABLE.values()
        if row.method is not None
        for leaf in (Payload, DataBlob)
        if row.scope is not Scope.NAMESPACE or leaf is DataBlob
        for path, _ in places(row.method.request_type, leaf.DESCRIPTOR.full_name)
    }
    # The service's pages show an endpoint's description to all who may call it.
    assert found == {(f"{change}NexusEndpoint", "spec.description") for change in ("Create", "Update")}
