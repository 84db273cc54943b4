"""A sound request for every method, by the names of the method's fields: what the bad ones are made from."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import temporalio.api.workflowservice.v1 as ws
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.batch.v1 import BatchOperationTermination
from temporalio.api.common.v1 import (
    ActivityType,
    Payload,
    Payloads,
    WorkflowExecution,
    WorkflowType,
)
from temporalio.api.deployment.v1 import Deployment, WorkerDeploymentVersion
from temporalio.api.enums.v1 import (
    IndexedValueType,
    TaskQueueType,
    UpdateWorkflowExecutionLifecycleStage,
    WorkflowIdConflictPolicy,
)
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget, HandlerError, Response
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.rules.v1 import WorkflowRuleSpec
from temporalio.api.schedule.v1 import (
    IntervalSpec,
    Schedule,
    ScheduleAction,
    SchedulePatch,
    ScheduleSpec,
    TriggerImmediatelyRequest,
)
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input, Meta, Request, UpdateRef, WaitPolicy
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service

from cloud.rpc import Method, methods_of

QUEUE = "bad-input"
SECOND = Duration(seconds=1)
MINUTE = Duration(seconds=60)


def methods() -> dict[str, Method]:
    """All methods of WorkflowService and OperatorService, by name."""
    return {
        **methods_of(workflow_service.DESCRIPTOR.services_by_name["WorkflowService"]),
        **methods_of(operator_service.DESCRIPTOR.services_by_name["OperatorService"]),
    }


@dataclass(frozen=True, kw_only=True)
class About:
    """What a request is about: ids that exist, or not. Tokens are of tasks that are done."""

    workflow_id: str
    namespace: str = "default"
    schedule_id: str = field(default_factory=lambda: f"schedule-{uuid.uuid4()}")
    workflow_token: bytes = b""
    activity_token: bytes = b""
    query_token: bytes = b""
    nexus_token: bytes = b""
    other_tokens: Mapping[str, bytes] = field(default_factory=dict)
    """By what they are: of tasks that are done, too, but of a workflow that is open, or of another kind of task."""

    @property
    def execution(self) -> WorkflowExecution:
        """The workflow's newest run."""
        return WorkflowExecution(workflow_id=self.workflow_id)


def _payloads() -> Payloads:
    return Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b'"value"')])


def _failure() -> Failure:
    return Failure(message="broken", application_failure_info=ApplicationFailureInfo(type="Broken"))


def _schedule() -> Schedule:
    return Schedule(
        spec=ScheduleSpec(interval=[IntervalSpec(interval=Duration(seconds=86_400))]),
        action=ScheduleAction(
            start_workflow=NewWorkflowExecutionInfo(
                workflow_id="scheduled",
                workflow_type=WorkflowType(name="demo"),
                task_queue=TaskQueue(name=QUEUE),
            )
        ),
    )


