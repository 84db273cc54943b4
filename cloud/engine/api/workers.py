"""Workers: what they tell of themselves, and who asks for it."""

from __future__ import annotations

from hashlib import blake2b

from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerInfo, WorkerListInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkersRequest,
    CountWorkersResponse,
    DescribeWorkerRequest,
    DescribeWorkerResponse,
    FetchWorkerConfigRequest,
    FetchWorkerConfigResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    RecordWorkerHeartbeatRequest,
    RecordWorkerHeartbeatResponse,
    UpdateWorkerConfigRequest,
    UpdateWorkerConfigResponse,
)

from cloud.engine.api import checks
from cloud.engine.runtime.dynamic_config import WORKER_COMMANDS, WORKER_HEARTBEATS
from cloud.engine.runtime.namespaces import Namespace
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.tokens import WORKERS_PAGE, BadToken, ListPageToken
from cloud.engine.runtime.worker_filter import worker_filter
from cloud.engine.runtime.worker_registry import HEARTBEAT_BYTES_MAX, KnownWorker
from cloud.engine.store.visibility_filter import FilterError
from cloud.rpc import CallContext, InvalidArgument, NotFound, Unimplemented

PAGE_WORKERS_MAX = 1_000
"""Workers of one page, also if the caller asks for more or for all."""

PAGE_BYTES_MAX = 1_500_000
"""Heartbeats of one page: each is there twice, whole and in short, and a client takes four megabytes."""


class WorkerMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def record_worker_heartbeat(
        self, request: RecordWorkerHeartbeatRequest, context: CallContext
    ) -> RecordWorkerHeartbeatResponse:
        """Workers of one process tell of themselves."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        record_heartbeats(self._runtime, namespace, list(request.worker_heartbeat))
        return RecordWorkerHeartbeatResponse()

    async def describe_worker(
        self, request: DescribeWorkerRequest, context: CallContext
    ) -> DescribeWorkerResponse:
        """A worker's last heartbeat."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        found = self._runtime.workers.find(namespace.namespace_id, request.worker_instance_key)
        if found is None:
            raise NotFound(f"Worker {request.worker_instance_key} not found", NotFoundFailure())
        return DescribeWorkerResponse(worker_info=WorkerInfo(worker_heartbeat=found.heartbeat))

    async def count_workers(self, request: CountWorkersRequest, context: CallContext) -> CountWorkersResponse:
        """How many workers a filter finds."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        found = self._matching(namespace, request.query, with_system=request.include_system_workers)
        return CountWorkersResponse(count=len(found))

    async def list_workers(self, request: ListWorkersRequest, context: CallContext) -> ListWorkersResponse:
        """A page of the workers that a filter finds, by their keys."""
        namespace = checks.namespace_of(self._runtime, request.namespace)
        fingerprint = blake2b(
            f"{request.include_system_workers}{request.query}".encode(), digest_size=8
        ).digest()
        after = self._position(namespace, request.next_page_token, fingerprint)
        found = self._matching(namespace, request.query, with_system=request.include_system_workers)
        found.sort(key=_key)
        rest = [known for known in found if after is None or _key(known) > after]
        page = _page(rest, min(max(request.page_size, 0) or PAGE_WORKERS_MAX, PAGE_WORKERS_MAX))
        response = ListWorkersResponse(
            workers_info=[WorkerInfo(worker_heartbeat=known.heartbeat) for known in page],
            workers=[_summary(known.heartbeat) for known in page],
        )
        if len(page) < len(rest):
            response.next_page_token = self._runtime.tokens.make(
                WORKERS_PAGE, namespace.namespace_id, ListPageToken(fingerprint, _key(page[-1]).encode())
            )
        return response

    def _position(self, namespace: Namespace, page_token: bytes, fingerprint: bytes) -> str | None:
        if not page_token:
            return None
        try:
            token: ListPageToken = self._runtime.tokens.read(
                page_token, WORKERS_PAGE, namespace.namespace_id, ListPageToken
            )
        except BadToken:
            raise InvalidArgument("invalid next_page_token") from None
        if token.query != fingerprint:
            raise InvalidArgument("invalid next_page_token: it belongs to another query")
        return token.cursor.decode()

    def _matching(self, namespace: Namespace, query: str, *, with_system: bool) -> list[KnownWorker]:
        try:
            matches = worker_filter(query)
        except FilterError as error:
            raise InvalidArgument(str(error)) from None
        return [
            known
            for known in self._runtime.workers.workers(namespace.namespace_id)
            if (with_system or not known.of_system) and matches(known.heartbeat)
        ]

    # --- what the real server of this version declares and does not do ---

    async def update_worker_config(
        self, request: UpdateWorkerConfigRequest, context: CallContext
    ) -> UpdateWorkerConfigResponse:
        """Refused, as the real server does once it has looked at the request."""
        checks.namespace_of(self._runtime, request.namespace)
        if self._runtime.dynamic_config.on(WORKER_COMMANDS) and not request.HasField("worker_config"):
            raise InvalidArgument("WorkerConfig is not set")
        raise Unimplemented("UpdateWorkerConfig command is not enabled.")

    async def fetch_worker_config(
        self, request: FetchWorkerConfigRequest, context: CallContext
    ) -> FetchWorkerConfigResponse:
        """Refused, as by the real server."""
        checks.namespace_of(self._runtime, request.namespace)
        raise Unimplemented("FetchWorkerConfig command is not enabled.")


def record_heartbeats(runtime: Runtime, namespace: Namespace, heartbeats: list[WorkerHeartbeat]) -> None:
    """Take note of what workers tell of themselves, whichever call brings it.

    Raises:
        InvalidArgument: a heartbeat is too large to be kept.
    """
    if not runtime.dynamic_config.on(WORKER_HEARTBEATS):
        return
    for heartbeat in heartbeats:
        size = heartbeat.ByteSize()
        if size > HEARTBEAT_BYTES_MAX:
            raise InvalidArgument(
                f"The heartbeat of worker {heartbeat.worker_instance_key[:100]} has {size} bytes, "
                f"the limit is {HEARTBEAT_BYTES_MAX}."
            )
    runtime.workers.record(namespace.namespace_id, heartbeats)


def _key(known: KnownWorker) -> str:
    return known.heartbeat.worker_instance_key


def _page(workers: list[KnownWorker], count_max: int) -> list[KnownWorker]:
    """The first workers, at least one, as many as one answer can hold."""
    size = 0
    for count, known in enumerate(workers[:count_max]):
        size += known.size
        if count and size > PAGE_BYTES_MAX:
            return workers[:count]
    return workers[:count_max]


def _summary(worker: WorkerHeartbeat) -> WorkerListInfo:
    summary = WorkerListInfo(
        worker_instance_key=worker.worker_instance_key,
        worker_identity=worker.worker_identity,
        task_queue=worker.task_queue,
        sdk_name=worker.sdk_name,
        sdk_version=worker.sdk_version,
        status=worker.status,
        host_name=worker.host_info.host_name,
        worker_grouping_key=worker.host_info.worker_grouping_key,
        process_id=worker.host_info.process_id,
        plugins=worker.plugins,
        drivers=worker.drivers,
    )
    if worker.HasField("deployment_version"):
        summary.deployment_version.CopyFrom(worker.deployment_version)
    if worker.HasField("start_time"):
        summary.start_time.CopyFrom(worker.start_time)
    return summary
