"""The protocol: what the web UI, the CLI and remote codecs send, and what they must get back."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.converter import WorkflowSerializationContext

from codec import EncryptionCodec, KeyRing
from codec.server.allowances import Bounds
from codec.server.namespaces import NamespaceCodec, Worked
from tests.codec.server.serving import (
    BILLS,
    ORDERS,
    PLAIN,
    SECRET,
    THRESHOLD_BYTES,
    Served,
    body_of,
    payloads_of,
)

LARGE = Payload(metadata={"encoding": b"binary/plain"}, data=os.urandom(THRESHOLD_BYTES * 2))
UNKNOWN = Payload(metadata={"encoding": b"binary/somebody-elses"}, data=b"left alone")


@pytest.mark.parametrize(
    "path", ["/orders.acme/decode", "/any/prefix/orders.acme/decode", "/orders%2Eacme/decode"]
)
async def test_round_trip_under_a_namespace_path(served: Served, path: str) -> None:
    given = [PLAIN, UNKNOWN, Payload(), PLAIN]
    encoded = await served.payloads(path.replace("decode", "encode"), given)
    assert all(one.metadata["encoding"] == b"binary/tacit-encrypted" for one in encoded)
    assert SECRET not in b"".join(one.data for one in encoded)
    assert await served.payloads(path, encoded) == given


async def test_round_trip_by_header_and_what_is_not_encoded_passes_through(served: Served) -> None:
    header = {"X-Namespace": BILLS}
    [encoded] = await served.payloads("/prefix/encode", [PLAIN], headers=header)
    assert encoded.metadata["encryption-key-id"] == b"key-of-bills.acme"
    mixed = [UNKNOWN, encoded, PLAIN, Payload(metadata={"encoding": b"binary/null"})]
    assert await served.payloads("/decode", mixed, headers=header) == [UNKNOWN, PLAIN, *mixed[2:]]
    assert await served.payloads("/decode", [], headers=header) == []


async def test_what_is_bound_to_a_workflow_is_shown_though_nobody_says_whose_it_is(served: Served) -> None:
    ring = KeyRing.create(ORDERS, key_id="bound")
    writing = EncryptionCodec(ring, bind_workflow=True, refuse_unbound=True, padding=True)
    whose = WorkflowSerializationContext(namespace=ORDERS, workflow_id="w")
    encoded = await writing.with_context(whose).encode([PLAIN])
    reading = NamespaceCodec(
        codec=EncryptionCodec(ring, bind_workflow=True, refuse_unbound=True), storage=None
    )
    worked = Worked()
    await reading.decode(encoded, worked, keep_references=True)
    assert worked.payloads == [PLAIN]
    assert list(worked.key_ids) == ["bound"]


async def test_each_namespace_has_its_own_keys(served: Served) -> None:
    [encoded] = await served.payloads(f"/{ORDERS}/encode", [PLAIN])
    answer = await served.ask(f"/{BILLS}/decode", [encoded])
    assert answer.status == 400
    assert b"key-of-orders.acme" in answer.body
    assert served.sink.lines[-1]["reason"] == "MissingKey"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (f"/{ORDERS}/decode", {"X-Namespace": BILLS}, 400),
        (f"/{ORDERS}/decode", {"X-Namespace": ORDERS}, 200),
        ("/decode", {}, 400),
        ("/other.acme/decode", {}, 403),
        (f"/{ORDERS}/other.acme/decode", {}, 403),
        ("/decode", {"X-Namespace": "other.acme"}, 403),
        ("/%ff/decode", {}, 400),
        (f"/{ORDERS}/decoded", {}, 404),
        (f"/{ORDERS}", {}, 404),
        ("/", {}, 404),
        ("decode", {"X-Namespace": ORDERS}, 404),
        (f"/{ORDERS}/decode?preserveStorageRefs=%ff", {}, 400),
        (f"/{ORDERS}/decode?" + "&".join(f"a{n}=1" for n in range(30)), {}, 400),
    ],
)
async def test_where_a_request_goes(served: Served, path: str, headers: dict[str, str], status: int) -> None:
    assert (await served.ask(path, [PLAIN], headers=headers)).status == status


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "PATCH"])
async def test_only_post(served: Served, method: str) -> None:
    assert (await served.ask(f"/{ORDERS}/decode", method=method)).status == 404


async def test_health(served: Served) -> None:
    answer = await served.ask("/healthz", method="GET")
    assert (answer.status, answer.body) == (200, b"ok\n")
    assert served.sink.lines == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"payloads": {}}',
        b'{"payloads": [null]}',
        b'{"payloads": ["text"]}',
        b'{"payloads": [[]]}',
        b'{"payloads": [{"data": 1}]}',
        b'{"payloads": [{"data": "*"}]}',
        b'{"payloads": [{"metadata": "x"}]}',
        b'{"payloads": [{"metadata": {"encoding": 7}}]}',
        b'{"payload": []}',
        b'{"payloads": [], "more": 1}',
        b"[" * 100_000,
        b'{"payloads":' + b"[" * 100_000,
        b'{"payloads": [{"data": "' + base64.b64encode(SECRET) + b'", "metadata": 1}]}',
    ],
)
async def test_what_is_no_body(served: Served, body: bytes) -> None:
    answer = await served.ask(f"/{ORDERS}/decode", body)
    assert answer.status == 400
    assert b"Payloads" in answer.body


async def test_forms_of_bodies_that_clients_send(served: Served) -> None:
    """Go's encoding/json writes the proto's own field names and numbers; base64 comes with and without its end."""
    encoding = base64.b64encode(b"json/plain").decode()
    for written in (
        {"metadata": {"encoding": encoding}, "data": "MQ=="},
        {"metadata": {"encoding": encoding}, "data": "MQ", "external_payloads": [{"size_bytes": 5}]},
        {"metadata": {"encoding": encoding}, "data": "MQ==", "aFieldOfTomorrow": {"x": 1}},
        {"metadata": {"encoding": encoding}, "data": "MQ==", "externalPayloads": [{"sizeBytes": "5"}]},
    ):
        answer = await served.ask(f"/{ORDERS}/decode", json.dumps({"payloads": [written]}).encode())
        [payload] = payloads_of(answer.body)
        assert (payload.metadata["encoding"], payload.data) == (b"json/plain", b"1")
    assert (await served.ask(f"/{ORDERS}/decode", b"{}")).body == b'{"payloads":[]}'
    assert (await served.ask(f"/{ORDERS}/decode", b'{"payloads": null}')).body == b'{"payloads":[]}'


async def test_references_are_kept_or_fetched(served: Served) -> None:
    [reference, small] = await served.payloads(f"/{ORDERS}/encode", [LARGE, PLAIN])
    assert reference.metadata["messageType"] == b"temporal.api.sdk.v1.ExternalStorageReference"
    assert reference.external_payloads[0].size_bytes > THRESHOLD_BYTES
    path = f"/{ORDERS}/decode"
    assert await served.payloads(path, [reference, small]) == [LARGE, PLAIN]
    assert served.sink.lines[-1]["fetched"] == 1
    kept = [reference, PLAIN]
    assert await served.payloads(f"{path}?preserveStorageRefs=true", [reference, small]) == kept
    assert (
        await served.payloads(path, [reference, small], headers={"X-Preserve-Storage-Refs": "TRUE"}) == kept
    )
    assert await served.payloads(f"{path}?preserveStorageRefs=false", [reference]) == [LARGE]
    download = f"/{ORDERS}/download?preserveStorageRefs=true"
    assert await served.payloads(download, [reference, reference]) == [LARGE, LARGE]
    assert (await served.ask(download, [reference, small])).status == 400
    assert (await served.ask(f"/{BILLS}/download", [reference])).status == 400


async def test_the_older_form_of_references(served: Served) -> None:
    [reference] = await served.payloads(f"/{ORDERS}/encode", [LARGE])
    new = json.loads(reference.data)
    older = Payload(
        metadata={"encoding": b"json/external-storage-reference"},
        data=json.dumps(
            {"driver_name": new["driverName"], "driver_claim": {"claim_data": new["claimData"]}}
        ).encode(),
    )
    assert await served.payloads(f"/{ORDERS}/decode", [older]) == [LARGE]
    for broken in (b"[]", b"{}", b'{"driver_name": 1}', b'{"driver_name": "x", "driver_claim": 1}', b"["):
        wrong = Payload(metadata=older.metadata, data=broken)
        answer = await served.ask(f"/{ORDERS}/decode", [wrong])
        assert answer.status == 400 or payloads_of(answer.body) == [wrong]


async def test_a_marked_reference_went_through_the_codecs_itself(served: Served) -> None:
    [reference] = await served.payloads(f"/{ORDERS}/encode", [LARGE])
    [encoded] = await served.codecs[ORDERS].encode([reference])
    encoded.metadata["__temporal_external_storage_reference"] = b"true"
    assert await served.payloads(f"/{ORDERS}/decode", [encoded]) == [LARGE]
    assert await served.payloads(f"/{ORDERS}/download", [encoded]) == [LARGE]
    kept = f"/{ORDERS}/decode?preserveStorageRefs=true"
    assert await served.payloads(kept, [encoded]) == [reference]


async def test_what_is_fetched_is_bounded(tmp_path: Path) -> None:
    bounds = Bounds(fetched_payload_bytes_max=8_000, fetched_request_bytes_max=12_000)
    served = Served(tmp_path, bounds=bounds)
    larger = Payload(data=os.urandom(9_000))
    [fits, too_large] = await served.payloads(f"/{ORDERS}/encode", [LARGE, larger])
    path = f"/{ORDERS}/decode"
    assert await served.payloads(path, [fits, fits]) == [LARGE, LARGE]
    for asked in ([too_large], [fits] * 3):
        answer = await served.ask(path, asked)
        assert answer.status == 413
        assert b"preserveStorageRefs" in answer.body
    # Saying that it is smaller does not help: the object is measured, too.
    too_large.external_payloads[0].size_bytes = 1
    assert (await served.ask(path, [too_large])).status == 413
    assert await served.payloads(f"{path}?preserveStorageRefs=true", [too_large]) == [too_large]


async def test_objects_that_are_gone_or_elsewhere(served: Served, tmp_path: Path) -> None:
    [reference] = await served.payloads(f"/{ORDERS}/encode", [LARGE])
    for path in (tmp_path / "objects").rglob("*"):
        if path.is_file():
            path.unlink()
    answer = await served.ask(f"/{ORDERS}/decode", [reference])
    assert answer.status == 400
    assert served.sink.lines[-1]["reason"] == "ObjectMissing"
    other = Payload(metadata=reference.metadata, data=reference.data.replace(b"orders.acme", b"bills.acme"))
    assert (await served.ask(f"/{ORDERS}/decode", [other])).status in (400, 502)
    unknown = Payload(metadata=reference.metadata, data=b'{"driverName": "aws.s3driver"}')
    assert (await served.ask(f"/{ORDERS}/decode", [unknown])).status == 400


async def test_bounds_of_requests(tmp_path: Path) -> None:
    served = Served(tmp_path, bounds=Bounds(body_bytes_max=5_000, payloads_max=3, answer_bytes_max=3_000))
    path = f"/{ORDERS}/decode"
    assert (await served.ask(path, [Payload()] * 3)).status == 200
    assert (await served.ask(path, [Payload()] * 4)).status == 413
    assert (await served.ask(path, [Payload(data=bytes(6_000))])).status == 413
    # Ciphertext that grows as it is decoded.
    [bomb] = await served.codecs[ORDERS].encode([Payload(data=bytes(100_000))])
    assert (await served.ask(path, [bomb])).status == 413


async def test_every_answer_is_in_order_and_none_is_mixed_up(tmp_path: Path) -> None:
    served = Served(tmp_path, bounds=Bounds(at_once_max=4, at_once_per_caller_max=64))
    given = [[Payload(data=f"{request} {number}".encode()) for number in range(100)] for request in range(20)]
    answers = await asyncio.gather(*(served.payloads(f"/{ORDERS}/encode", one) for one in given))
    for plain, encoded in zip(given, answers, strict=True):
        assert await served.payloads(f"/{ORDERS}/decode", encoded) == plain


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["payloads", "metadata", "data", "encoding", "externalPayloads", "sizeBytes", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_ENCODINGS = st.sampled_from(
    [b"json/plain", b"binary/tacit-encrypted", b"binary/encrypted", b"binary/zstd", b"json/protobuf", b""]
)
_PAYLOADS = st.builds(
    lambda encoding, key, message, data: Payload(
        metadata={"encoding": encoding, "encryption-key-id": key, "messageType": message}, data=data
    ),
    _ENCODINGS,
    st.sampled_from([b"key-of-orders.acme", b"other", b"\xff\xff", b""]),
    st.sampled_from([b"", b"temporal.api.sdk.v1.ExternalStorageReference"]),
    st.binary(max_size=80)
    | st.sampled_from(
        [b'{"driverName": "tacit.objectstore", "claimData": {"size": "9"}}', b"\x01" + bytes(60)]
    ),
)


@settings(max_examples=200, deadline=None)
@given(
    operation=st.sampled_from(["encode", "decode", "download"]),
    body=st.binary(max_size=200)
    | _JSON.map(lambda value: json.dumps(value).encode())
    | st.lists(_PAYLOADS, max_size=4).map(body_of),
)
def test_no_body_breaks_it(operation: str, body: bytes) -> None:
    """Every body gets an answer of the same length, or one sentence; never a defect."""

    async def check() -> None:
        with tempfile.TemporaryDirectory() as folder:
            served = Served(Path(folder))
            answer = await served.ask(f"/{ORDERS}/{operation}", body)
            assert answer.status in (200, 400, 502)
            assert len(served.sink.lines) == 1
            if answer.status == 200:
                given = json.loads(body).get("payloads") or []
                assert len(payloads_of(answer.body)) == len(given)

    asyncio.run(check())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.builds(Payload, data=st.binary(max_size=4_000)), max_size=5))
def test_what_is_encoded_is_decoded_the_same(payloads: list[Payload]) -> None:
    async def check() -> None:
        with tempfile.TemporaryDirectory() as folder:
            served = Served(Path(folder))
            encoded = await served.payloads(f"/{ORDERS}/encode", payloads)
            assert await served.payloads(f"/{ORDERS}/decode", encoded) == payloads

    asyncio.run(check())
