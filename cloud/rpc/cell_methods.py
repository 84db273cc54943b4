"""What the control plane asks of cells beyond Temporal's own services. No listener serves these methods.

They take a ``temporal.api.cloud.nexus.v1.Endpoint``, of which id and spec count (to delete one: its id). Namespaces are named in
full. Both may be called again with the same values, and then change nothing.
"""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty
from temporalio.api.cloud.nexus.v1 import Endpoint

from cloud.rpc.methods import Method

SERVICE = "tacit.cell.v1.NexusEndpointService"


def _method(name: str) -> Method:
    return Method(
        service=SERVICE,
        name=name,
        path=f"/{SERVICE}/{name}",
        request_type=Endpoint,
        response_type=Empty,
    )


PUT_NEXUS_ENDPOINT = _method("Put")
"""Make the endpoint of this id, or bring it to this spec. Only the namespaces that its policies name may call it."""

DELETE_NEXUS_ENDPOINT = _method("Delete")
"""Take the endpoint of this id away, or find it gone."""
