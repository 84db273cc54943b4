"""OperatorService: Nexus endpoints, by which workflows call operations of other namespaces and of other services."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import replace
from urllib.parse import urlsplit

from temporalio.api.common.v1 import Payload
from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.api.nexus.v1 import Endpoint, EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import (
    CreateNexusEndpointRequest,
    CreateNexusEndpointResponse,
    DeleteNexusEndpointRequest,
    DeleteNexusEndpointResponse,
    GetNexusEndpointRequest,
    GetNexusEndpointResponse,
    ListNexusEndpointsRequest,
    ListNexusEndpointsResponse,
    UpdateNexusEndpointRequest,
    UpdateNexusEndpointResponse,
)

from cloud.engine.api import checks
from cloud.engine.core.clock import timestamp
from cloud.engine.core.command_checks import RESERVED_QUEUE_PREFIX
from cloud.engine.runtime.namespaces import NoSuchNamespace
from cloud.engine.runtime.nexus_endpoints import (
    EndpointExists,
    NexusEndpoint,
    NoSuchEndpoint,
    StaleEndpoint,
)
from cloud.engine.runtime.runtime import Runtime
from cloud.rpc import AlreadyExists, CallContext, FailedPrecondition, InvalidArgument, NotFound

# The real server's limits (common/dynamicconfig/constants.go).
NAME_LENGTH_MAX = 200
URL_LENGTH_MAX = 4 * 1024
DESCRIPTION_SIZE_MAX = 20_000
PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000

_NAME = re.compile(r"^[a-zA-Z][a-zA-Z0-9\-]*[a-zA-Z0-9]$")


class NexusEndpointMethods:
    """See the module's head."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def create_nexus_endpoint(
        self, request: CreateNexusEndpointRequest, context: CallContext
    ) -> CreateNexusEndpointResponse:
        """Add an endpoint under a name of its own."""
        self._check_spec(request.spec)
        runtime = self._runtime
        made = self._of_spec(
            request.spec,
            NexusEndpoint(endpoint_id=runtime.ids.request_id(), name="", created_at=runtime.clock.now()),
        )
        try:
            await runtime.nexus_endpoints.create(made, runtime.lease.epoch)
        except EndpointExists as error:
            raise AlreadyExists(str(error)) from None
        return CreateNexusEndpointResponse(endpoint=self._described(made))

    async def update_nexus_endpoint(
        self, request: UpdateNexusEndpointRequest, context: CallContext
    ) -> UpdateNexusEndpointResponse:
        """Replace an endpoint's name, description and target, if it is still of the version that the caller knows."""
        self._check_spec(request.spec)
        runtime = self._runtime
        previous = runtime.nexus_endpoints.by_id(request.id) or NexusEndpoint(endpoint_id=request.id, name="")
        changed = replace(
            self._of_spec(request.spec, previous),
            version=request.version + 1,
            modified_at=runtime.clock.now(),
        )
        try:
            await runtime.nexus_endpoints.update(changed, runtime.lease.epoch)
        except NoSuchEndpoint as error:
            raise NotFound(str(error), NotFoundFailure()) from None
        except StaleEndpoint as error:
            raise FailedPrecondition(str(error)) from None
        except EndpointExists as error:
            raise AlreadyExists(str(error)) from None
        return UpdateNexusEndpointResponse(endpoint=self._described(changed))

    async def delete_nexus_endpoint(
        self, request: DeleteNexusEndpointRequest, context: CallContext
    ) -> DeleteNexusEndpointResponse:
        """Remove an endpoint."""
        issues = _id_issues(request.id)
        if request.version <= 0:
            issues.append("endpoint version is non-positive")
        _refuse(issues)
        try:
            await self._runtime.nexus_endpoints.delete(request.id, request.version, self._runtime.lease.epoch)
        except NoSuchEndpoint as error:
            raise NotFound(str(error), NotFoundFailure()) from None
        except StaleEndpoint as error:
            raise FailedPrecondition(str(error)) from None
        return DeleteNexusEndpointResponse()

    async def get_nexus_endpoint(
        self, request: GetNexusEndpointRequest, context: CallContext
    ) -> GetNexusEndpointResponse:
        """An endpoint by its id."""
        _refuse(_id_issues(request.id))
        found = self._runtime.nexus_endpoints.by_id(request.id)
        if found is None:
            raise NotFound(f"Nexus endpoint with ID `{request.id}` not found", NotFoundFailure())
        return GetNexusEndpointResponse(endpoint=self._described(found))

    async def list_nexus_endpoints(
        self, request: ListNexusEndpointsRequest, context: CallContext
    ) -> ListNexusEndpointsResponse:
        """Endpoints by their ids, page by page; or the one of a name."""
        registry = self._runtime.nexus_endpoints
        if request.name:
            found = registry.by_name(request.name)
            return ListNexusEndpointsResponse(
                endpoints=[] if found is None else [self._described(found)],
            )
        if request.page_size < 0:
            raise InvalidArgument("page_size is negative")
        if request.page_size > PAGE_SIZE_MAX:
            raise InvalidArgument(f"page_size exceeds limit of {PAGE_SIZE_MAX}")
        endpoints = registry.all()
        after = request.next_page_token.decode("ascii", "replace")
        first = bisect_left(endpoints, after, key=lambda endpoint: endpoint.endpoint_id)
        page = endpoints[first : first + (request.page_size or PAGE_SIZE)]
        rest = endpoints[first + len(page) :]
        return ListNexusEndpointsResponse(
            endpoints=[self._described(endpoint) for endpoint in page],
            next_page_token=rest[0].endpoint_id.encode() if rest else b"",
        )

    # --- between protos and records ---

    def _check_spec(self, spec: EndpointSpec) -> None:
        issues = _name_issues(spec.name)
        match spec.target.WhichOneof("variant"):
            case None:
                _refuse([*issues, "empty target variant"])
            case "worker":
                issues += self._worker_issues(spec.target.worker)
            case "external":
                issues += _url_issues(spec.target.external.url)
        if spec.description.ByteSize() > DESCRIPTION_SIZE_MAX:
            issues.append(f"description size exceeds limit of {DESCRIPTION_SIZE_MAX}")
        _refuse(issues)

    def _worker_issues(self, worker: EndpointTarget.Worker) -> list[str]:
        issues = []
        if not worker.namespace:
            issues.append("target namespace not set")
        else:
            try:
                checks.namespace_of(self._runtime, worker.namespace)
            except NoSuchNamespace as error:
                raise FailedPrecondition(
                    f"could not verify namespace referenced by target exists: {error}"
                ) from None
        problem = _queue_problem(worker.task_queue, self._runtime.limits.id_length)
        if problem:
            issues.append(f'invalid target task queue: "{problem}"')
        return issues

    def _of_spec(self, spec: EndpointSpec, base: NexusEndpoint) -> NexusEndpoint:
        worker = spec.target.worker
        of_worker = spec.target.HasField("worker")
        return replace(
            base,
            name=spec.name,
            description=spec.description.SerializeToString() if spec.HasField("description") else b"",
            namespace_id=(
                self._runtime.namespaces.by_name(worker.namespace).namespace_id if of_worker else ""
            ),
            task_queue=worker.task_queue if of_worker else "",
            url="" if of_worker else spec.target.external.url,
        )

    def _described(self, endpoint: NexusEndpoint) -> Endpoint:
        spec = EndpointSpec(name=endpoint.name)
        if endpoint.description:
            spec.description.CopyFrom(Payload.FromString(endpoint.description))
        if endpoint.url:
            spec.target.external.url = endpoint.url
        else:
            spec.target.worker.task_queue = endpoint.task_queue
            try:
                spec.target.worker.namespace = self._runtime.namespaces.by_id(endpoint.namespace_id).name
            except NoSuchNamespace:
                spec.target.worker.namespace = (
                    endpoint.namespace_id
                )  # it was deleted; its name may be another's
        described = Endpoint(
            version=endpoint.version,
            id=endpoint.endpoint_id,
            spec=spec,
            created_time=timestamp(endpoint.created_at),
            url_prefix=f"/nexus/endpoints/{endpoint.endpoint_id}/services",
        )
        if endpoint.modified_at:
            described.last_modified_time.CopyFrom(timestamp(endpoint.modified_at))
        return described


