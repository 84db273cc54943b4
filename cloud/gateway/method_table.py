"""Every RPC that a listener may receive, and what a call of it needs. What is missing here is refused.

Columns
    scope        whose thing it is: a namespace's, an account's, a cell's as a whole, or nobody's (open)
    permission   the least right in the namespace; polls and answers of workers are WRITE, queries READ
    listeners    where it is served. What the control plane owns (namespaces, search attributes, clusters,
    Nexus
                 endpoints) is served on the development listener alone, and `instead` says where to go
    limit class  its place in the order of sacrifice: P0 is refused last, P5 first
    poll         the pool of concurrent polls that a waiting call takes a place in

A test walks the descriptors of all services and fails on a method that has no row, and on a row without a
method.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from temporalio.api.cloud.cloudservice.v1 import service_pb2 as cloud_service
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.testservice.v1 import service_pb2 as test_service
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service

from cloud.rpc import Method, methods_of
from cloud.transport.calls import HEALTH, REFLECTIONS, ListenerKind
from tenancy.access import Permission


class Scope(enum.Enum):
    """Whose thing a call is about, which decides how it is authorised and where it goes."""

    NAMESPACE = "namespace"  # authorised for the namespace in the request, answered by its cell
    ACCOUNT = "account"  # authorised by the control plane itself, from the caller's identity
    CLUSTER = "cluster"  # any authenticated caller; answered by a cell, about itself
    PUBLIC = "public"  # no identity asked; answered by the control plane, which may ask for a token
    OPEN = "open"  # no identity asked; answered by the transport


class LimitClass(enum.IntEnum):
    """The order of sacrifice under load, lowest number served longest; visibility has a budget of its own."""

    P0 = 0  # what a client needs to connect
    P1 = 1  # new work, and work done
    P2 = 2  # changes of state, history reads
    P3 = 3  # descriptions, queries, reports of failure
    P4 = 4  # polls, worker heartbeats
    P5 = 5  # history long polls
    VISIBILITY = 6


class Poll(enum.Enum):
    """Pools of concurrent polls, each with its own limit per namespace."""

    WORKFLOW = "workflow"
    ACTIVITY = "activity"
    NEXUS = "nexus"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """One row: what a call of `method` needs. `method` is None where the transport itself answers (OPEN)."""

    path: str
    method: Method | None
    scope: Scope
    permission: Permission
    listeners: frozenset[ListenerKind]
    limit_class: LimitClass
    poll: Poll | None = None
    waits_field: str | None = None
    """A boolean field of the request that turns the call into a long poll of class P5."""
    instead: str = ""
    """Where to go from a listener that does not serve it."""

    @property
    def name(self) -> str:
        """The bare name, as errors give it."""
        return self.path.rpartition("/")[2]


_EVERYWHERE = frozenset(ListenerKind)
_DEVELOPMENT = frozenset({ListenerKind.DEVELOPMENT})
_API_KEY = frozenset({ListenerKind.API_KEY, ListenerKind.DEVELOPMENT})
_R, _W, _A = Permission.READ, Permission.WRITE, Permission.ADMIN
_NAMESPACES_INSTEAD = "Namespaces belong to the control plane: use CloudService or `tacit namespace`."
_ATTRIBUTES_INSTEAD = (
    "Search attributes belong to the control plane: use CloudService or "
    "`tacit namespace update NAME --search-attribute Name=type`."
)
_ENDPOINTS_INSTEAD = (
    "Nexus endpoints belong to the control plane: use CloudService or `tacit nexus endpoint`."
)
_CLUSTERS_INSTEAD = "Clusters are not a tenant's to change."

# (permission, class) -> names, in the order of the proto file's subjects.
_WORKFLOW_SERVICE: Mapping[tuple[Permission, LimitClass], str] = {
    (_R, LimitClass.P0): "DescribeNamespace",
    (_W, LimitClass.P1): """
        StartWorkflowExecution ExecuteMultiOperation SignalWorkflowExecution
        SignalWithStartWorkflowExecution UpdateWorkflowExecution CreateSchedule StartBatchOperation
        StartActivityExecution StartNexusOperationExecution RecordActivityTaskHeartbeat
        RecordActivityTaskHeartbeatById RespondWorkflowTaskCompleted RespondActivityTaskCompleted
        RespondActivityTaskCompletedById RespondQueryTaskCompleted RespondNexusTaskCompleted""",
    (_W, LimitClass.P2): """
        RequestCancelWorkflowExecution TerminateWorkflowExecution ResetWorkflowExecution
        DeleteWorkflowExecution PauseWorkflowExecution UnpauseWorkflowExecution
        UpdateWorkflowExecutionOptions UpdateSchedule PatchSchedule DeleteSchedule
        StopBatchOperation RespondActivityTaskCanceled RespondActivityTaskCanceledById
        UpdateActivityOptions PauseActivity UnpauseActivity ResetActivity
        RequestCancelActivityExecution TerminateActivityExecution DeleteActivityExecution
        PauseActivityExecution ResetActivityExecution UnpauseActivityExecution
        UpdateActivityExecutionOptions RequestCancelNexusOperationExecution
        TerminateNexusOperationExecution DeleteNexusOperationExecution
        UpdateWorkerBuildIdCompatibility UpdateWorkerVersioningRules SetCurrentDeployment
        SetWorkerDeploymentCurrentVersion SetWorkerDeploymentRampingVersion
        SetWorkerDeploymentManager CreateWorkerDeployment DeleteWorkerDeployment
        CreateWorkerDeploymentVersion DeleteWorkerDeploymentVersion
        UpdateWorkerDeploymentVersionComputeConfig UpdateWorkerDeploymentVersionMetadata
        CreateWorkflowRule DeleteWorkflowRule TriggerWorkflowRule UpdateTaskQueueConfig
        UpdateWorkerConfig""",
    (_R, LimitClass.P2): "GetWorkflowExecutionHistory PollWorkflowExecutionUpdate",
    (_W, LimitClass.P3): """
        RespondWorkflowTaskFailed RespondActivityTaskFailed RespondActivityTaskFailedById
        RespondNexusTaskFailed ResetStickyTaskQueue ShutdownWorker""",
    (_R, LimitClass.P3): """
        QueryWorkflow DescribeWorkflowExecution DescribeTaskQueue ListTaskQueuePartitions
        DescribeSchedule ListScheduleMatchingTimes DescribeBatchOperation
        GetWorkerBuildIdCompatibility GetWorkerVersioningRules DescribeDeployment
        GetCurrentDeployment DescribeWorkerDeployment DescribeWorkerDeploymentVersion
        ValidateWorkerDeploymentVersionComputeConfig DescribeWorkflowRule ListWorkflowRules
        DescribeWorker FetchWorkerConfig DescribeActivityExecution DescribeNexusOperationExecution""",
    (_W, LimitClass.P4): "RecordWorkerHeartbeat",
    (_R, LimitClass.P4): "GetWorkflowExecutionHistoryReverse",
    (_R, LimitClass.P5): """
        PollActivityExecution PollNexusOperationExecution PollWorkflowExecutionTimeSkipping""",
    (_R, LimitClass.VISIBILITY): """
        ListOpenWorkflowExecutions ListClosedWorkflowExecutions ListWorkflowExecutions
        ListArchivedWorkflowExecutions ScanWorkflowExecutions CountWorkflowExecutions ListSchedules
        CountSchedules ListBatchOperations GetWorkerTaskReachability GetDeploymentReachability
        ListDeployments ListWorkerDeployments ListWorkers CountWorkers ListActivityExecutions
        CountActivityExecutions ListNexusOperationExecutions CountNexusOperationExecutions""",
}
_TASK_POLLS = {
    "PollWorkflowTaskQueue": Poll.WORKFLOW,
    "PollActivityTaskQueue": Poll.ACTIVITY,
    "PollNexusTaskQueue": Poll.NEXUS,
}
_CLUSTER_READS = "GetClusterInfo GetSystemInfo"
_NAMESPACE_CHANGES = "RegisterNamespace UpdateNamespace DeprecateNamespace"


def _workflow_rows() -> Iterator[Needs]:
    methods = methods_of(_service(workflow_service.DESCRIPTOR, "WorkflowService"))
    for (permission, limit_class), names in _WORKFLOW_SERVICE.items():
        for name in names.split():
            yield _row(
                methods[name],
                permission=permission,
                limit_class=limit_class,
                waits_field="wait_new_event" if name == "GetWorkflowExecutionHistory" else None,
            )
    for name, poll in _TASK_POLLS.items():
        yield _row(methods[name], permission=_W, limit_class=LimitClass.P4, poll=poll)
    for name in _CLUSTER_READS.split():
        yield _row(methods[name], scope=Scope.CLUSTER, permission=Permission.NONE, limit_class=LimitClass.P0)
    for name in _NAMESPACE_CHANGES.split():
        yield _row(
            methods[name],
            permission=_A,
            limit_class=LimitClass.P2,
            listeners=_DEVELOPMENT,
            instead=_NAMESPACES_INSTEAD,
        )
    # Lists all namespaces of a cell, of every account.
    yield _row(
        methods["ListNamespaces"],
        scope=Scope.CLUSTER,
        permission=_A,
        limit_class=LimitClass.P2,
        listeners=_DEVELOPMENT,
        instead=_NAMESPACES_INSTEAD,
    )
    # Tells the search attributes of a whole cell; its successor asks for a namespace.
    yield _row(
        methods["GetSearchAttributes"],
        scope=Scope.CLUSTER,
        permission=_A,
        limit_class=LimitClass.P2,
        listeners=_DEVELOPMENT,
        instead="Use OperatorService.ListSearchAttributes, which is about one namespace.",
    )


def _operator_rows() -> Iterator[Needs]:
    methods = methods_of(_service(operator_service.DESCRIPTOR, "OperatorService"))
    yield _row(methods["ListSearchAttributes"], permission=_R, limit_class=LimitClass.P3)
    for name, where in (
        ("AddSearchAttributes", _ATTRIBUTES_INSTEAD),
        ("RemoveSearchAttributes", _ATTRIBUTES_INSTEAD),
        ("DeleteNamespace", _NAMESPACES_INSTEAD),
    ):
        yield _row(
            methods[name],
            permission=_A,
            limit_class=LimitClass.P2,
            listeners=_DEVELOPMENT,
            instead=where,
        )
    for instead, names in (
        (_CLUSTERS_INSTEAD, "AddOrUpdateRemoteCluster RemoveRemoteCluster ListClusters"),
        (
            _ENDPOINTS_INSTEAD,
            "GetNexusEndpoint CreateNexusEndpoint UpdateNexusEndpoint DeleteNexusEndpoint ListNexusEndpoints",
        ),
    ):
        for name in names.split():
            yield _row(
                methods[name],
                scope=Scope.CLUSTER,
                permission=_A,
                limit_class=LimitClass.P2,
                listeners=_DEVELOPMENT,
                instead=instead,
            )


# All of CloudService is one kind of call: the control plane authorises each method by account role, and knows
# the names that are new to it as UNIMPLEMENTED. They are still listed, so that a new one is looked at before
# it is served.
_CLOUD_SERVICE = """
    GetCurrentIdentity GetUsers GetUser CreateUser UpdateUser DeleteUser SetUserNamespaceAccess
    GetAsyncOperation CreateNamespace GetNamespaces GetNamespace UpdateNamespace
    RenameCustomSearchAttribute DeleteNamespace FailoverNamespaceRegion AddNamespaceRegion
    DeleteNamespaceRegion GetRegions GetRegion GetApiKeys GetApiKey CreateApiKey UpdateApiKey
    DeleteApiKey GetNexusEndpoints GetNexusEndpoint CreateNexusEndpoint UpdateNexusEndpoint
    DeleteNexusEndpoint GetUserGroups GetUserGroup CreateUserGroup UpdateUserGroup DeleteUserGroup
    SetUserGroupNamespaceAccess AddUserGroupMember RemoveUserGroupMember GetUserGroupMembers
    CreateServiceAccount GetServiceAccount GetServiceAccounts UpdateServiceAccount
    SetServiceAccountNamespaceAccess DeleteServiceAccount GetUsage GetAccount UpdateAccount
    CreateNamespaceExportSink GetNamespaceExportSink GetNamespaceExportSinks
    UpdateNamespaceExportSink DeleteNamespaceExportSink ValidateNamespaceExportSink
    UpdateNamespaceTags CreateConnectivityRule GetConnectivityRule GetConnectivityRules
    DeleteConnectivityRule GetAuditLogs ValidateAccountAuditLogSink CreateAccountAuditLogSink
    GetAccountAuditLogSink GetAccountAuditLogSinks UpdateAccountAuditLogSink
    DeleteAccountAuditLogSink GetNamespaceCapacityInfo CreateBillingReport GetBillingReport
    GetCustomRoles GetCustomRole CreateCustomRole UpdateCustomRole DeleteCustomRole
    GetUserNamespaceAssignments GetServiceAccountNamespaceAssignments
    GetUserGroupNamespaceAssignments"""


def _cloud_rows() -> Iterator[Needs]:
    methods = methods_of(_service(cloud_service.DESCRIPTOR, "CloudService"))
    for name in _CLOUD_SERVICE.split():
        yield _row(
            methods[name],
            scope=Scope.ACCOUNT,
            permission=Permission.NONE,
            limit_class=LimitClass.P2,
            listeners=_API_KEY,
            instead="A certificate speaks for one namespace, not for an account: use an API key.",
        )


_TEST_SERVICE = """
    LockTimeSkipping UnlockTimeSkipping Sleep SleepUntil UnlockTimeSkippingWithSleep GetCurrentTime"""


def _test_rows() -> Iterator[Needs]:
    methods = methods_of(_service(test_service.DESCRIPTOR, "TestService"))
    for name in _TEST_SERVICE.split():
        yield _row(
            methods[name],
            scope=Scope.CLUSTER,
            permission=_A,
            limit_class=LimitClass.P2,
            listeners=_DEVELOPMENT,
            instead="Time is skipped in development only.",
        )


def _open_rows() -> Iterator[Needs]:
    for path in (
        *(f"/{HEALTH}/{name}" for name in ("Check", "List", "Watch")),
        *(f"/{name}/ServerReflectionInfo" for name in REFLECTIONS),
    ):
        yield Needs(
            path=path,
            method=None,
            scope=Scope.OPEN,
            permission=Permission.NONE,
            listeners=_EVERYWHERE,
            limit_class=LimitClass.P0,
        )


def account_row(method: Method, *, public: bool = False) -> Needs:
    """The row of a method of our own, beside CloudService's. `public`: it asks for no API key (signing up)."""
    return Needs(
        path=method.path,
        method=method,
        scope=Scope.PUBLIC if public else Scope.ACCOUNT,
        permission=Permission.NONE,
        listeners=_API_KEY,
        limit_class=LimitClass.P3,
    )


