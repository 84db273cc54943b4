"""Inputs of the service's own Nexus operations that are no requests: a refusal each, never a defect."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import Payload

from cloud.engine.api.system_operations import _read
from cloud.engine.core.errors import Invalid


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        (b"binary/protobuf", b"\xff\xff"),
        (b"json/plain", b"{"),
        (b"json/plain", b"\xff"),
        (b"json/plain", b"[]"),
        (b"json/plain", b'{"workflowId": ' + b"9" * 5_000 + b"}"),
        (b"json/plain", b'{"input": ' + b"[" * 100_000),
        (b"json/protobuf", b'{"workflowId": 1}'),
        (b"binary/other", b""),
    ],
)
def test_what_is_no_request_is_refused(encoding: bytes, data: bytes) -> None:
    with pytest.raises(Invalid, match="failed to decode input payload"):
        _read(Payload(metadata={"encoding": encoding}, data=data))