def _refuse(issues: list[str]) -> None:
    if issues:
        raise InvalidArgument(", ".join(issues))


def _name_issues(name: str) -> list[str]:
    if not name:
        return ["endpoint name not set"]
    issues = []
    if len(name.encode()) > NAME_LENGTH_MAX:
        issues.append(f"endpoint name exceeds length limit of {NAME_LENGTH_MAX}")
    if not _NAME.fullmatch(name):
        pattern = _NAME.pattern.replace("\\", "\\\\")
        issues.append(f'endpoint name must match the regex: "{pattern}"')
    return issues


def _queue_problem(name: str, length_max: int) -> str:
    if not name:
        return "taskQueue is not set"
    if len(name.encode()) > length_max:
        return "taskQueue length exceeds limit"
    if name.startswith(RESERVED_QUEUE_PREFIX):
        return f"task queue name cannot start with reserved prefix {RESERVED_QUEUE_PREFIX}"
    checks.check_no_nul(name, "taskQueue")
    return ""


def _url_issues(url: str) -> list[str]:
    if not url:
        return ["empty target URL"]
    if len(url.encode()) > URL_LENGTH_MAX:
        return [f"target URL length exceeds limit of {URL_LENGTH_MAX}"]
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return [f"invalid target URL: {error}"]
    if parts.scheme not in ("http", "https"):
        return [f'invalid target URL scheme: "{parts.scheme}", expected http or https']
    if not parts.hostname:
        return ["invalid target URL: it names no host"]
    return []


def _id_issues(endpoint_id: str) -> list[str]:
    if not endpoint_id:
        return ["endpoint ID not set"]
    if not checks.is_uuid(endpoint_id):
        return [f'malformed endpoint ID: "invalid UUID length: {len(endpoint_id)}"']
    return []