def development_row(method: Method) -> Needs:
    """The row of a method of our own about a cell, for its operator: only `tacit dev` serves it."""
    return _row(method, scope=Scope.CLUSTER, permission=_A, limit_class=LimitClass.P2, listeners=_DEVELOPMENT)


def _row(
    method: Method,
    *,
    permission: Permission,
    limit_class: LimitClass,
    scope: Scope = Scope.NAMESPACE,
    listeners: frozenset[ListenerKind] = _EVERYWHERE,
    poll: Poll | None = None,
    waits_field: str | None = None,
    instead: str = "",
) -> Needs:
    return Needs(
        path=method.path,
        method=method,
        scope=scope,
        permission=permission,
        listeners=listeners,
        limit_class=limit_class,
        poll=poll,
        waits_field=waits_field,
        instead=instead,
    )


def _service(file: FileDescriptor, name: str) -> ServiceDescriptor:
    return file.services_by_name[name]


def _table() -> Mapping[str, Needs]:
    rows: dict[str, Needs] = {}
    for source in (_workflow_rows, _operator_rows, _cloud_rows, _test_rows, _open_rows):
        for row in source():
            if row.path in rows:
                raise ValueError(f"{row.path} has two rows in the method table")
            rows[row.path] = row
    return MappingProxyType(rows)


METHOD_TABLE: Mapping[str, Needs] = _table()
"""The rows by HTTP/2 path, ``/package.Service/Name``."""
