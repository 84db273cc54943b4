"""The cell's methods in one table, and what is answered for those that are not in it yet."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

from google.protobuf.message import Message
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.testservice.v1 import service_pb2 as test_service
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service

from cloud.engine.api.activity_execution_operations import ActivityExecutionOperations
from cloud.engine.api.activity_operations import ActivityOperations
from cloud.engine.api.activity_tasks import ActivityTasks
from cloud.engine.api.batch_operations import BatchOperationMethods
from cloud.engine.api.build_ids import BuildIdMethods
from cloud.engine.api.deployment_routing import DeploymentRouting
from cloud.engine.api.deployments import DeploymentMethods
from cloud.engine.api.describe import Descriptions
from cloud.engine.api.fast_forwards import FastForwards
from cloud.engine.api.first_deployments import FirstDeploymentMethods
from cloud.engine.api.histories import Histories
from cloud.engine.api.history_imports import IMPORT_HISTORY, HistoryImports
from cloud.engine.api.lists import Lists
from cloud.engine.api.multi_operation import MultiOperations
from cloud.engine.api.namespaces import NamespaceMethods
from cloud.engine.api.nexus_callback_http import NexusCallbackHttp
from cloud.engine.api.nexus_endpoint_puts import NexusEndpointPuts
from cloud.engine.api.nexus_endpoints import NexusEndpointMethods
from cloud.engine.api.nexus_inbound_http import NexusInboundHttp
from cloud.engine.api.nexus_tasks import NexusTaskMethods
from cloud.engine.api.operator import Operator
from cloud.engine.api.pauses import WorkflowPauses
from cloud.engine.api.queries import WorkflowQueries
from cloud.engine.api.reachability import Reachability
from cloud.engine.api.refusals import REFUSALS, as_rpc_error
from cloud.engine.api.resets import WorkflowResets
from cloud.engine.api.schedules import ScheduleMethods
from cloud.engine.api.standalone_activities import StandaloneActivityMethods
from cloud.engine.api.standalone_activity_lists import StandaloneActivityLists
from cloud.engine.api.standalone_activity_operations import StandaloneOperations
from cloud.engine.api.standalone_activity_tasks import StandaloneTasks
from cloud.engine.api.standalone_nexus import StandaloneNexusMethods
from cloud.engine.api.standalone_nexus_lists import StandaloneNexusLists
from cloud.engine.api.system import System
from cloud.engine.api.system_operations import SystemOperations
from cloud.engine.api.task_queue_config import TaskQueueConfigMethods
from cloud.engine.api.task_queues import TaskQueueMethods
from cloud.engine.api.time_skipping import TimeSkippingMethods
from cloud.engine.api.updates import WorkflowUpdates
from cloud.engine.api.versioned_workers import VersionedWorkers
from cloud.engine.api.workers import WorkerMethods
from cloud.engine.api.workflow_options import WorkflowOptions
from cloud.engine.api.workflow_rules import WorkflowRules
from cloud.engine.api.workflow_tasks import WorkflowTasks
from cloud.engine.api.workflows import Workflows
from cloud.engine.runtime.builds import Builds
from cloud.engine.runtime.clock import SkippableClock
from cloud.engine.runtime.deployments import Deployments
from cloud.engine.runtime.matching import Matching
from cloud.engine.runtime.nexus_callbacks import Callbacks
from cloud.engine.runtime.nexus_calling import NexusCalling
from cloud.engine.runtime.nexus_calls import NexusCalls
from cloud.engine.runtime.nexus_completions import NexusCompletions
from cloud.engine.runtime.nexus_delivery import CallbackDelivery
from cloud.engine.runtime.nexus_services import NexusServices
from cloud.engine.runtime.outbound import Outbound, OutboundPolicy
from cloud.engine.runtime.resetting import Resetting
from cloud.engine.runtime.runtime import Runtime
from cloud.engine.runtime.schedules import Schedules
from cloud.engine.runtime.standalone_activities import StandaloneActivities
from cloud.engine.runtime.standalone_activity_callbacks import StandaloneCallbacks
from cloud.engine.runtime.standalone_nexus import StandaloneNexusOperations
from cloud.engine.runtime.standalone_nexus_calls import StandaloneNexusCalls
from cloud.engine.runtime.starting import Starting
from cloud.engine.runtime.task_starts import TaskStarts
from cloud.engine.runtime.time_skipping import TimeSkipping
from cloud.engine.runtime.transfers import Transfers
from cloud.rpc import CallContext, Handler, Method, Unimplemented, methods_of
from cloud.rpc.cell_methods import DELETE_NEXUS_ENDPOINT, PUT_NEXUS_ENDPOINT

SERVICES = (
    workflow_service.DESCRIPTOR.services_by_name["WorkflowService"],
    operator_service.DESCRIPTOR.services_by_name["OperatorService"],
    test_service.DESCRIPTOR.services_by_name["TestService"],
)


class EngineService:
    """Answers calls with the runtime. Composes the API groups; knows each method by its path."""

    def __init__(self, runtime: Runtime, outbound: Outbound | None = None) -> None:
        starting = Starting(runtime)
        standalone = StandaloneActivities(runtime)
        task_starts = TaskStarts(runtime, standalone)
        matching = Matching(runtime, standalone, task_starts)
        schedules = Schedules(runtime, starting)
        deployments = Deployments(runtime)
        builds = Builds(runtime)
        reachability = Reachability(runtime, builds)
        Transfers(runtime, starting, schedules)
        services = NexusServices(outbound or Outbound(OutboundPolicy()), runtime.limits)
        operations = StandaloneNexusOperations(runtime)
        completions = NexusCompletions(runtime, operations)
        resetting = Resetting(runtime)
        delivery = CallbackDelivery(runtime, completions, services)
        Callbacks(runtime, delivery)
        StandaloneCallbacks(runtime, standalone, delivery)
        self.nexus_callbacks = NexusCallbackHttp(runtime, completions)
        self.nexus_inbound = NexusInboundHttp(runtime)
        histories = Histories(runtime)
        workers = VersionedWorkers(runtime, deployments, builds)
        activity_tasks = ActivityTasks(runtime, matching, workers, StandaloneTasks(runtime, standalone))
        activity_operations = ActivityOperations(runtime)
        workflow_tasks = WorkflowTasks(runtime, matching, task_starts, histories, activity_tasks, workers)
        workflows = Workflows(runtime, starting, workflow_tasks)
        system_operations = SystemOperations(runtime, workflows)
        runtime.check_system_operation = system_operations.check
        calling = NexusCalling(runtime, services, system_operations)
        NexusCalls(runtime, calling)
        StandaloneNexusCalls(runtime, operations, calling)
        updates = WorkflowUpdates(runtime)
        clock = runtime.clock
        skipping = TimeSkipping(runtime, clock) if isinstance(clock, SkippableClock) else None
        groups: tuple[object, ...] = (
            workflows,
            workflow_tasks,
            activity_tasks,
            activity_operations,
            ActivityExecutionOperations(
                runtime, activity_operations, StandaloneOperations(runtime, standalone)
            ),
            StandaloneActivityMethods(runtime, standalone),
            StandaloneActivityLists(runtime),
            StandaloneNexusMethods(runtime, operations),
            StandaloneNexusLists(runtime),
            WorkflowOptions(runtime),
            WorkflowResets(runtime, resetting),
            WorkflowPauses(runtime),
            WorkflowRules(runtime),
            BatchOperationMethods(runtime, resetting, standalone),
            histories,
            WorkflowQueries(runtime, workflow_tasks),
            updates,
            MultiOperations(runtime, workflows, updates),
            Descriptions(runtime),
            FastForwards(runtime),
            Lists(runtime),
            ScheduleMethods(runtime, schedules),
            NamespaceMethods(runtime),
            TaskQueueMethods(runtime, builds, reachability),
            DeploymentMethods(runtime, deployments),
            DeploymentRouting(runtime, deployments),
            FirstDeploymentMethods(runtime),
            BuildIdMethods(runtime, builds),
            reachability,
            TaskQueueConfigMethods(runtime),
            WorkerMethods(runtime),
            System(runtime),
            Operator(runtime),
            NexusEndpointMethods(runtime),
            TimeSkippingMethods(runtime, skipping),
            NexusTaskMethods(runtime, workers),
        )
        imports = HistoryImports(runtime)
        endpoint_puts = NexusEndpointPuts(runtime)
        self._handlers: dict[str, Handler] = {
            **_handlers(groups),
            IMPORT_HISTORY.path: imports.import_history,
            PUT_NEXUS_ENDPOINT.path: endpoint_puts.put,
            DELETE_NEXUS_ENDPOINT.path: endpoint_puts.delete,
        }

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The methods that are there, by path."""
        return self._handlers

    async def call(self, method: Method, request: Message, context: CallContext) -> Message:
        """Answer one call.

        Raises:
            RpcError: the method refuses, or is not there.
        """
        handler = self._handlers.get(method.path)
        if handler is None:
            raise Unimplemented(
                f"{method.name} is not served by this cell yet; docs/compatibility.md lists what is"
            )
        try:
            return await handler(request, context)
        except REFUSALS as error:
            raise as_rpc_error(error) from error


def _handlers(groups: tuple[object, ...]) -> dict[str, Handler]:
    """Find each RPC's coroutine among the groups by its name in snake case."""
    coroutines = {
        name: member
        for group in groups
        for name, member in inspect.getmembers(group, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    found: dict[str, Handler] = {}
    for service in SERVICES:
        for method in methods_of(service).values():
            handler = coroutines.get(_snake_case(method.name))
            if handler is not None:
                found[method.path] = handler
    return found


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