def _specific(name: str, about: About) -> dict[str, Any]:
    """What a method needs beside the fields that `_common` fills by their names."""
    fresh = str(uuid.uuid4())
    wait = WaitPolicy(
        lifecycle_stage=UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
    )
    version = WorkerDeploymentVersion(deployment_name="absent", build_id="1")
    table: dict[str, dict[str, Any]] = {
        "RegisterNamespace": {
            "namespace": f"registered-{fresh}",
            "workflow_execution_retention_period": Duration(seconds=86_400),
        },
        "StartWorkflowExecution": {"workflow_id": f"started-{fresh}", "input": _payloads()},
        "SignalWithStartWorkflowExecution": {"workflow_id": f"started-{fresh}", "signal_name": "signal"},
        "SignalWorkflowExecution": {"signal_name": "signal", "input": _payloads()},
        "ExecuteMultiOperation": {
            "operations": [
                ws.ExecuteMultiOperationRequest.Operation(
                    start_workflow=ws.StartWorkflowExecutionRequest(
                        namespace=about.namespace,
                        workflow_id=about.workflow_id,
                        workflow_type=WorkflowType(name="demo"),
                        task_queue=TaskQueue(name=QUEUE),
                        workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
                    )
                ),
                ws.ExecuteMultiOperationRequest.Operation(
                    update_workflow=ws.UpdateWorkflowExecutionRequest(
                        namespace=about.namespace,
                        workflow_execution=about.execution,
                        wait_policy=wait,
                        request=Request(
                            meta=Meta(update_id=fresh, identity="caller"), input=Input(name="change")
                        ),
                    )
                ),
            ]
        },
        "ResetWorkflowExecution": {"workflow_task_finish_event_id": 3},
        "QueryWorkflow": {"query": WorkflowQuery(query_type="query")},
        "RespondQueryTaskCompleted": {"task_token": about.query_token},
        "RecordActivityTaskHeartbeatById": {"activity_id": "absent"},
        "RespondActivityTaskCompletedById": {"activity_id": "absent"},
        "RespondActivityTaskFailedById": {"activity_id": "absent", "failure": _failure()},
        "RespondActivityTaskCanceledById": {"activity_id": "absent"},
        "RespondActivityTaskFailed": {"failure": _failure()},
        "RespondWorkflowTaskFailed": {"failure": _failure()},
        "CreateSchedule": {"schedule": _schedule()},
        "UpdateSchedule": {"schedule": _schedule()},
        "PatchSchedule": {"patch": SchedulePatch(trigger_immediately=TriggerImmediatelyRequest())},
        "ListScheduleMatchingTimes": {
            "start_time": Timestamp(seconds=1_700_000_000),
            "end_time": Timestamp(seconds=1_700_000_100),
        },
        "UpdateWorkflowExecution": {
            "wait_policy": wait,
            "request": Request(meta=Meta(update_id=fresh, identity="caller"), input=Input(name="change")),
        },
        "PollWorkflowExecutionUpdate": {
            "wait_policy": wait,
            "update_ref": UpdateRef(workflow_execution=about.execution, update_id="absent"),
        },
        "StartBatchOperation": {
            "job_id": fresh,
            "reason": "to see",
            "visibility_query": "WorkflowId='nothing-of-this-name'",
            "termination_operation": BatchOperationTermination(identity="caller"),
        },
        "StopBatchOperation": {"job_id": "absent", "reason": "to see"},
        "DescribeBatchOperation": {"job_id": "absent"},
        "DescribeTaskQueue": {"task_queue_type": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW},
        "UpdateTaskQueueConfig": {
            "task_queue": QUEUE,
            "task_queue_type": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        },
        "UpdateActivityOptions": {
            "id": "absent",
            "activity_options": ActivityOptions(start_to_close_timeout=SECOND),
            "update_mask": {"paths": ["start_to_close_timeout"]},
        },
        "UpdateActivityExecutionOptions": {
            "activity_id": "absent",
            "activity_options": ActivityOptions(start_to_close_timeout=SECOND),
            "update_mask": {"paths": ["start_to_close_timeout"]},
        },
        "UpdateWorkflowExecutionOptions": {
            "workflow_execution_options": WorkflowExecutionOptions(),
            "update_mask": {"paths": ["versioning_override"]},
        },
        "PauseActivity": {"id": "absent"},
        "UnpauseActivity": {"id": "absent"},
        "ResetActivity": {"id": "absent"},
        "CreateWorkflowRule": {"spec": WorkflowRuleSpec(id=f"rule-{fresh}")},
        "DescribeWorkflowRule": {"rule_id": "absent"},
        "DeleteWorkflowRule": {"rule_id": "absent"},
        "TriggerWorkflowRule": {"id": "absent"},
        "DescribeWorker": {"worker_instance_key": "absent"},
        "StartActivityExecution": {
            "activity_id": f"activity-{fresh}",
            "start_to_close_timeout": MINUTE,
            "input": _payloads(),
        },
        "StartNexusOperationExecution": {
            "operation_id": f"operation-{fresh}",
            "endpoint": "absent",
            "service": "service",
            "operation": "operation",
            "schedule_to_close_timeout": MINUTE,
        },
        "SetWorkerDeploymentCurrentVersion": {"deployment_name": "absent", "build_id": "1"},
        "SetWorkerDeploymentRampingVersion": {
            "deployment_name": "absent",
            "build_id": "1",
            "percentage": 10.0,
        },
        "DescribeWorkerDeployment": {"deployment_name": "absent"},
        "DeleteWorkerDeployment": {"deployment_name": "absent"},
        "CreateWorkerDeployment": {"deployment_name": f"deployment-{fresh}"},
        "SetWorkerDeploymentManager": {"deployment_name": "absent", "manager_identity": "caller"},
        "CreateWorkerDeploymentVersion": {
            "deployment_version": WorkerDeploymentVersion(deployment_name="absent", build_id=fresh)
        },
        "DescribeWorkerDeploymentVersion": {"deployment_version": version},
        "DeleteWorkerDeploymentVersion": {"deployment_version": version},
        "UpdateWorkerDeploymentVersionComputeConfig": {"deployment_version": version},
        "ValidateWorkerDeploymentVersionComputeConfig": {"deployment_version": version},
        "UpdateWorkerDeploymentVersionMetadata": {
            "deployment_version": version,
            "upsert_entries": {"key": Payload(data=b"1")},
        },
        "DescribeDeployment": {"deployment": Deployment(series_name="absent", build_id="1")},
        "GetDeploymentReachability": {"deployment": Deployment(series_name="absent", build_id="1")},
        "SetCurrentDeployment": {"deployment": Deployment(series_name="absent", build_id="1")},
        "GetCurrentDeployment": {"series_name": "absent"},
        "GetWorkerBuildIdCompatibility": {"task_queue": QUEUE},
        "UpdateWorkerBuildIdCompatibility": {
            "task_queue": QUEUE,
            "add_new_build_id_in_new_default_set": fresh,
        },
        "GetWorkerVersioningRules": {"task_queue": QUEUE},
        "UpdateWorkerVersioningRules": {"task_queue": QUEUE, "commit_build_id": {"target_build_id": "1"}},
        "GetWorkerTaskReachability": {"build_ids": ["1"], "task_queues": [QUEUE]},
        "ShutdownWorker": {"sticky_task_queue": f"sticky-{fresh}", "task_queue": QUEUE},
        "RespondNexusTaskCompleted": {"task_token": about.nexus_token, "response": Response()},
        "RespondNexusTaskFailed": {
            "task_token": about.nexus_token,
            "error": HandlerError(error_type="INTERNAL"),
        },
        "AddSearchAttributes": {
            "search_attributes": {"BadInputKeyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}
        },
        "RemoveSearchAttributes": {"search_attributes": ["NotThere"]},
        "GetNexusEndpoint": {"id": "absent"},
        "CreateNexusEndpoint": {
            "spec": EndpointSpec(
                name=f"e{fresh}",
                target=EndpointTarget(
                    worker=EndpointTarget.Worker(namespace=about.namespace, task_queue=QUEUE)
                ),
            )
        },
        "UpdateNexusEndpoint": {
            "id": "absent",
            "version": 1,
            "spec": EndpointSpec(
                name="absent",
                target=EndpointTarget(
                    worker=EndpointTarget.Worker(namespace=about.namespace, task_queue=QUEUE)
                ),
            ),
        },
        "DeleteNexusEndpoint": {"id": "absent", "version": 1},
        "AddOrUpdateRemoteCluster": {"frontend_address": "127.0.0.1:1"},
        "RemoveRemoteCluster": {"cluster_name": "absent"},
    }
    return table.get(name, {})


NAMESPACE_CHANGES = {"RegisterNamespace", "UpdateNamespace", "DeprecateNamespace", "DeleteNamespace"}
"""Never about the namespace that the other requests use."""


def _common(name: str, about: About) -> dict[str, Any]:
    token = about.activity_token if "Activity" in name else about.workflow_token
    return {
        "namespace": "absent-namespace" if name in NAMESPACE_CHANGES else about.namespace,
        "identity": "caller",
        "request_id": str(uuid.uuid4()),
        "workflow_id": about.workflow_id,
        "execution": about.execution,
        "workflow_execution": about.execution,
        "workflow_type": WorkflowType(name="demo"),
        "activity_type": ActivityType(name="demo"),
        "task_queue": TaskQueue(name=QUEUE),
        "task_token": token,
        "schedule_id": about.schedule_id,
        "activity_id": "absent",
        "operation_id": "absent",
        "reason": "to see",
    }


def sound(name: str, about: About) -> Message:
    """A request for the method `name` that nothing is wrong with, but what it is about may be absent."""
    kind = methods()[name].request_type
    specific = _specific(name, about)
    fields = {
        key: value
        for key, value in _common(name, about).items()
        if key in kind.DESCRIPTOR.fields_by_name and key not in specific
    }
    return kind(**fields, **specific)
