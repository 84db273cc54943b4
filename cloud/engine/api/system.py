"""What the service says of itself."""

from __future__ import annotations

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.version.v1 import ReleaseInfo, VersionInfo
from temporalio.api.workflowservice.v1 import (
    GetClusterInfoRequest,
    GetClusterInfoResponse,
    GetSearchAttributesRequest,
    GetSearchAttributesResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
)

from cloud.engine.api.namespaces import CLUSTER
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.store.visibility_attributes import PREDEFINED, SYSTEM
from cloud.rpc import CallContext

SERVER_VERSION = "1.32.0"
"""The version of the real server whose behaviour this follows; SDKs decide by it what they may ask for."""

_SUPPORTED_CLIENTS = {
    "temporal-cli": "<2.0.0",
    "temporal-go": "<2.0.0",
    "temporal-java": "<2.0.0",
    "temporal-php": "<2.0.0",
    "temporal-server": "<2.0.0",
    "temporal-typescript": "<2.0.0",
    "temporal-ui": "<3.0.0",
}


class System:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def get_system_info(
        self, request: GetSystemInfoRequest, context: CallContext
    ) -> GetSystemInfoResponse:
        """Version and capabilities; a capability is true once the thing works, not before."""
        return GetSystemInfoResponse(
            server_version=SERVER_VERSION,
            capabilities=GetSystemInfoResponse.Capabilities(
                signal_and_query_header=True,
                internal_error_differentiation=True,
                activity_failure_include_heartbeat=True,
                encoded_failure_attributes=True,
                supports_schedules=True,
                upsert_memo=True,
                eager_workflow_start=True,
                sdk_metadata=True,
                count_group_by_execution_status=True,
                nexus=True,
                # Workers say by it in which form they name their build: as a stamp, which events keep.
                build_id_based_versioning=True,
            ),
        )

    async def get_cluster_info(
        self, request: GetClusterInfoRequest, context: CallContext
    ) -> GetClusterInfoResponse:
        """The cell as a cluster."""
        return GetClusterInfoResponse(
            supported_clients=_SUPPORTED_CLIENTS,
            server_version=SERVER_VERSION,
            cluster_id=self._runtime.cell_id,
            version_info=VersionInfo(current=ReleaseInfo(version=SERVER_VERSION)),
            cluster_name=CLUSTER,
            history_shard_count=1,
            persistence_store=self._runtime.database.dialect,
            visibility_store=self._runtime.database.dialect,
            failover_version_increment=10,
            initial_failover_version=1,
        )

    async def get_search_attributes(
        self, request: GetSearchAttributesRequest, context: CallContext
    ) -> GetSearchAttributesResponse:
        """The attributes that every namespace has."""
        return GetSearchAttributesResponse(
            keys={name: IndexedValueType.ValueType(kind) for name, kind in {**SYSTEM, **PREDEFINED}.items()}
        )
