"""The few payloads that the service itself writes."""

from __future__ import annotations

import json

from temporalio.api.common.v1 import Payload, Payloads


def json_payloads(value: str) -> Payloads:
    """One text as the SDKs' default converters read it."""
    return Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value).encode())])
